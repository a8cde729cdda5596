//! A network with nothing in it but loopback: whatever Codex tries to reach, it can't, and ports are free.

use std::{io, thread};

use nix::sched::{CloneFlags, unshare};

/// Runs `work` in a thread with a network namespace of its own. Children started there live in it too; threads that
/// were started elsewhere, and the rest of the test binary, do not.
///
/// # Panics
/// Without the right to make a namespace (root), or when `work` panics.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own takes root");
        loopback_up().expect("loopback comes up");
        work()
    };
    match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // Any socket will do to talk about interfaces.
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: plain old data, valid when zeroed.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request outlives the call and names its interface with a terminating zero.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
