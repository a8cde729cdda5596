//! The records that the programs write into the ring buffers.
//!
//! A record is a [`Head`], then a body that depends on its [`Kind`], then the bytes of the texts that the
//! body gives the lengths of, one after the other without separators. Everything is in the machine's byte
//! order. The ring buffer tells a record's length; nothing in it needs to be trusted to stay inside.

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A program was executed; body [`Exec`].
    Exec = 1,
    /// A file was opened; body [`Open`].
    Open = 2,
    /// A connection or datagram was attempted; body [`Connect`].
    Connect = 3,
    /// A process was forked; no body. The head is the child's, its `ppid` the parent.
    Fork = 4,
    /// A process has ended; body [`Exit`].
    Exit = 5,
    /// A process became the root of a tree by its executable; body [`Exec`].
    Enrol = 6,
    /// A child could not be entered into the tree and was killed; no body. The head is the child's.
    Doomed = 7,
    /// Another operation was attempted; body [`Attempt`].
    Attempt = 8,
    /// A process was moved into a control group that is guarded, and became the root of a tree; body [`Exec`], without words.
    /// The head is that process's.
    Moved = 9,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Exec,
            2 => Self::Open,
            3 => Self::Connect,
            4 => Self::Fork,
            5 => Self::Exit,
            6 => Self::Enrol,
            7 => Self::Doomed,
            8 => Self::Attempt,
            9 => Self::Moved,
            _ => return None,
        })
    }
}

/// [`Head::rule`] where no rule decided.
pub const NO_RULE: u16 = u16::MAX;

/// The verdict was carried out.
pub const FLAG_ENFORCED: u8 = 1;
/// The object's path is not known, or not whole.
pub const FLAG_PATH_UNKNOWN: u8 = 2;
/// The command line is longer than what follows.
pub const FLAG_ARGV_CUT: u8 = 4;
/// The process belongs to a call that was ended before; it was caught at its next operation.
pub const FLAG_CALL_ENDED: u8 = 8;
/// The verdict holds for another of the object's names than the one it was reached by.
pub const FLAG_INNER_PATH: u8 = 16;

/// The process that ended was one that keeps its session going.
pub const FLAG_AGENT_ENDED: u8 = 32;

/// First part of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Nanoseconds since boot, suspended time included.
    pub time: u64,
    /// The tree.
    pub tree: u64,
    /// The call, 0 for none.
    pub call: u64,
    /// Start of the process, nanoseconds since boot.
    pub start: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Parent process id.
    pub ppid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Number of the policy that decided.
    pub generation: u32,
    /// Rule that decided, or [`NO_RULE`].
    pub rule: u16,
    /// [`Kind`].
    pub kind: u8,
    /// [`crate::words::Op`].
    pub op: u8,
    /// [`crate::words::Action`].
    pub action: u8,
    /// [`crate::words::Scope`].
    pub scope: u8,
    /// [`crate::words::Backend`].
    pub backend: u8,
    /// `FLAG_*` bits.
    pub flags: u8,
    /// Agent's number, or [`crate::tree::NO_AGENT`].
    pub agent: u8,
    /// Padding.
    pub _pad: [u8; 3],
}

/// Body of [`Kind::Open`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// `struct file.f_flags`: the open's flags without those that act only at open.
    pub file_flags: u32,
    /// `OPENED_*` bits.
    pub opened: u32,
    /// The descriptor: what the call returned or, of an inherited one, the process was given. [`NO_DESCRIPTOR`] where there is
    /// none yet, or it is not known.
    pub result: i32,
    /// Length of the path that follows.
    pub path_len: u32,
}

/// [`Open::result`] of a file that was judged before it got a descriptor, or whose descriptor is not known.
pub const NO_DESCRIPTOR: i32 = i32::MIN;

/// The file can be read through the descriptor.
pub const OPENED_READ: u32 = 1;
/// The file can be written through the descriptor.
pub const OPENED_WRITE: u32 = 2;
/// The open created the file.
pub const OPENED_CREATED: u32 = 4;
/// The open asked to truncate the file.
pub const OPENED_TRUNCATED: u32 = 8;
/// The process did not open it but had it open when it was executed.
pub const OPENED_INHERITED: u32 = 16;

/// Body of [`Kind::Exec`] and [`Kind::Enrol`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// `MEMBER_*` bits after the exec.
    pub member: u32,
    /// Length of the executable's path.
    pub path_len: u32,
    /// Length of the working folder's path, 0 if unknown.
    pub cwd_len: u32,
    /// Length of the agent's session id, 0 if the environment had none or was not read.
    pub session_len: u32,
    /// Length of the agent's call id.
    pub call_len: u32,
    /// Length of the command line that follows: words, each ended by a NUL.
    pub argv_len: u32,
    /// Length of the whole command line.
    pub argv_total: u32,
    /// Phase that the command has begun, 0 for none.
    pub phase: u32,
}

impl Exec {
    /// Nothing known.
    pub const NOTHING: Self = Self {
        member: 0,
        path_len: 0,
        cwd_len: 0,
        session_len: 0,
        call_len: 0,
        argv_len: 0,
        argv_total: 0,
        phase: 0,
    };
}

/// Longest command line that is recorded, in bytes.
pub const MAX_ARGV: usize = 32768;
/// Longest label that is recorded, in bytes.
pub const MAX_LABEL: usize = 128;

/// Body of [`Kind::Connect`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Address: IPv6, or IPv4 mapped into it; zero for a unix socket.
    pub address: [u8; 16],
    /// Port in host order.
    pub port: u16,
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
    pub family: u16,
    /// `SOCK_*`.
    pub socket_type: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// What the call returned, where it is known (unix sockets); else 0.
    pub result: i32,
    /// Length of the unix path that follows; an abstract name begins with `@`.
    pub path_len: u32,
}

impl Connect {
    /// Nothing known.
    pub const NOTHING: Self =
        Self { address: [0; 16], port: 0, family: 0, socket_type: 0, protocol: 0, result: 0, path_len: 0 };
}

/// Body of [`Kind::Attempt`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// [`crate::words::How`].
    pub how: u32,
    /// The process it is attempted on, 0 where it is attempted on something else.
    pub target: u32,
    /// The signal that is sent; 0 for none.
    pub signal: u32,
    /// Length of the path that follows.
    pub path_len: u32,
    /// Length of the path that follows that one: the new name, of what has two.
    pub new_path_len: u32,
    /// Padding.
    pub _pad: u32,
}

/// Body of [`Kind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Wait status as `waitpid` reports it: exit code in bits 8 to 15, signal in bits 0 to 6.
    pub status: u32,
    /// Padding.
    pub _pad: u32,
}

/// Longest record, in bytes.
pub const MAX_RECORD: usize =
    size_of::<Head>() + size_of::<Exec>() + 2 * crate::walk::MAX_TEXT + 2 * MAX_LABEL + MAX_ARGV;

const _: () = assert!(size_of::<Head>() == 64 && size_of::<Exec>() == 32);
