//! Listeners outside of the tree, who note what they hear.

use std::io::{self, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use nix::libc;

use crate::place::Place;

/// Notes all that comes by these streams. Who only connects and goes is not heard.
pub fn streams<S: Read>(place: &Place, clients: impl IntoIterator<Item = io::Result<S>>) -> io::Result<()> {
    place.ready()?;
    hear(place, clients)
}

/// The same, where somebody else says that all is set up.
pub fn hear<S: Read>(place: &Place, clients: impl IntoIterator<Item = io::Result<S>>) -> io::Result<()> {
    for client in clients {
        let (mut client, mut bytes) = (client?, [0; 4096]);
        // One that is reset by a death has said nothing more.
        while let Ok(length @ 1..) = client.read(&mut bytes) {
            place.hear(&bytes[..length])?;
        }
    }
    Ok(())
}

/// Notes datagrams.
fn datagrams(place: &Place, receive: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
    place.ready()?;
    let mut bytes = [0; 4096];
    loop {
        let length = receive(&mut bytes)?;
        place.hear(&bytes[..length])?;
    }
}

/// TCP.
pub fn tcp(place: &Place, address: &str) -> io::Result<()> {
    streams(place, TcpListener::bind(address)?.incoming())
}

/// UDP.
pub fn udp(place: &Place, address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    datagrams(place, |bytes| socket.recv(bytes))
}

/// A unix stream, by path.
pub fn unix(place: &Place, path: &str) -> io::Result<()> {
    streams(place, bound(path)?.incoming())
}

/// A unix stream, by abstract name.
pub fn abstract_stream(place: &Place, name: &str) -> io::Result<()> {
    streams(place, UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?.incoming())
}

/// Unix datagrams, by path.
pub fn unix_datagrams(place: &Place, path: &str) -> io::Result<()> {
    let socket = UnixDatagram::bind(path)?;
    datagrams(place, |bytes| socket.recv(bytes))
}

/// Unix datagrams, by abstract name.
pub fn abstract_datagrams(place: &Place, name: &str) -> io::Result<()> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    datagrams(place, |bytes| socket.recv(bytes))
}

fn bound(path: &str) -> io::Result<UnixListener> {
    if let Some(folder) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(folder)?;
    }
    UnixListener::bind(path)
}

/// Any other kind of stream: an address as the kernel has it.
pub fn raw_stream(place: &Place, family: i32, kind: i32, protocol: i32, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address is as long as said; results that are not negative are new descriptors.
    let listener = unsafe {
        let fd = nix::errno::Errno::result(libc::socket(family, kind, protocol))?;
        let listener = OwnedFd::from_raw_fd(fd);
        nix::errno::Errno::result(libc::bind(fd, address.as_ptr().cast(), address.len() as u32))?;
        nix::errno::Errno::result(libc::listen(fd, 8))?;
        listener
    };
    let accept = || {
        let fd: RawFd = std::os::fd::AsRawFd::as_raw_fd(&listener);
        // SAFETY: no pointers; a result that is not negative is a new descriptor.
        unsafe {
            let client = nix::errno::Errno::result(libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()))?;
            Ok(std::fs::File::from(OwnedFd::from_raw_fd(client)))
        }
    };
    streams(place, std::iter::repeat_with(accept))
}

/// Listens in a network of its own.
pub fn in_a_network(place: &Place, work: impl FnOnce(&Place) -> io::Result<()>) -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    crate::inside::run("ip", &["link", "set", "lo", "up"])?;
    work(place)
}
