//! Other names for the same file.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::libc;

use crate::inside::run;
use crate::place::Place;
use crate::way::Class::Read;
use crate::way::Outcome::Open;
use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

const fn named(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt)
}

/// Somebody outside, who holds the secret open, and stands in its folder.
const HOLDER: Part = Sh("exec 8<denied/secret; cd denied; echo $$ >../early; mv ../early ../ready; exec sleep 60");

/// The ways.
pub const WAYS: &[Way] = &[
    named("dot-dot", "`..` and doubled slashes", Sh("cat allowed/..//allowed/../denied/./secret")),
    named("symlink-before", "a symbolic link that was there", Sh("cat allowed/link"))
        .before(Sh("ln -s ../denied/secret allowed/link")),
    named("symlink-after", "a symbolic link of its own", Sh("ln -s ../denied/secret allowed/link; cat allowed/link")),
    named("symlink-to-folder", "a symbolic link to the folder above", Sh("ln -s \"$place/denied\" x; cat x/secret")),
    named("hard-link-before", "a hard link that was there, in a folder that may be read", Sh("cat allowed/link"))
        .before(Sh("ln denied/secret allowed/link"))
        .ends(Open, Open),
    named("hard-link-after", "a hard link of its own", Sh("ln denied/secret allowed/link; cat allowed/link")),
    named("hard-link-of-descriptor", "a hard link made of an `O_PATH` descriptor", Code(link_descriptor)),
    named("proc-self-root", "/proc/self/root", Sh("cat /proc/self/root/$place/denied/secret")),
    named("proc-self-cwd", "/proc/self/cwd", Sh("cd denied; cat /proc/self/cwd/secret")),
    named("proc-pid-root", "another process's root", Sh("cat /proc/$(cat ready)/root/$place/denied/secret"))
        .beside(HOLDER),
    named("proc-pid-cwd", "another process's working folder", Sh("cat /proc/$(cat ready)/cwd/secret")).beside(HOLDER),
    named("proc-pid-fd", "another process's descriptor, in /proc", Sh("cat /proc/$(cat ready)/fd/8")).beside(HOLDER),
    named("proc-pid-fd-deleted", "the same, of a file that is deleted", Sh("cat /proc/$(cat ready)/fd/8"))
        .beside(Sh("exec 8<denied/secret; rm denied/secret; echo $$ >early; mv early ready; exec sleep 60")),
    named("long-name", "a component of 255 bytes", Sh("cat denied/*/secret"))
        .before(Sh("d=denied/$(printf %0255d 0); mkdir $d; cp denied/secret $d")),
    named("longest-path", "a path of 4,095 bytes", Code(|place| run("cat", &[&long_path(place)]))).before(Code(deep)),
    named("too-long-path", "a file deeper than any path can say, step by step", Code(from_step_to_step))
        .before(Code(too_deep)),
    named("newline", "a name with a newline", Sh("cat denied/*name"))
        .before(Sh("cp denied/secret \"denied/new\nname\"")),
    named("not-utf-8", "a name that is not UTF-8", Sh("cat denied/*name"))
        .before(Sh("cp denied/secret \"$(printf 'denied/\\377\\376name')\"")),
];

/// linkat of an empty path, relative to a descriptor that only names the file.
fn link_descriptor(place: &Place) -> io::Result<()> {
    let held = std::os::unix::fs::OpenOptionsExt::custom_flags(File::options().read(true), libc::O_PATH)
        .open(place.secret())?;
    let link = CString::new(place.join("allowed/link").as_os_str().as_bytes())?;
    // SAFETY: terminated paths that outlive the call.
    let linked =
        unsafe { libc::linkat(held.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, link.as_ptr(), libc::AT_EMPTY_PATH) };
    nix::errno::Errno::result(linked)?;
    run("cat", &["allowed/link"])
}

/// `PATH_MAX`, with the end.
const PATH_MAX: usize = 4096;

/// A path below the denied folder that is as long as one can be.
fn long_path(place: &Place) -> String {
    const FILE: &str = "/secret";
    let (start, long) = (place.join("denied").display().to_string(), format!("/{}", step()));
    let room = PATH_MAX - 1 - start.len() - FILE.len();
    // What is left is between one and two of those folders: two more share it.
    let times = room / long.len() - 1;
    let left = room - times * long.len();
    let short = |length: usize| format!("/{}", "x".repeat(length - 1));
    [start, long.repeat(times), short(left / 2), short(left - left / 2), FILE.to_owned()].concat()
}

fn deep(place: &Place) -> io::Result<()> {
    let path = PathBuf::from(long_path(place));
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::copy(place.secret(), &path).map(drop)
}

/// Folders below the denied one, whose names together are longer than a path may be.
const STEPS: u32 = 30;

fn step() -> String {
    format!("{:0200}", 0)
}

fn too_deep(place: &Place) -> io::Result<()> {
    let secret = fs::read(place.secret())?;
    std::env::set_current_dir("denied")?;
    for _ in 0..STEPS {
        fs::create_dir(step())?;
        std::env::set_current_dir(step())?;
    }
    fs::write("secret", secret)
}

fn from_step_to_step(_: &Place) -> io::Result<()> {
    std::env::set_current_dir("denied")?;
    (0..STEPS).try_for_each(|_| std::env::set_current_dir(step()))?;
    run("cat", &["secret"])
}
