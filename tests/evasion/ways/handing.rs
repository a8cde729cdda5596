//! Handing an open file to another process, over a unix socket.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::place::Place;

/// Where who hands over listens: anybody may come.
const SOCKET: &str = "allowed/socket";

/// Hands the file to all who come.
pub fn give(place: &Place, file: RawFd) -> io::Result<()> {
    let listener = UnixListener::bind(SOCKET)?;
    place.ready()?;
    for client in listener.incoming() {
        let fds = [file];
        let message = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(client?.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    }
    Ok(())
}

/// Is handed a file.
pub fn take() -> io::Result<File> {
    let stream = UnixStream::connect(SOCKET)?;
    let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; 1]));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let received = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fd = received.ok_or(io::ErrorKind::UnexpectedEof)?;
    // SAFETY: a descriptor that was just received.
    Ok(unsafe { File::from_raw_fd(fd) })
}
