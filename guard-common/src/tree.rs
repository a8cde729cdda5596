//! Who is guarded: keys and values of the maps that hold the trees.

use crate::table::Classes;

/// Identity of a tree or of a call: unique while the machine runs.
///
/// Made from the first process: its start in nanoseconds since boot, the lower 22 bits replaced by its
/// process id (`PID_MAX_LIMIT` is 2^22). 0 means none.
pub type Id = u64;

/// Bits that a process id fills in an [`Id`].
pub const ID_PID_BITS: u32 = 22;

/// The [`Id`] of what begins with process `tgid`, at `nanoseconds` since boot.
#[inline(always)]
#[must_use]
pub const fn id_of(tgid: u32, nanoseconds: u64) -> Id {
    (nanoseconds >> ID_PID_BITS) << ID_PID_BITS | (tgid as u64 & ((1 << ID_PID_BITS) - 1))
}

/// One guarded process; key: its tgid in the initial pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The tree it belongs to.
    pub tree: Id,
    /// The call it belongs to, 0 for the agent itself.
    pub call: Id,
    /// When its group leader was started, in nanoseconds since boot (`task_struct.start_boottime`).
    pub start: u64,
    /// Number of the agent in the policy, or [`NO_AGENT`].
    pub agent: u8,
    /// [`crate::words::Scope`].
    pub scope: u8,
    /// `MEMBER_*` bits.
    pub flags: u16,
    /// Padding.
    pub _pad: u32,
    /// What it executed last: [`id_of`] the process and moment of the exec, which forks inherit.
    pub image: Id,
    /// Directory entry of that executable, as the kernel's address; 0 where it is not known.
    pub exe: u64,
    /// Classes of that executable by the policy in each of the two places.
    pub classes: [KnownClasses; 2],
}

/// Classes of an executable, and the policy by which they were found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownClasses {
    /// The classes.
    pub classes: Classes,
    /// [`crate::table::Meta::generation`], 0 for none.
    pub generation: u32,
    /// Padding.
    pub _pad: u32,
}

/// The process runs an agent's executable (or is what `guard run` was given): what it forks begins a call.
pub const MEMBER_AGENT: u16 = 1;
/// The call carries the agent's own label.
pub const MEMBER_LABELLED: u16 = 2;
/// It was enrolled by `guard run`, not by its executable.
pub const MEMBER_RUN: u16 = 4;
/// It was found running when guard started.
pub const MEMBER_SEEDED: u16 = 8;
/// It has spoken to the network since its last exec.
pub const MEMBER_NETWORK: u16 = 16;
/// It is guarded because of its control group, and so is what it forks.
pub const MEMBER_GROUP: u16 = 32;

/// [`Member::agent`] of a tree that no agent pattern named.
pub const NO_AGENT: u8 = u8::MAX;

/// Longest repository or home path that can anchor patterns, in bytes.
pub const MAX_ANCHOR: usize = 1024;

/// Where a tree's `{repo}` and `{home}` are; key: [`Id`] of the tree.
///
/// A length of 0 means that the place is not known; patterns anchored there then match nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Places {
    /// Bytes of [`Self::repo`] in use, without a `/` at the end.
    pub repo_len: u32,
    /// Bytes of [`Self::home`] in use.
    pub home_len: u32,
    /// Not 0: user space has seen the session, and the mounts that it began with are known.
    pub settled: u32,
    /// Padding.
    pub _pad: u32,
    /// Top level of the repository, or the working folder where there is none.
    pub repo: [u8; MAX_ANCHOR],
    /// The user's home.
    pub home: [u8; MAX_ANCHOR],
}

/// A user's home by uid, known from the user database when guard starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Home {
    /// Bytes in use.
    pub len: u32,
    /// The path.
    pub path: [u8; MAX_ANCHOR],
}

/// Processes with a mark "to be killed at the first return to user space", a byte each.
pub const DOOMED_PER_BLOCK: usize = 4096;

/// One block of marks, by process id.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Doomed {
    /// 1: the process is to die.
    pub mark: [u8; DOOMED_PER_BLOCK],
}

/// A pipe, as a tree knows it: trees that share one know different things of it, and the kernel gives a pipe's number to
/// another one day.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PipeKey {
    /// The tree.
    pub tree: Id,
    /// Inode number of the pipe.
    pub inode: u64,
}

/// What is known of a pipe; key: [`PipeKey`].
///
/// Both ends of a pipe are told of at once, from different CPUs. So each word is written by itself and none is ever
/// cleared: who writes one and then reads the others misses nothing that somebody does who works the other way round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pipe {
    /// Not 0: a process that can write to it has spoken to the network, or it continues a pipe of which that is true.
    pub network: u64,
    /// Verdict on a program that takes its orders from it, if they come from the network: generation of the policy in the
    /// upper 32 bits, then 16 bits of the action and 16 of the rule. 0 for none.
    pub reader: u64,
    /// Inode number of the pipe that what reads from this one writes to, 0 if there is none.
    pub next: u64,
}

/// A TCP connection that a member has begun; key: its socket's cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The tree.
    pub tree: Id,
    /// Bytes of it that were counted as sent.
    pub counted: u64,
}

/// Names of the counters, in the order of their indices in the counter map.
pub const COUNTERS: &[&str] = &[
    "verdict-ring-full",
    "bulk-ring-full",
    "tree-full",
    "path-unresolved",
    "argv-cut",
    "policy-missing",
    "signal-failed",
    "places-full",
    "scratch-missing",
    "pipes-full",
    "ended-calls-full",
    "phases-full",
    "groups-full",
    "sockets-full",
];

/// Counters of what the event itself tells already, by a member or by one that is absent: no loss.
pub const TOLD_IN_EVENTS: &[&str] = &["path-unresolved", "argv-cut"];

/// A record of a verdict or of a process's life did not fit into its ring buffer.
pub const COUNT_VERDICT_RING_FULL: u32 = 0;
/// A record of an allowed operation did not fit into its ring buffer.
pub const COUNT_BULK_RING_FULL: u32 = 1;
/// A process could not be entered because the map was full; it was killed.
pub const COUNT_TREE_FULL: u32 = 2;
/// A path was too long, too deep or unreadable.
pub const COUNT_PATH_UNRESOLVED: u32 = 3;
/// A command line was longer than what is recorded.
pub const COUNT_ARGV_CUT: u32 = 4;
/// No policy was in place; the operation was treated as denied.
pub const COUNT_POLICY_MISSING: u32 = 5;
/// The kernel refused to send the signal that a verdict called for.
pub const COUNT_SIGNAL_FAILED: u32 = 6;
/// A tree's places could not be stored.
pub const COUNT_PLACES_FULL: u32 = 7;
/// Working memory was missing; the operation was treated as denied.
pub const COUNT_SCRATCH_MISSING: u32 = 8;
/// What a pipe carries could not be remembered.
pub const COUNT_PIPES_FULL: u32 = 9;
/// A call could not be marked as ended; user space ends its processes alone.
pub const COUNT_ENDED_CALLS_FULL: u32 = 10;
/// A session's new phase could not be stored.
pub const COUNT_PHASES_FULL: u32 = 11;
/// A control group whose processes are to be guarded could not be remembered, or it is not known whether they are.
pub const COUNT_GROUPS_FULL: u32 = 12;
/// What a connection sends could not be counted.
pub const COUNT_SOCKETS_FULL: u32 = 13;

#[cfg(feature = "user")]
mod pod {
    //! SAFETY for all of these: `repr(C)`, integers only, padding written out, valid for every bit pattern.
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Member {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::KnownClasses {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Places {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Home {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Doomed {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::PipeKey {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Pipe {}
    // SAFETY: see above.
    unsafe impl aya::Pod for super::Connection {}
}
