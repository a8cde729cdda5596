//! What a second thread can do in the moment between an open and its verdict.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{hint, ptr, thread};

use clap::ValueEnum;
use nix::sys::wait::waitpid;

use crate::say;
use crate::tree::child;

/// What the second thread does with a descriptor that it can only guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Reads from it, then writes what it has to standard output.
    Read,
    /// Copies from it to standard output in one call.
    Sendfile,
    /// Keeps a second descriptor of it and puts another file in its place.
    Swap,
    /// Sends it to another process, which reads.
    Send,
    /// Another process takes it by `pidfd_getfd`(2), and reads.
    Take,
}

/// What the processes tell one another, in memory that they share.
#[repr(C)]
#[derive(Default)]
struct Shared {
    got: AtomicU32,
    opened: AtomicU32,
}

/// Runs so many processes, and counts.
pub fn run(by: By, times: u32, file: &Path) -> io::Result<()> {
    let path = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: a new mapping.
    let memory = unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        libc::mmap(ptr::null_mut(), size_of::<Shared>(), access, kind, -1, 0)
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: large enough, aligned to a page, zeroed, and never unmapped.
    let shared = unsafe { &*memory.cast::<Shared>() };
    for _ in 0..times {
        match by {
            By::Send => over_a_socket(&path, shared)?,
            By::Take => by_another(&path, shared)?,
            _ => drop(waitpid(child(|| two_threads(by, &path, shared))?, None)?),
        }
    }
    let (got, opened) = (shared.got.load(Ordering::SeqCst), shared.opened.load(Ordering::SeqCst));
    say(&format!(r#"{{"tries":{times},"got":{got},"opened":{opened}}}"#));
    Ok(())
}

/// The number that the next descriptor will have.
fn next_number() -> RawFd {
    // SAFETY: no pointers; the descriptor is new and closed at once.
    unsafe {
        let next = libc::dup(0);
        libc::close(next);
        next
    }
}

fn open(path: &CString, shared: &Shared) {
    // SAFETY: a terminated path. By the call itself, for nothing may come between.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY) };
    if fd >= 0 {
        shared.opened.fetch_add(1, Ordering::SeqCst);
    }
}

/// Both threads begin at once, more or less.
fn two_threads(by: By, path: &CString, shared: &'static Shared) -> u8 {
    let ready = AtomicU32::new(0);
    let harmless = std::fs::File::open("/dev/null").expect("/dev/null");
    let fd = next_number();
    thread::scope(|scope| {
        scope.spawn(|| {
            ready.store(1, Ordering::SeqCst);
            // As long as the first thread may need to open, and be killed.
            for _ in 0..20_000 {
                if grab(by, fd, harmless.as_raw_fd(), shared) {
                    break;
                }
            }
        });
        while ready.load(Ordering::SeqCst) == 0 {
            hint::spin_loop();
        }
        // The second thread is under way by then.
        for _ in 0..2_000 {
            hint::spin_loop();
        }
        open(path, shared);
    });
    0
}

/// One try; whether it got something.
fn grab(by: By, fd: RawFd, harmless: RawFd, shared: &Shared) -> bool {
    let mut bytes = [0_u8; 64];
    // SAFETY: as many bytes as there are; descriptors are this process's own numbers, open or not.
    unsafe {
        match by {
            By::Sendfile => libc::sendfile(libc::STDOUT_FILENO, fd, ptr::null_mut(), bytes.len()) > 0,
            By::Swap => {
                let kept = libc::fcntl(fd, libc::F_DUPFD, 64);
                if kept < 0 {
                    return false;
                }
                libc::dup2(harmless, fd);
                let length = libc::pread(kept, bytes.as_mut_ptr().cast(), bytes.len(), 0);
                took(&bytes, length, shared)
            }
            _ => {
                let length = libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0);
                took(&bytes, length, shared)
            }
        }
    }
}

/// Bytes of the file are in the process's memory: says so, and writes them out.
fn took(bytes: &[u8], length: isize, shared: &Shared) -> bool {
    if length <= 0 {
        return false;
    }
    shared.got.fetch_add(1, Ordering::SeqCst);
    // SAFETY: as many bytes as were read.
    unsafe { libc::write(libc::STDOUT_FILENO, bytes.as_ptr().cast(), length as usize) };
    true
}

/// The second thread sends the descriptor to the parent.
fn over_a_socket(path: &CString, shared: &'static Shared) -> io::Result<()> {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
        socketpair,
    };
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    let child = child(|| {
        let fd = next_number();
        let ready = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                ready.store(1, Ordering::SeqCst);
                for _ in 0..20_000 {
                    let (parts, fds) = ([io::IoSlice::new(b"x")], [fd]);
                    let message = [ControlMessage::ScmRights(&fds)];
                    if sendmsg::<()>(theirs.as_raw_fd(), &parts, &message, MsgFlags::empty(), None).is_ok() {
                        break;
                    }
                }
            });
            while ready.load(Ordering::SeqCst) == 0 {
                hint::spin_loop();
            }
            for _ in 0..2_000 {
                hint::spin_loop();
            }
            open(path, shared);
        });
        0
    })?;
    waitpid(child, None)?;
    let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; 1]));
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    let Ok(message) = recvmsg::<()>(ours.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT) else {
        return Ok(());
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: descriptors that were just received, and are nobody else's.
                read_out(&unsafe { OwnedFd::from_raw_fd(fd) }, shared);
            }
        }
    }
    Ok(())
}

/// Another process takes the descriptor out of the one that opens.
fn by_another(path: &CString, shared: &'static Shared) -> io::Result<()> {
    let (start, go) = nix::unistd::pipe()?;
    let opener = child(|| {
        let mut byte = [0];
        nix::unistd::read(&start, &mut byte).unwrap_or_default();
        for _ in 0..2_000 {
            hint::spin_loop();
        }
        open(path, shared);
        0
    })?;
    let fd = next_number();
    let taker = child(|| {
        // SAFETY: no pointers; a result that is not negative is a descriptor of this process's own.
        unsafe {
            let held = libc::syscall(libc::SYS_pidfd_open, opener.as_raw(), 0);
            nix::unistd::write(&go, b"x").unwrap_or_default();
            for _ in 0..20_000 {
                let taken = libc::syscall(libc::SYS_pidfd_getfd, held, fd, 0);
                if taken >= 0 {
                    read_out(&OwnedFd::from_raw_fd(taken as RawFd), shared);
                    break;
                }
            }
        }
        0
    })?;
    waitpid(opener, None)?;
    waitpid(taker, None).map(drop)?;
    Ok(())
}

fn read_out(fd: &OwnedFd, shared: &Shared) {
    let mut bytes = [0_u8; 64];
    // SAFETY: as many bytes as there are.
    let length = unsafe { libc::pread(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    took(&bytes, length, shared);
}
