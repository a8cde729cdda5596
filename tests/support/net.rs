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

/// Gives this network, one of [`alone`], an address that is not the loopback's.
///
/// # Panics
/// When it can't have one.
pub fn own_address(address: std::net::Ipv4Addr) {
    let number = u32::from_ne_bytes(address.octets());
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: number },
        sin_zero: [0; 8],
    };
    let mut request = request("lo:1");
    // SAFETY: both are plain old data of the same size.
    request.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) };
    tell(libc::SIOCSIFADDR, &request).expect("another address");
}

fn loopback_up() -> io::Result<()> {
    let mut request = request("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    tell(libc::SIOCSIFFLAGS, &request)
}

/// A request about an interface.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: plain old data, valid when zeroed.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn tell(what: libc::c_ulong, request: &libc::ifreq) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // Any socket will do to talk about interfaces.
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: the request outlives the call and names its interface with a terminating zero.
    if unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_ref(request)) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
