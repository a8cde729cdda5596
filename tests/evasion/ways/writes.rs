//! Changing a protected file or folder.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::{ptr, slice};

use io_uring::{opcode, types};
use nix::libc;
use support::ring;

use crate::place::Place;
use crate::way::Class::Write;
use crate::way::Outcome::{Contained, Open, Prevented, Seen};
use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

const fn opened(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Write, "protected", name, tries, attempt)
}

/// A change that needs no open file: without hooks it is there before anybody can be stopped.
const fn changed(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    opened(name, tries, attempt).ends(Seen, Prevented)
}

/// The ways.
pub const WAYS: &[Way] = &[
    opened("append", "appends to the protected file, plainly", Sh("echo more >>protected/ci.yml")),
    opened("append-32-bit", "the same by int 0x80", Sh("$attempt write --by compat protected/ci.yml more")),
    opened("append-by-handle", "the same by a file handle", Sh("$attempt write --by handle protected/ci.yml more"))
        .apart(),
    opened("append-io-uring", "the same by io_uring", Sh("$attempt write --by uring protected/ci.yml more"))
        .older(Open),
    opened("write-mapped", "maps the file into memory, and changes it there", Code(mapped)),
    opened("write-o-path", "opens a descriptor again that only named it", Code(reopened)),
    opened("write-by-link", "writes through a symbolic link", Sh("ln -s protected/ci.yml x; echo more >>x")),
    opened(
        "write-truncating",
        "opens it with `O_TRUNC`: what it held is gone when the open returns",
        Sh("$attempt truncate protected/ci.yml"),
    )
    .ends(Seen, Prevented),
    opened(
        "create",
        "creates a file: it is there, empty, when the open returns",
        Sh("$attempt create protected/new"),
    )
    .ends(Seen, Prevented),
    opened(
        "bind-mount-write",
        "writes through a bind mount of the folder",
        Sh("mkdir x; mount --bind protected x; echo more >>x/ci.yml"),
    ),
    changed(
        "overlay-write",
        "an overlay mount whose upper folder is the protected one",
        Sh("mkdir x low work; mount -t overlay -o lowerdir=low,upperdir=protected,workdir=work none x
         echo more >>x/ci.yml"),
    )
    .ends(Contained, Prevented)
    .apart(),
    changed(
        "rename-over",
        "writes another file, and renames it over the protected one",
        Sh("echo evil >x; mv -f x protected/ci.yml"),
    ),
    changed(
        "rename-away",
        "renames the folder, changes the file, and renames it back",
        Sh("mv protected x; echo more >>x/ci.yml; mv x protected"),
    )
    .ends(Open, Prevented),
    changed("rename-io-uring-over", "renames over it through io_uring", Code(uring_rename)).ends(Open, Prevented),
    changed(
        "symlink-instead",
        "puts a symbolic link into its place",
        Sh("echo evil >x; ln -sf ../x protected/ci.yml"),
    ),
    changed("hard-link-write", "writes through a hard link of its own", Sh("ln protected/ci.yml x; echo more >>x"))
        .ends(Contained, Prevented),
    changed("tmpfile-linked", "gives a file without a name one in there, by linkat", Code(tmpfile)).apart(),
    changed("truncate-by-name", "truncate(2): no file is opened", Sh("perl -e 'truncate(\"protected/ci.yml\", 0)'")),
    changed("delete", "deletes it", Sh("rm -f protected/ci.yml")),
    changed("delete-io-uring", "deletes it through io_uring", Code(uring_delete)).ends(Open, Prevented),
    changed("chmod", "changes its mode", Sh("chmod 777 protected/ci.yml")),
    changed(
        "chown",
        "gives it to somebody else, who could change it",
        Sh("chown 65534 protected/ci.yml; chmod o+w protected/ci.yml"),
    )
    .ends(Contained, Prevented),
    changed("mkdir", "makes a folder there", Sh("mkdir protected/new")),
    changed("mkfifo", "makes a pipe there", Sh("mkfifo protected/new")),
    changed(
        "bind-socket",
        "makes a socket there",
        Code(|_| std::os::unix::net::UnixListener::bind("protected/new").map(drop)),
    ),
];

/// Changes the file in a mapping of it.
fn mapped(place: &Place) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(place.join("protected/ci.yml"))?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of the file; one byte is changed, before the file's end.
    unsafe {
        let start = libc::mmap(ptr::null_mut(), 1, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        slice::from_raw_parts_mut(start.cast::<u8>(), 1)[0] = b'!';
    }
    Ok(())
}

fn reopened(place: &Place) -> io::Result<()> {
    let held = File::options().read(true).custom_flags(libc::O_PATH).open(place.join("protected/ci.yml"))?;
    File::options().append(true).open(format!("/proc/self/fd/{}", held.as_raw_fd()))?.write_all(b"more\n")
}

fn tmpfile(_: &Place) -> io::Result<()> {
    let mut file = File::options().write(true).custom_flags(libc::O_TMPFILE).mode(0o644).open("allowed")?;
    file.write_all(b"evil\n")?;
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let at = libc::AT_FDCWD;
    // SAFETY: terminated paths.
    let linked = unsafe { libc::linkat(at, from.as_ptr(), at, c"protected/new".as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    nix::errno::Errno::result(linked).map(drop)?;
    Ok(())
}

fn name(place: &Place, name: &str) -> io::Result<CString> {
    Ok(CString::new(place.join(name).as_os_str().as_bytes())?)
}

fn uring_rename(place: &Place) -> io::Result<()> {
    fs::write("x", "evil\n")?;
    let (from, to, at) = (name(place, "x")?, name(place, "protected/ci.yml")?, types::Fd(libc::AT_FDCWD));
    ring::one(&opcode::RenameAt::new(at, from.as_ptr(), at, to.as_ptr()).build()).map(drop)
}

fn uring_delete(place: &Place) -> io::Result<()> {
    let file = name(place, "protected/ci.yml")?;
    ring::one(&opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), file.as_ptr()).build()).map(drop)
}
