//! Descriptors that somebody outside of the tree has opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::{ptr, slice};

use io_uring::{opcode, types};
use nix::libc;
use support::ring;

use super::handing;
use crate::place::Place;
use crate::way::Class::{Read, Write};
use crate::way::Outcome::{Contained, Open, Prevented};
use crate::way::Part::{Code, Sh};
use crate::way::{Part, Way, way};

/// No program can close a descriptor, so whoever is executed with it is killed.
const fn inherited(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt).inherits("denied/secret").ends(Contained, Contained)
}

/// The descriptor that ways inherit.
const INHERITED: RawFd = 9;
/// More than the secret is long.
const ENOUGH: usize = 64;

/// The ways.
pub const WAYS: &[Way] = &[
    way(
        Read,
        "secrets",
        "descriptor-by-socket",
        "is sent the open file over a unix socket",
        Code(|_| copy_out(handing::take()?)),
    )
    .ends(Open, Prevented)
    .beside(Code(|place| handing::give(place, File::open(place.secret())?.as_raw_fd()))),
    way(Read, "secrets", "pidfd-getfd", "takes the open file out of another process", Code(pidfd_getfd))
        .beside(Sh("exec 8<denied/secret; echo $$ >early; mv early ready; exec sleep 60")),
    inherited("inherited", "reads a descriptor that it was started with", Sh("cat <&9")),
    inherited("inherited-sendfile", "the same by sendfile", Code(sendfile)),
    inherited("inherited-splice", "the same by splice", Code(splice)),
    inherited("inherited-copy-range", "the same by copy_file_range", Code(copy_file_range)),
    inherited("inherited-mmap", "the same by mmap", Code(mmap)),
    inherited("inherited-io-uring", "the same by io_uring", Code(uring)),
    inherited("inherited-reopened", "opens it again through /proc/self/fd", Sh("cat /proc/self/fd/9")),
    way(
        Write,
        "protected",
        "inherited-write",
        "writes to a descriptor that it was started with",
        Sh("echo more >&9"),
    )
    .inherits("protected/ci.yml")
    .ends(Contained, Contained),
    way(
        Read,
        "secrets",
        "inherited-folder",
        "goes by a folder that it was started with",
        Sh("cat /proc/self/fd/9/secret"),
    )
    .inherits("denied"),
];

fn pidfd_getfd(place: &Place) -> io::Result<()> {
    // SAFETY: no pointers; results that are not negative are new descriptors.
    let file = unsafe {
        let held = nix::errno::Errno::result(libc::syscall(libc::SYS_pidfd_open, place.outsider()?, 0))?;
        let held = OwnedFd::from_raw_fd(held as RawFd);
        let fd = nix::errno::Errno::result(libc::syscall(libc::SYS_pidfd_getfd, held.as_raw_fd(), 8, 0))?;
        File::from_raw_fd(fd as RawFd)
    };
    copy_out(file)
}

fn copy_out(mut file: File) -> io::Result<()> {
    io::copy(&mut file, &mut io::stdout()).map(drop)
}

/// An error unless something was moved.
fn moved(length: isize) -> io::Result<()> {
    if nix::errno::Errno::result(length)? > 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn sendfile(_: &Place) -> io::Result<()> {
    // SAFETY: no pointers.
    moved(unsafe { libc::sendfile(libc::STDOUT_FILENO, INHERITED, ptr::null_mut(), ENOUGH) })
}

fn splice(_: &Place) -> io::Result<()> {
    let (none, flags) = (ptr::null_mut(), 0);
    // SAFETY: no pointers. Standard output is a pipe.
    moved(unsafe { libc::splice(INHERITED, none, libc::STDOUT_FILENO, none, ENOUGH, flags) })
}

fn copy_file_range(place: &Place) -> io::Result<()> {
    let copy = File::options().read(true).write(true).create_new(true).open(place.join("allowed/copy"))?;
    // SAFETY: no pointers.
    moved(unsafe {
        libc::copy_file_range(INHERITED, ptr::null_mut(), copy.as_raw_fd(), ptr::null_mut(), ENOUGH, 0)
    })?;
    crate::inside::run("cat", &["allowed/copy"])
}

fn mmap(_: &Place) -> io::Result<()> {
    let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
    // SAFETY: a new mapping; only bytes before the file's end are read.
    let bytes = unsafe {
        let start = libc::mmap(ptr::null_mut(), ENOUGH, protection, flags, INHERITED, 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        slice::from_raw_parts(start.cast::<u8>(), ENOUGH)
    };
    io::Write::write_all(&mut io::stdout(), bytes.trim_ascii_end())
}

fn uring(_: &Place) -> io::Result<()> {
    let mut bytes = [0_u8; ENOUGH];
    let entry = opcode::Read::new(types::Fd(INHERITED), bytes.as_mut_ptr(), ENOUGH as u32).build();
    let length = ring::one(&entry)?;
    io::Write::write_all(&mut io::stdout(), &bytes[..length as usize])
}
