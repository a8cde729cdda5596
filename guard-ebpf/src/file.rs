//! Opens: what a descriptor gives access to.
//!
//! Where the kernel asks before it opens ([`crate::lsm`]), the file is judged then; else as it is in the descriptor table when
//! the call returns. Either way it does not matter by which name or call it was opened. Only accesses that the descriptor grants count: `FMODE_READ` and
//! `FMODE_WRITE`; a descriptor opened with `O_PATH` grants neither, and what is opened through it is judged then. What a process
//! has open already when it is executed is judged then ([`crate::inherited`]).

use guard_common::event::{
    FLAG_INNER_PATH, FLAG_PATH_UNKNOWN, Kind, NO_DESCRIPTOR, OPENED_CREATED, OPENED_INHERITED, OPENED_READ,
    OPENED_TRUNCATED, OPENED_WRITE, Open,
};
use guard_common::tree::Member;
use guard_common::walk::{FACT_OBJECT_UNKNOWN, INTO_OBJECT};
use guard_common::words::{Action, Backend, Op};

use crate::kernel::{self, read, read_or_zero};
use crate::maps::{offset, work};
use crate::path::{self, Resolved};
use crate::verdict::{self, Verdict};
use crate::{act, emit, names};

/// `FMODE_READ` (`include/linux/fs.h`).
const FMODE_READ: u32 = 1;
/// `FMODE_WRITE`.
const FMODE_WRITE: u32 = 2;
/// `FMODE_CREATED`: this open created the file.
pub const FMODE_CREATED: u32 = 1 << 20;
/// The open truncates the file.
pub const O_TRUNC: u32 = 0o1000;

/// How a file comes into the process's hands.
#[derive(Clone, Copy)]
pub enum Grant {
    /// As this descriptor, by a call that has returned; with the flags that were asked for.
    Given(i32, u32),
    /// It is asked for, with these flags.
    Asked(u32),
    /// As this descriptor, by an exec.
    Inherited(i32),
}

impl Grant {
    /// The flags that were asked for.
    #[inline(always)]
    fn flags(self) -> u32 {
        match self {
            Self::Given(_, flags) | Self::Asked(flags) => flags,
            Self::Inherited(_) => 0,
        }
    }

    /// The descriptor, where there is one.
    #[inline(always)]
    fn result(self) -> i32 {
        match self {
            Self::Given(result, _) | Self::Inherited(result) => result,
            Self::Asked(_) => NO_DESCRIPTOR,
        }
    }

    /// What can be done about it.
    #[inline(always)]
    fn backend(self) -> Backend {
        match self {
            Self::Given(..) | Self::Inherited(_) => Backend::Signal,
            Self::Asked(_) => Backend::Lsm,
        }
    }

    /// Whether it comes with an exec.
    #[inline(always)]
    fn inherited(self) -> bool {
        matches!(self, Self::Inherited(_))
    }
}

/// Judges the file that descriptor `fd` of the current process is, and tells.
#[inline(always)]
pub fn opened(slot: u32, member: &Member, task: u64, fd: u32, asked: u32) {
    if let Some(file) = kernel::file_of(task, fd) {
        judge(slot, member, file, Grant::Given(fd as i32, asked));
    } else {
        // Another thread closed it in between, or the table could not be read: it is not known what was opened.
        judge_unknown(slot, member, Grant::Given(fd as i32, 0));
    }
}

/// Judges a file, and tells; the backend that was used.
#[inline(always)]
pub fn judge(slot: u32, member: &Member, file: u64, grant: Grant) -> Backend {
    let mode: u32 = read(file, offset!(file_mode)).unwrap_or(FMODE_READ | FMODE_WRITE);
    if mode & (FMODE_READ | FMODE_WRITE) == 0 {
        return Backend::None;
    }
    let file_flags: u32 = read_or_zero(file, offset!(file_flags));
    let dentry: u64 = read_or_zero(file, offset!(file_dentry));
    let mnt: u64 = read_or_zero(file, offset!(file_mnt));
    let judged = verdict::begin(slot, member);
    let outer = path::resolve(slot, dentry, mnt);
    if outer.pathless() {
        return Backend::None;
    }
    let mut verdict = of_path(slot, outer, mode, member.scope);
    let mut shown = outer;
    let mut flags = 0;
    if names::may_be_more(mnt, outer) {
        // In its first moments the mounts that a session began with are not known: there the path is one of the names.
        let settled = names::settled(member.tree);
        if settled {
            verdict::clear(slot);
        }
        let other = names::add(slot, dentry, mnt, outer.partial());
        let unknown = other.unknown() || !settled && outer.unknown();
        let by_names = of_collected(slot, unknown, mode, member.scope);
        let decides = !other.pathless() && (!settled || by_names.0.action > verdict.0.action);
        if decides {
            verdict = by_names;
        }
        if decides && settled {
            shown = other;
            flags = FLAG_INNER_PATH;
        } else {
            shown = path::resolve(slot, dentry, mnt);
        }
    }
    let (mut verdict, op) = verdict;
    if !judged {
        verdict = Verdict::UNJUDGED;
    }
    if shown.unknown() {
        flags |= FLAG_PATH_UNKNOWN;
    }
    let mut opened = 0;
    if mode & FMODE_READ != 0 {
        opened |= OPENED_READ;
    }
    if mode & FMODE_WRITE != 0 {
        opened |= OPENED_WRITE;
    }
    if mode & FMODE_CREATED != 0 && !grant.inherited() {
        opened |= OPENED_CREATED;
    }
    if grant.flags() & O_TRUNC != 0 {
        opened |= OPENED_TRUNCATED;
    }
    let open = Open { file_flags, opened, result: grant.result(), path_len: 0 };
    act_and_tell(slot, member, (verdict, op, grant), flags, open, shown)
}

/// Judges an open of which no more is known than this.
#[inline(always)]
pub fn judge_unknown(slot: u32, member: &Member, grant: Grant) {
    let judged = verdict::begin(slot, member);
    let (mut verdict, op) = of_path(slot, Resolved::NOTHING, FMODE_READ | FMODE_WRITE, member.scope);
    if !judged {
        verdict = Verdict::UNJUDGED;
    }
    let open = Open { file_flags: 0, opened: OPENED_READ | OPENED_WRITE, result: grant.result(), path_len: 0 };
    act_and_tell(slot, member, (verdict, op, grant), FLAG_PATH_UNKNOWN, open, Resolved::NOTHING);
}

/// The stricter of the verdicts on what `mode` grants, and the operation it is about.
#[inline(always)]
fn of_path(slot: u32, path: Resolved, mode: u32, scope: u8) -> (Verdict, Op) {
    verdict::clear(slot);
    if !path.unknown() {
        verdict::add_path(slot, path.start(), INTO_OBJECT);
    }
    of_collected(slot, path.unknown(), mode, scope)
}

/// The same by what was collected about the file, which may be `unknown`.
#[inline(always)]
fn of_collected(slot: u32, unknown: bool, mode: u32, scope: u8) -> (Verdict, Op) {
    let facts = if unknown { FACT_OBJECT_UNKNOWN } else { 0 };
    if mode & FMODE_WRITE == 0 {
        return (verdict::of(slot, Op::Read, scope, facts), Op::Read);
    }
    let write = verdict::of(slot, Op::Write, scope, facts);
    if mode & FMODE_READ != 0 {
        let read = verdict::of(slot, Op::Read, scope, facts);
        if read.action > write.action {
            return (read, Op::Read);
        }
    }
    (write, Op::Write)
}

/// Carries the verdict out, then writes the record; the backend that was used.
///
/// What is inherited and may be is not told: nobody did anything.
#[inline(always)]
fn act_and_tell(
    slot: u32,
    member: &Member,
    (verdict, op, grant): (Verdict, Op, Grant),
    flags: u8,
    mut open: Open,
    path: Resolved,
) -> Backend {
    let Some(work) = work(slot) else { return grant.backend() };
    // SAFETY: the slot has one user.
    let table = unsafe { (*work).table };
    let backend = act::by(grant.backend(), table, verdict, member);
    if grant.inherited() {
        if verdict.action == Action::Allow as u8 {
            return backend;
        }
        open.opened |= OPENED_INHERITED;
    }
    emit::begin::<Open>(slot, Kind::Open, op, member);
    if let Some(head) = emit::head_of(slot) {
        head.flags = flags;
        emit::decided(head, table, verdict, backend);
    }
    open.path_len = emit::append_path(slot, path.start());
    emit::set_body(slot, open);
    emit::send(slot);
    backend
}
