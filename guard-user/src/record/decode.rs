//! From the bytes of a ring buffer to a [`Record`]. Nothing in them is trusted: a length that leads outside is
//! an error, never a panic.

use bytes::{Buf as _, Bytes};
use guard_common::event::{Attempt, Connect, Exec, Exit, Head, Kind, Open};

/// A record of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What every record has.
    pub head: Head,
    /// What this kind has.
    pub body: Body,
}

/// What a record tells, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An exec; `enrol` says that it made its process the root of a tree.
    Exec {
        /// The fixed part.
        body: Exec,
        /// The process became a root by this exec.
        enrol: bool,
        /// True path of the executable; empty if unknown.
        path: Bytes,
        /// Working folder; empty if unknown.
        cwd: Bytes,
        /// The agent's session id; empty if there was none.
        session: Bytes,
        /// The agent's call id; empty if there was none.
        call: Bytes,
        /// The words, each ended by a NUL.
        argv: Bytes,
    },
    /// An open.
    Open {
        /// The fixed part.
        body: Open,
        /// True path; empty if unknown.
        path: Bytes,
    },
    /// A connection or datagram.
    Connect {
        /// The fixed part.
        body: Connect,
        /// Path or abstract name of a unix socket.
        path: Bytes,
    },
    /// Another operation.
    Attempt {
        /// The fixed part.
        body: Attempt,
        /// True path of what it is attempted on; empty if unknown, or if it has none.
        path: Bytes,
        /// The new name, where there are two.
        new_path: Bytes,
    },
    /// A process was moved into a control group that is guarded: the head is its.
    Moved {
        /// True path of what it runs; empty if unknown.
        path: Bytes,
        /// Working folder; empty if unknown.
        cwd: Bytes,
    },
    /// A fork: the head is the child's.
    Fork,
    /// An end.
    Exit(Exit),
    /// A child that was killed because it could not be followed, or because its call was ended.
    Doomed,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// Shorter than the parts it should have.
    Short {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// Of no kind that is known.
    Kind(u8),
}

impl std::fmt::Display for Garbled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short { needed, found } => write!(f, "a record of {found} bytes should have {needed}"),
            Self::Kind(kind) => write!(f, "a record is of unknown kind {kind}"),
        }
    }
}

impl std::error::Error for Garbled {}

/// Types of the wire: `repr(C)`, made of integers only, valid for every bit pattern.
trait Wire: Copy {}
impl Wire for Head {}
impl Wire for Exec {}
impl Wire for Open {}
impl Wire for Connect {}
impl Wire for Exit {}
impl Wire for Attempt {}

/// Takes a fixed part off the front.
fn fixed<T: Wire>(from: &mut Bytes) -> Result<T, Garbled> {
    let size = size_of::<T>();
    if from.len() < size {
        return Err(Garbled::Short { needed: size, found: from.len() });
    }
    // SAFETY: enough bytes, read without regard to alignment, and every bit pattern is a valid `T` (see `Wire`).
    let value = unsafe { from.as_ptr().cast::<T>().read_unaligned() };
    from.advance(size);
    Ok(value)
}

/// Takes a text off the front.
fn text(from: &mut Bytes, len: u32) -> Result<Bytes, Garbled> {
    let len = len as usize;
    if from.len() < len {
        return Err(Garbled::Short { needed: len, found: from.len() });
    }
    Ok(from.split_to(len))
}

/// Reads one record.
///
/// # Errors
/// [`Garbled`] for anything that the programs would not have written.
pub fn decode(record: &[u8]) -> Result<Record, Garbled> {
    let mut rest = Bytes::copy_from_slice(record);
    let head: Head = fixed(&mut rest)?;
    let kind = Kind::from_number(head.kind).ok_or(Garbled::Kind(head.kind))?;
    let body = match kind {
        Kind::Exec | Kind::Enrol => {
            let body: Exec = fixed(&mut rest)?;
            Body::Exec {
                enrol: kind == Kind::Enrol,
                path: text(&mut rest, body.path_len)?,
                cwd: text(&mut rest, body.cwd_len)?,
                session: text(&mut rest, body.session_len)?,
                call: text(&mut rest, body.call_len)?,
                argv: text(&mut rest, body.argv_len)?,
                body,
            }
        }
        Kind::Open => {
            let body: Open = fixed(&mut rest)?;
            Body::Open { path: text(&mut rest, body.path_len)?, body }
        }
        Kind::Connect => {
            let body: Connect = fixed(&mut rest)?;
            Body::Connect { path: text(&mut rest, body.path_len)?, body }
        }
        Kind::Attempt => {
            let body: Attempt = fixed(&mut rest)?;
            Body::Attempt {
                path: text(&mut rest, body.path_len)?,
                new_path: text(&mut rest, body.new_path_len)?,
                body,
            }
        }
        Kind::Moved => {
            let body: Exec = fixed(&mut rest)?;
            Body::Moved { path: text(&mut rest, body.path_len)?, cwd: text(&mut rest, body.cwd_len)? }
        }
        Kind::Fork => Body::Fork,
        Kind::Exit => Body::Exit(fixed(&mut rest)?),
        Kind::Doomed => Body::Doomed,
    };
    Ok(Record { head, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lead_outside_are_refused() {
        let mut record = vec![0u8; size_of::<Head>() + size_of::<Open>()];
        let head = Head { kind: Kind::Open as u8, ..Head::default() };
        let open = Open { path_len: u32::MAX, ..Open::default() };
        // SAFETY: the vector has exactly the size of both, and unaligned writes are used.
        unsafe {
            record.as_mut_ptr().cast::<Head>().write_unaligned(head);
            record.as_mut_ptr().add(size_of::<Head>()).cast::<Open>().write_unaligned(open);
        }
        assert_eq!(decode(&record), Err(Garbled::Short { needed: u32::MAX as usize, found: 0 }));
        record.truncate(10);
        assert!(matches!(decode(&record), Err(Garbled::Short { .. })));
        assert_eq!(decode(&[0; 64]), Err(Garbled::Kind(0)));
    }
}
