//! What guard can do about each operation on this kernel, in the words of the documentation.

use guard_common::words::{Backend, Op};

use super::btf::Types;

/// What becomes of an operation that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It fails with EPERM and has not happened.
    Prevented,
    /// It has happened in the kernel, and the process is killed before the thread that did it runs on.
    Contained,
    /// It is not even recorded.
    NotSeen,
}

impl Reach {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Prevented => "prevented",
            Self::Contained => "contained",
            Self::NotSeen => "not seen",
        }
    }
}

/// What guard can do about one kind of operation.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// The operation of policies that it is.
    pub op: Op,
    /// What is attempted.
    pub what: &'static str,
    /// What becomes of it where it is denied.
    pub reach: Reach,
    /// By which means.
    pub backend: Backend,
    /// The same in words.
    pub how: &'static str,
}

/// Arguments that `io_uring_complete` has since 6.10, the first form that shows the request's result.
const URING_ARGUMENTS: usize = 3;

/// Whether what is opened and connected through `io_uring` is seen on the kernel that has these types.
#[must_use]
pub fn sees_uring(types: &Types) -> bool {
    types.tracepoint_arguments("io_uring_complete") == Some(URING_ARGUMENTS)
}

const fn hold(op: Op, what: &'static str, reach: Reach, backend: Backend, how: &'static str) -> Hold {
    Hold { op, what, reach, backend, how }
}

/// What is so on every kernel that guard runs on.
const ALWAYS: [Hold; 7] = [
    hold(
        Op::Exec,
        "executing a program",
        Reach::Contained,
        Backend::Signal,
        "contained: killed before its first instruction",
    ),
    hold(
        Op::Read,
        "opening a file to read",
        Reach::Contained,
        Backend::Signal,
        "contained: no byte reaches the thread that opened it",
    ),
    hold(
        Op::Write,
        "opening a file to write",
        Reach::Contained,
        Backend::Signal,
        "contained: nothing is written by that thread, but what `O_TRUNC` has truncated and `O_CREAT` has created stays",
    ),
    hold(
        Op::Connect,
        "TCP connections, UDP connections and datagrams, IPv4 and IPv6",
        Reach::Prevented,
        Backend::Cgroup,
        "prevented, through io_uring too",
    ),
    hold(
        Op::Send,
        "TCP connections, UDP connections and datagrams, IPv4 and IPv6",
        Reach::Prevented,
        Backend::Cgroup,
        "prevented, through io_uring too",
    ),
    hold(
        Op::Connect,
        "connecting to a unix socket",
        Reach::Contained,
        Backend::Signal,
        "contained: no byte is sent by that thread; the other side sees the connection open and close",
    ),
    hold(
        Op::Outlive,
        "outliving the session",
        Reach::Contained,
        Backend::Signal,
        "ended from user space half a second after the session",
    ),
];

/// What guard can do, operation by operation. `uring` says whether [`sees_uring`]; without it nothing is said of
/// `io_uring`.
#[must_use]
pub fn holds(uring: Option<bool>) -> Vec<Hold> {
    let mut holds = ALWAYS.to_vec();
    if let Some(seen) = uring {
        let (reach, backend, how) = if seen {
            (Reach::Contained, Backend::Signal, "contained")
        } else {
            (Reach::NotSeen, Backend::None, "not seen")
        };
        holds.extend([
            hold(Op::Read, "opening a file to read through io_uring", reach, backend, how),
            hold(Op::Write, "opening a file to write through io_uring", reach, backend, how),
            hold(Op::Connect, "connecting to a unix socket through io_uring", reach, backend, how),
        ]);
    }
    holds
}
