//! Internet addresses that must not be spoken to: 127.9.0.0/16, and ports 7000 to 7999 of this machine.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use std::{ptr, thread};

use io_uring::{opcode, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike as _, bind,
    connect, sendmsg, sendto, socket,
};
use support::ring;

use super::{listen, packets};
use crate::place::{Place, word};
use crate::way::Class::Connect;
use crate::way::Outcome::{Contained, Open, Prevented};
use crate::way::Part::{Code, Sh};
use crate::way::{Need, Part, Way, way};

/// Internet connections are refused before anything is sent, whatever the backend.
const fn stream(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Connect, "network", name, tries, attempt)
        .beside(Code(|place| listen::tcp(place, "127.9.1.2:80")))
        .ends(Prevented, Prevented)
}

const fn datagram(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    stream(name, tries, attempt).beside(Code(|place| listen::udp(place, "127.9.1.2:53")))
}

/// The ways.
pub const WAYS: &[Way] = &[
    stream("tcp", "connects, plainly", Code(|_| say_tcp("127.9.1.2:80"))),
    stream("tcp-bash", "a shell's own /dev/tcp", Sh("bash -c 'echo $word >/dev/tcp/127.9.1.2/80'"))
        .needs(&[Need::Program("bash")]),
    stream("tcp-io-uring", "io_uring's connect and send", Code(uring)),
    stream("tcp-fast-open", "connects by the first data, without connect(2)", Code(fast_open)),
    stream("tcp-32-bit", "connect by int 0x80", Code(packets::compat_connect)),
    stream("tcp-mapped", "IPv4 in an IPv6 address", Code(|_| say_tcp("[::ffff:127.9.1.2]:80"))),
    stream("tcp-ipv6", "IPv6", Code(|_| say_tcp("[::1]:7001")))
        .beside(Code(|place| listen::tcp(place, "[::1]:7001"))),
    stream("tcp-any", "the address 0.0.0.0, which is this machine's own", Code(|_| say_tcp("0.0.0.0:7001")))
        .beside(Code(|place| listen::tcp(place, "127.0.0.1:7001"))),
    stream("tcp-any-ipv6", "the address ::, likewise", Code(|_| say_tcp("[::]:7001")))
        .beside(Code(|place| listen::tcp(place, "[::1]:7001"))),
    stream("tcp-any-mapped", "0.0.0.0 in an IPv6 address", Code(|_| say_tcp("[::ffff:0.0.0.0]:7001")))
        .beside(Code(|place| listen::tcp(place, "127.0.0.1:7001"))),
    stream("tcp-any-bound", "0.0.0.0, which is the address that the socket is bound to", Code(any_of_ones_own)),
    stream("mptcp", "multipath TCP", Code(|_| packets::say_by(libc::SOCK_STREAM, libc::IPPROTO_MPTCP, 80)))
        .needs(&[Need::Socket("MPTCP", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)]),
    stream("sctp", "SCTP", Code(|_| packets::say_by(libc::SOCK_STREAM, libc::IPPROTO_SCTP, 80)))
        .beside(Code(|place| {
            let address = packets::address([127, 9, 1, 2], 80);
            listen::raw_stream(place, libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP, &address)
        }))
        .needs(&[Need::Socket("SCTP", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)]),
    stream(
        "tcp-network-namespace",
        "enters another network namespace, where the address is somebody else",
        Sh("nsenter -t $(cat ready) -n bash -c 'echo $word >/dev/tcp/127.9.1.2/80'"),
    )
    .beside(Code(|place| listen::in_a_network(place, |place| listen::tcp(place, "127.9.1.2:80"))))
    .needs(&[Need::Program("ip"), Need::Program("bash")]),
    stream("tcp-accept", "waits to be called, by somebody outside", Code(answer)).beside(Code(call)).ends(Open, Open),
    stream("tcp-proxy", "somebody at an allowed address, who would pass it on", Code(|_| say_tcp("127.0.0.1:8000")))
        .beside(Code(|place| listen::tcp(place, "127.0.0.1:8000")))
        .ends(Open, Open),
    datagram("udp-sendto", "a datagram by sendto", Code(|_| say_udp("127.9.1.2:53"))),
    datagram("udp-mapped", "the same, IPv4 in an IPv6 address", Code(|_| say_udp("[::ffff:127.9.1.2]:53"))),
    datagram("udp-any", "the same to 0.0.0.0", Code(|_| say_udp("0.0.0.0:7053")))
        .beside(Code(|place| listen::udp(place, "127.0.0.1:7053"))),
    datagram("udp-any-source", "the same, told to come from the address", Code(any_from_source)),
    datagram("udp-connected", "a connected datagram socket", Code(udp_connected)),
    datagram("udp-retold", "one that is connected elsewhere, told another address", Code(udp_retold)),
    datagram("udp-sendmmsg", "sendmmsg(2)", Code(sendmmsg)),
    datagram("udp-io-uring", "io_uring's sendmsg", Code(uring_datagram)),
    datagram("udp-address-swapped", "an address that a second thread changes during the call", Code(swapped)),
    datagram("udp-lite", "UDP-Lite", Code(|_| packets::say_by(libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE, 53)))
        .beside(Code(packets::hear_udp_lite))
        .needs(&[Need::Socket("UDP-Lite", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)]),
    datagram("ping-socket", "a ping that carries the word", Code(packets::ping))
        .before(Sh("echo 0 0 >/proc/sys/net/ipv4/ping_group_range"))
        .beside(Code(|place| packets::hear_raw(place, libc::IPPROTO_ICMP))),
    datagram("raw-socket", "a raw socket, and a UDP header of its own making", Code(packets::raw)),
    datagram("packet-socket", "a packet socket, and a whole frame of its own making", Code(packets::frame))
        .before(Sh("echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"))
        .ends(Contained, Prevented),
    datagram("raw-socket-ipv6", "a raw socket of IPv6", Code(packets::raw_6)).beside(Code(packets::hear_raw_6)),
    datagram("packet-socket-32-bit", "a packet socket by int 0x80, and a frame", Code(packets::compat_frame))
        .before(Sh("echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"))
        .ends(Contained, Prevented),
    datagram("packet-socket-io-uring", "a packet socket by io_uring, and a frame", Code(packets::uring_frame))
        .before(Sh("echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"))
        .ends(Contained, Prevented)
        .older(Open),
    stream("vsock", "the sockets of virtual machines", Code(packets::say_vsock))
        .beside(Code(packets::hear_vsock))
        .needs(&[Need::File("/sys/module/vsock_loopback")])
        .ends(Contained, Prevented),
];

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(io::Error::other)
}

fn say_tcp(to: &str) -> io::Result<()> {
    TcpStream::connect(address(to)?)?.write_all(word()?.as_bytes())
}

fn say_udp(to: &str) -> io::Result<()> {
    let to = address(to)?;
    UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?.send_to(word()?.as_bytes(), to).map(drop)
}

/// The denied address.
fn denied(port: u16) -> SockaddrIn {
    SockaddrIn::new(127, 9, 1, 2, port)
}

/// Where the guarded process waits.
const CALLED: &str = "127.0.0.1:7500";

fn answer(_: &Place) -> io::Result<()> {
    let (mut caller, _) = TcpListener::bind(CALLED)?.accept()?;
    caller.write_all(word()?.as_bytes())
}

/// Calls until there is an answer.
fn call(place: &Place) -> io::Result<()> {
    place.ready()?;
    loop {
        if let Ok(mut answering) = TcpStream::connect(CALLED) {
            let mut bytes = Vec::new();
            answering.read_to_end(&mut bytes)?;
            return place.hear(&bytes);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn uring(_: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    let (to, text, fd) = (denied(80), word()?, types::Fd(socket.as_raw_fd()));
    ring::one(&opcode::Connect::new(fd, to.as_ptr(), to.len()).build())?;
    ring::one(&opcode::Send::new(fd, text.as_ptr(), text.len() as u32).build()).map(drop)
}

fn fast_open(_: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), SockProtocol::Tcp)?;
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    sendto(socket.as_raw_fd(), word()?.as_bytes(), &denied(80), flags)?;
    Ok(())
}

fn any_of_ones_own(_: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), SockProtocol::Tcp)?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 9, 1, 2, 0))?;
    connect(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 80))?;
    TcpStream::from(socket).write_all(word()?.as_bytes())
}

fn any_from_source(_: &Place) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let source = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: denied(0).as_ref().sin_addr,
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let text = word()?;
    let parts = [io::IoSlice::new(text.as_bytes())];
    let told = [ControlMessage::Ipv4PacketInfo(&source)];
    let to = SockaddrIn::new(0, 0, 0, 0, 53);
    sendmsg(socket.as_raw_fd(), &parts, &told, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

fn udp_connected(_: &Place) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("127.9.1.2:53")?;
    socket.send(word()?.as_bytes()).map(drop)
}

fn udp_retold(_: &Place) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("127.0.0.1:53")?;
    sendto(socket.as_raw_fd(), word()?.as_bytes(), &denied(53), MsgFlags::empty())?;
    Ok(())
}

/// A message for the denied address; what it points to has to outlive it.
fn message(to: &SockaddrIn, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: plain old data, valid when zeroed.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

fn part(text: &str) -> libc::iovec {
    libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() }
}

fn sendmmsg(_: &Place) -> io::Result<()> {
    let (socket, to, text) = (UdpSocket::bind("0.0.0.0:0")?, denied(53), word()?);
    let mut part = part(&text);
    let mut all = libc::mmsghdr { msg_hdr: message(&to, &mut part), msg_len: 0 };
    // SAFETY: one message, all parts of which outlive the call.
    Errno::result(unsafe { libc::sendmmsg(socket.as_raw_fd(), &raw mut all, 1, 0) })?;
    Ok(())
}

fn uring_datagram(_: &Place) -> io::Result<()> {
    let (socket, to, text) = (UdpSocket::bind("0.0.0.0:0")?, denied(53), word()?);
    let mut part = part(&text);
    let header = message(&to, &mut part);
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), &raw const header);
    ring::one(&entry.build()).map(drop)
}

/// Sends to an address that is allowed when it is looked at, and denied a moment later.
fn swapped(_: &Place) -> io::Result<()> {
    const ROUNDS: u32 = 100;
    const TIMES: u32 = 20;
    let (socket, text, over) = (UdpSocket::bind("0.0.0.0:0")?, word()?, AtomicBool::new(false));
    let addresses = [SockaddrIn::new(127, 0, 0, 1, 53), denied(53)];
    let ip = |at: usize| addresses[at].as_ref().sin_addr.s_addr;
    // SAFETY: plain old data, valid when zeroed.
    let mut shared: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    shared.sin_family = libc::AF_INET as u16;
    shared.sin_port = 53_u16.to_be();
    // SAFETY: aligned, and used as an atomic by both threads from here on.
    let turned = unsafe { AtomicU32::from_ptr(&raw mut shared.sin_addr.s_addr) };
    let to = ptr::from_ref(turned).wrapping_byte_sub(std::mem::offset_of!(libc::sockaddr_in, sin_addr));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                turned.store(ip(at), Ordering::Relaxed);
                at = 1 - at;
            }
        });
        for _ in 0..ROUNDS {
            for _ in 0..TIMES {
                let length = size_of::<libc::sockaddr_in>() as u32;
                // SAFETY: the text is as long as said, the address a whole one; both outlive the call. Refusals are expected.
                unsafe { libc::sendto(socket.as_raw_fd(), text.as_ptr().cast(), text.len(), 0, to.cast(), length) };
            }
            // The other thread may need this CPU.
            thread::sleep(Duration::from_millis(1));
        }
        over.store(true, Ordering::Relaxed);
    });
    Ok(())
}
