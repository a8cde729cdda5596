//! Sockets that the standard library has not, with addresses, headers and frames made by hand.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use io_uring::opcode;
use nix::errno::Errno;
use nix::libc;
use support::ring;

use super::listen;
use crate::place::{Place, word};

/// The denied address.
const DENIED: [u8; 4] = [127, 9, 1, 2];
/// Where datagrams are listened for.
const PORT: u16 = 53;

/// A socket of any kind.
fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a result that is not negative is a new descriptor.
    unsafe { Ok(OwnedFd::from_raw_fd(Errno::result(libc::socket(family, kind, protocol))?)) }
}

/// `struct sockaddr_in`.
pub fn address(ip: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    bytes.extend(ip);
    bytes.resize(size_of::<libc::sockaddr_in>(), 0);
    bytes
}

fn connect(socket: &OwnedFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address is as long as said.
    let done = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    Errno::result(done)?;
    Ok(())
}

fn send(socket: &OwnedFd, bytes: &[u8], to: &[u8]) -> io::Result<()> {
    // SAFETY: bytes and address are as long as said.
    let sent = unsafe {
        let (to, length) = (to.as_ptr().cast(), to.len() as u32);
        libc::sendto(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, to, length)
    };
    Errno::result(sent)?;
    Ok(())
}

/// Connects to the denied address by another protocol than usual, and says the word.
pub fn say_by(kind: i32, protocol: i32, port: u16) -> io::Result<()> {
    let socket = socket(libc::AF_INET, kind, protocol)?;
    connect(&socket, &address(DENIED, port))?;
    File::from(socket).write_all(word()?.as_bytes())
}

/// Listens by UDP-Lite.
pub fn hear_udp_lite(place: &Place) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)?;
    hear_at(place, socket, &address(DENIED, PORT))
}

/// Notes the first thing that comes to this address.
fn hear_at(place: &Place, socket: OwnedFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address is as long as said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    Errno::result(bound)?;
    place.ready()?;
    let mut bytes = [0; 4096];
    let length = File::from(socket).read(&mut bytes)?;
    place.hear(&bytes[..length])
}

/// A UDP header and the word. A checksum of 0 says that there is none.
fn datagram() -> io::Result<Vec<u8>> {
    let text = word()?;
    let mut bytes = Vec::new();
    for number in [PORT, PORT, 8 + text.len() as u16, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(text.as_bytes());
    Ok(bytes)
}

/// Through a raw socket.
pub fn raw(_: &Place) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    send(&socket, &datagram()?, &address(DENIED, 0))
}

/// Through a ping socket, as what an echo request carries.
pub fn ping(_: &Place) -> io::Result<()> {
    const ECHO_REQUEST: u8 = 8;
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
    // Kind, code, checksum, number and sequence, which the kernel fills in.
    let mut bytes = vec![ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(word()?.as_bytes());
    send(&socket, &bytes, &address(DENIED, 0))
}

/// Listens for what is sent to the denied address by `protocol`.
pub fn hear_raw(place: &Place, protocol: i32) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_RAW, protocol)?;
    hear_at(place, socket, &address(DENIED, 0))
}

/// Through a raw socket of IPv6, to this machine.
pub fn raw_6(_: &Place) -> io::Result<()> {
    let socket = socket(libc::AF_INET6, libc::SOCK_RAW, EXPERIMENT)?;
    send(&socket, word()?.as_bytes(), &loopback_6())
}

/// Listens for that.
pub fn hear_raw_6(place: &Place) -> io::Result<()> {
    let socket = socket(libc::AF_INET6, libc::SOCK_RAW, EXPERIMENT)?;
    hear_at(place, socket, &loopback_6())
}

/// A protocol number for experiments (RFC 3692).
const EXPERIMENT: i32 = 253;

/// `struct sockaddr_in6` of `::1`.
fn loopback_6() -> Vec<u8> {
    let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
    bytes.resize(23, 0);
    bytes.push(1);
    bytes.resize(size_of::<libc::sockaddr_in6>(), 0);
    bytes
}

/// Through a packet socket, to loopback.
pub fn frame(_: &Place) -> io::Result<()> {
    send_frame(&socket(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(IPV4.to_be()))?)
}

/// The same, through one made by `io_uring`.
pub fn uring_frame(_: &Place) -> io::Result<()> {
    let entry = opcode::Socket::new(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(IPV4.to_be())).build();
    let fd = ring::one(&entry)?;
    // SAFETY: a new descriptor.
    send_frame(&unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same, through one made as a 32-bit program makes it.
#[cfg(target_arch = "x86_64")]
pub fn compat_frame(_: &Place) -> io::Result<()> {
    const SOCKET: i64 = 359;
    let result: i64;
    // SAFETY: no pointers. rbx is the compiler's own, hence the exchange.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {family}",
            "int 0x80",
            "xchg rbx, {family}",
            family = inout(reg) i64::from(libc::AF_PACKET) => _,
            inlateout("rax") SOCKET => result,
            in("rcx") i64::from(libc::SOCK_DGRAM),
            in("rdx") i64::from(IPV4.to_be()),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    // SAFETY: a new descriptor.
    send_frame(&unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// `ETH_P_IP`.
const IPV4: u16 = 0x0800;

fn send_frame(socket: &OwnedFd) -> io::Result<()> {
    let datagram = datagram()?;
    // Version and length, service, whole length, id, fragments, time to live, UDP, checksum, from, to.
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + datagram.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0]);
    // From nowhere: loopback takes no frame from itself.
    bytes.extend([10, 9, 9, 9]);
    bytes.extend(DENIED);
    let checksum = checksum(&bytes);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes.extend(datagram);
    // SAFETY: a terminated name.
    let loopback = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    // struct sockaddr_ll: family, protocol, interface, kinds, length of the address, address.
    let mut to = (libc::AF_PACKET as u16).to_ne_bytes().to_vec();
    to.extend(IPV4.to_be_bytes());
    to.extend(loopback.to_ne_bytes());
    to.extend([0, 0, 0, 6]);
    to.resize(size_of::<libc::sockaddr_ll>(), 0);
    send(socket, &bytes, &to)
}

/// The checksum of an IP header.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// `struct sockaddr_vm`: the loopback of virtual machines' sockets.
fn vsock() -> Vec<u8> {
    const LOCAL: u32 = 1;
    let mut bytes = (libc::AF_VSOCK as u16).to_ne_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(7001_u32.to_ne_bytes());
    bytes.extend(LOCAL.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// Listens for virtual machines' sockets.
pub fn hear_vsock(place: &Place) -> io::Result<()> {
    listen::raw_stream(place, libc::AF_VSOCK, libc::SOCK_STREAM, 0, &vsock())
}

/// Connects by them.
pub fn say_vsock(_: &Place) -> io::Result<()> {
    let socket = socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    connect(&socket, &vsock())?;
    File::from(socket).write_all(word()?.as_bytes())
}

/// connect, as a 32-bit program calls it: the address lies below 4 GiB.
#[cfg(target_arch = "x86_64")]
pub fn compat_connect(_: &Place) -> io::Result<()> {
    const CONNECT: i64 = 362;
    let (socket, address) = (socket(libc::AF_INET, libc::SOCK_STREAM, 0)?, address(DENIED, 80));
    // SAFETY: a new mapping of a page, wherever there is room below 2 GiB, into which the address fits.
    let low = unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let low = libc::mmap(std::ptr::null_mut(), 4096, protection, flags | libc::MAP_32BIT, -1, 0);
        if low == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        std::ptr::copy_nonoverlapping(address.as_ptr(), low.cast(), address.len());
        low
    };
    let result: i64;
    // SAFETY: the call reads the address and changes no memory. rbx is the compiler's own, hence the exchange.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {socket}",
            "int 0x80",
            "xchg rbx, {socket}",
            socket = inout(reg) i64::from(socket.as_raw_fd()) => _,
            inlateout("rax") CONNECT => result,
            in("rcx") low as i64,
            in("rdx") address.len() as i64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    File::from(socket).write_all(word()?.as_bytes())
}
