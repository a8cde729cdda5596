//! Giving the secret another place, then reading it there.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use io_uring::{opcode, types};
use nix::libc;
use support::ring;

use crate::inside::run;
use crate::place::Place;
use crate::way::Class::Read;
use crate::way::Outcome::{Contained, Open, Prevented};
use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

const fn moved(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt).ends(Open, Prevented)
}

/// The ways.
pub const WAYS: &[Way] = &[
    moved("rename", "renames the file", Sh("mv denied/secret allowed/x; cat allowed/x")).ends(Contained, Prevented),
    moved("rename-folder", "renames the folder above it", Sh("mv denied allowed/x; cat allowed/x/secret")),
    moved("rename-exchange", "exchanges the folder with another", Code(exchange)),
    moved("rename-io-uring", "renames it through io_uring", Code(by_uring)),
];

/// Reads the secret where it should not be.
fn read_moved() -> io::Result<()> {
    run("cat", &["allowed/secret"])
}

fn exchange(_: &Place) -> io::Result<()> {
    let (at, flag) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: terminated paths.
    let done = unsafe { libc::renameat2(at, c"denied".as_ptr(), at, c"allowed".as_ptr(), flag) };
    nix::errno::Errno::result(done)?;
    read_moved()
}

fn by_uring(place: &Place) -> io::Result<()> {
    let from = CString::new(place.secret().as_os_str().as_bytes())?;
    let to = CString::new(place.join("allowed/secret").as_os_str().as_bytes())?;
    let at = types::Fd(libc::AT_FDCWD);
    ring::one(&opcode::RenameAt::new(at, from.as_ptr(), at, to.as_ptr()).build())?;
    read_moved()
}
