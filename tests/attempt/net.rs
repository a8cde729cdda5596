//! Talking to others.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use io_uring::{opcode, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, UnixAddr, connect as connect_socket, sendmsg, sendto, socket,
};
use support::ring;

/// Whom to talk to.
#[derive(Clone, Debug)]
pub enum To {
    /// By a stream.
    Tcp(SocketAddr),
    /// By a stream of multipath TCP.
    Mptcp(SocketAddr),
    /// By datagrams.
    Udp(SocketAddr),
    /// By a stream to a socket in the file system.
    Unix(PathBuf),
    /// By a stream to a socket without a file.
    Abstract(String),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').ok_or("no kind")?;
        // The address as a user would write it, `::1` without brackets, too.
        let socket = || -> Result<SocketAddr, String> {
            let (addr, port) = rest.rsplit_once(':').ok_or("no port")?;
            let addr: IpAddr = addr.trim_matches(['[', ']']).parse().map_err(|error| format!("{addr}: {error}"))?;
            Ok(SocketAddr::new(addr, port.parse().map_err(|error| format!("{port}: {error}"))?))
        };
        match kind {
            "tcp" => Ok(Self::Tcp(socket()?)),
            "mptcp" => Ok(Self::Mptcp(socket()?)),
            "udp" => Ok(Self::Udp(socket()?)),
            "unix" => Ok(Self::Unix(rest.into())),
            "abstract" => Ok(Self::Abstract(rest.to_owned())),
            _ => Err(format!("{kind} is none of tcp, mptcp, udp, unix, abstract")),
        }
    }
}

/// The call that sends a datagram.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Sending {
    /// sendto(2).
    Sendto,
    /// sendmsg(2).
    Sendmsg,
    /// `io_uring`'s sendmsg.
    Uring,
    /// sendto(2) on a stream that isn't connected yet, connecting it with its first data.
    Fastopen,
    /// connect(2), and sendmsg(2) without an address, in segments.
    Segments,
}

/// Sockets of other kinds than those for TCP, UDP and the file system.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// UDP-Lite.
    Udplite,
    /// For pings.
    Icmp,
    /// Raw IPv4.
    Raw,
    /// Raw IPv6.
    Raw6,
    /// Frames.
    Packet,
    /// To speak to the kernel.
    Netlink,
}

/// Makes a socket.
pub fn make(kind: Kind, uring: bool) -> io::Result<()> {
    let (family, kind, protocol) = match kind {
        Kind::Udplite => (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        Kind::Icmp => (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        Kind::Raw => (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP),
        Kind::Raw6 => (libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_UDP),
        Kind::Packet => (libc::AF_PACKET, libc::SOCK_DGRAM, 0),
        Kind::Netlink => (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
    };
    if uring {
        return ring::one(&opcode::Socket::new(family, kind, protocol).build()).map(drop);
    }
    made(family, kind, protocol).map(drop)
}

fn made(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a result that is not negative is a new descriptor.
    unsafe { Ok(OwnedFd::from_raw_fd(Errno::result(libc::socket(family, kind, protocol))?)) }
}

impl To {
    /// A socket of the right kind, and the address for it.
    fn socket(&self, stream: bool) -> io::Result<(OwnedFd, SockaddrStorage)> {
        let address: SockaddrStorage = match self {
            Self::Tcp(addr) | Self::Mptcp(addr) | Self::Udp(addr) => match addr {
                SocketAddr::V4(addr) => storage(&SockaddrIn::from(*addr))?,
                SocketAddr::V6(addr) => storage(&SockaddrIn6::from(*addr))?,
            },
            Self::Unix(path) => storage(&UnixAddr::new(path)?)?,
            Self::Abstract(name) => storage(&UnixAddr::new_abstract(name.as_bytes())?)?,
        };
        let family = address.family().unwrap_or(AddressFamily::Unspec);
        let kind = if stream { SockType::Stream } else { SockType::Datagram };
        if matches!(self, Self::Mptcp(_)) {
            return Ok((made(family as i32, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?, address));
        }
        Ok((socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?, address))
    }
}

fn storage(address: &dyn SockaddrLike) -> io::Result<SockaddrStorage> {
    // SAFETY: the address is valid for its own length.
    unsafe { SockaddrStorage::from_raw(address.as_ptr(), Some(address.len())) }
        .ok_or_else(|| io::Error::other("not an address"))
}

/// Connects.
pub fn connect(to: &To, uring: bool) -> io::Result<()> {
    let (socket, address) = to.socket(!matches!(to, To::Udp(_)))?;
    if uring {
        let entry = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr(), address.len());
        return ring::one(&entry.build()).map(drop);
    }
    Ok(connect_socket(socket.as_raw_fd(), &address)?)
}

/// Sends something without connecting first.
pub fn send(by: Sending, to: &To) -> io::Result<()> {
    const TEXT: &[u8] = b"attempt";
    let (socket, address) = to.socket(matches!(by, Sending::Fastopen))?;
    let socket: RawFd = socket.as_raw_fd();
    let parts = [io::IoSlice::new(TEXT)];
    match by {
        Sending::Sendto => sendto(socket, TEXT, &address, MsgFlags::empty())?,
        Sending::Fastopen => sendto(socket, TEXT, &address, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))?,
        Sending::Segments => {
            connect_socket(socket, &address)?;
            let size = TEXT.len() as u16;
            sendmsg(socket, &parts, &[ControlMessage::UdpGsoSegments(&size)], MsgFlags::empty(), None::<&()>)?
        }
        Sending::Sendmsg => sendmsg(socket, &parts, &[], MsgFlags::empty(), Some(&address))?,
        Sending::Uring => {
            // SAFETY: plain old data, valid when zeroed.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
            header.msg_iov = parts.as_ptr().cast_mut().cast();
            header.msg_iovlen = parts.len();
            let entry = opcode::SendMsg::new(types::Fd(socket), &raw const header);
            ring::one(&entry.build())? as usize
        }
    };
    Ok(())
}
