//! Unix sockets that must not be spoken to.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use io_uring::{opcode, types};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike as _, UnixAddr, bind, listen as listen_on, socket,
};
use support::ring;

use super::{handing, listen};
use crate::place::{Place, word};
use crate::way::Class::Connect;
use crate::way::Outcome::{Open, Prevented};
use crate::way::Part::Code;
use crate::way::{Part, Way, way};

const SOCKET: &str = "denied/socket";
const NAME: &str = "guard-denied-evasion";

const fn stream(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Connect, "sockets", name, tries, attempt).beside(Code(|place| listen::unix(place, SOCKET)))
}

const fn datagram(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    stream(name, tries, attempt).beside(Code(|place| listen::unix_datagrams(place, SOCKET)))
}

/// The ways.
pub const WAYS: &[Way] = &[
    stream("unix-stream", "connects to a socket, plainly", Code(|_| say(SOCKET))),
    stream(
        "unix-symlink",
        "by a symbolic link to it",
        Code(|_| {
            symlink(SOCKET, "x")?;
            say("x")
        }),
    ),
    stream(
        "unix-hard-link",
        "by a hard link to it",
        Code(|_| {
            fs::hard_link(SOCKET, "x")?;
            say("x")
        }),
    ),
    stream(
        "unix-renamed",
        "renames it first",
        Code(|_| {
            fs::rename(SOCKET, "x")?;
            say("x")
        }),
    ),
    stream("unix-o-path", "by a descriptor that only names it", Code(by_descriptor)),
    stream("unix-io-uring", "by io_uring", Code(uring)).older(Open),
    stream("unix-packets", "a socket of packets in order", Code(packets)).beside(Code(hear_packets)),
    stream(
        "unix-connected-by-another",
        "is sent a connected socket by another process",
        Code(|_| handing::take()?.write_all(word()?.as_bytes())),
    )
    .beside(Code(give))
    .ends(Open, Open),
    stream(
        "abstract-stream",
        "an abstract name",
        Code(|_| UnixStream::connect_addr(&SocketAddr::from_abstract_name(NAME)?)?.write_all(word()?.as_bytes())),
    )
    .beside(Code(|place| listen::abstract_stream(place, NAME))),
    datagram(
        "unix-datagram-connected",
        "a connected datagram socket",
        Code(|_| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(SOCKET)?;
            socket.send(word()?.as_bytes()).map(drop)
        }),
    ),
    datagram(
        "unix-datagram",
        "a datagram without connecting",
        Code(|_| UnixDatagram::unbound()?.send_to(word()?.as_bytes(), SOCKET).map(drop)),
    )
    .ends(Open, Prevented),
    datagram(
        "abstract-datagram",
        "a datagram to an abstract name",
        Code(|_| {
            let to = SocketAddr::from_abstract_name(NAME)?;
            UnixDatagram::unbound()?.send_to_addr(word()?.as_bytes(), &to).map(drop)
        }),
    )
    .beside(Code(|place| listen::abstract_datagrams(place, NAME)))
    .ends(Open, Prevented),
];

fn say(path: &str) -> io::Result<()> {
    UnixStream::connect(path)?.write_all(word()?.as_bytes())
}

fn by_descriptor(_: &Place) -> io::Result<()> {
    let held = File::options().read(true).custom_flags(libc::O_PATH).open(SOCKET)?;
    say(&format!("/proc/self/fd/{}", held.as_raw_fd()))
}

fn uring(_: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    let (to, text, fd) = (UnixAddr::new(SOCKET)?, word()?, types::Fd(socket.as_raw_fd()));
    ring::one(&opcode::Connect::new(fd, to.as_ptr().cast(), to.len()).build())?;
    ring::one(&opcode::Send::new(fd, text.as_ptr(), text.len() as u32).build()).map(drop)
}

fn packets(_: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    File::from(socket).write_all(word()?.as_bytes())
}

fn hear_packets(place: &Place) -> io::Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    listen_on(&socket, Backlog::new(8)?)?;
    place.ready()?;
    loop {
        let client = nix::sys::socket::accept(socket.as_raw_fd())?;
        let mut bytes = [0; 256];
        // SAFETY: a new descriptor.
        let length = io::Read::read(&mut unsafe { File::from_raw_fd(client) }, &mut bytes).unwrap_or(0);
        place.hear(&bytes[..length])?;
    }
}

/// Connects to the socket, and hands the connection to whoever comes.
fn give(place: &Place) -> io::Result<()> {
    let listener = UnixListener::bind(SOCKET)?;
    let connected = UnixStream::connect(SOCKET)?;
    std::thread::scope(|scope| {
        scope.spawn(|| listen::hear(place, listener.incoming()));
        handing::give(place, connected.as_raw_fd())
    })
}
