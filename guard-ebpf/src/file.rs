//! Opens: what a descriptor that a call has just returned gives access to.
//!
//! The file is judged as it is in the descriptor table when the call returns, so it does not matter by which
//! name or call it was opened. Only accesses that the descriptor grants count: `FMODE_READ` and
//! `FMODE_WRITE`; a descriptor opened with `O_PATH` grants neither, and what is opened through it is judged then.

use guard_common::event::{
    FLAG_INNER_PATH, FLAG_PATH_UNKNOWN, Kind, OPENED_CREATED, OPENED_READ, OPENED_TRUNCATED, OPENED_WRITE, Open,
};
use guard_common::tree::Member;
use guard_common::walk::{FACT_OBJECT_UNKNOWN, INTO_OBJECT};
use guard_common::words::Op;

use crate::kernel::{self, read, read_or_zero};
use crate::maps::{offset, work};
use crate::path::{self, Resolved};
use crate::verdict::{self, Verdict};
use crate::{act, emit};

/// `FMODE_READ` (`include/linux/fs.h`).
const FMODE_READ: u32 = 1;
/// `FMODE_WRITE`.
const FMODE_WRITE: u32 = 2;
/// `FMODE_CREATED`: this open created the file.
const FMODE_CREATED: u32 = 1 << 20;
/// The open truncates the file.
pub const O_TRUNC: u32 = 0o1000;

/// Judges the file that descriptor `fd` of the current process is, and tells.
#[inline(always)]
pub fn opened(slot: u32, member: &Member, task: u64, fd: u32, asked: u32) {
    if let Some(file) = kernel::file_of(task, fd) {
        judge(slot, member, file, fd as i32, asked);
    } else {
        // Another thread closed it in between, or the table could not be read: it is not known what was opened.
        judge_unknown(slot, member, fd as i32);
    }
}

/// Judges an open file; `asked` are the flags the open was called with.
#[inline(always)]
pub fn judge(slot: u32, member: &Member, file: u64, result: i32, asked: u32) {
    let mode: u32 = read(file, offset!(file_mode)).unwrap_or(FMODE_READ | FMODE_WRITE);
    if mode & (FMODE_READ | FMODE_WRITE) == 0 {
        return;
    }
    let file_flags: u32 = read_or_zero(file, offset!(file_flags));
    let dentry: u64 = read_or_zero(file, offset!(file_dentry));
    let mnt: u64 = read_or_zero(file, offset!(file_mnt));
    let judged = verdict::begin(slot, member);
    let outer = path::resolve(slot, dentry, mnt);
    if outer.pathless() {
        return;
    }
    let mut verdict = of_path(slot, outer, mode, member.scope);
    let mut shown = outer;
    let mut flags = 0;
    if outer.partial() {
        let inner = path::resolve_inner(slot, dentry, mnt);
        let stricter = of_path(slot, inner, mode, member.scope);
        if stricter.0.action > verdict.0.action {
            verdict = stricter;
            shown = inner;
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
    if mode & FMODE_CREATED != 0 {
        opened |= OPENED_CREATED;
    }
    if asked & O_TRUNC != 0 {
        opened |= OPENED_TRUNCATED;
    }
    act_and_tell(slot, member, verdict, op, flags, Open { file_flags, opened, result, path_len: 0 }, shown);
}

/// Judges an open of which only the descriptor is known.
#[inline(always)]
pub fn judge_unknown(slot: u32, member: &Member, result: i32) {
    let judged = verdict::begin(slot, member);
    let (mut verdict, op) = of_path(slot, Resolved::NOTHING, FMODE_READ | FMODE_WRITE, member.scope);
    if !judged {
        verdict = Verdict::UNJUDGED;
    }
    let open = Open { file_flags: 0, opened: OPENED_READ | OPENED_WRITE, result, path_len: 0 };
    act_and_tell(slot, member, verdict, op, FLAG_PATH_UNKNOWN, open, Resolved::NOTHING);
}

/// The stricter of the verdicts on what `mode` grants, and the operation it is about.
#[inline(always)]
fn of_path(slot: u32, path: Resolved, mode: u32, scope: u8) -> (Verdict, Op) {
    verdict::clear(slot);
    let mut facts = 0;
    if path.unknown() {
        facts |= FACT_OBJECT_UNKNOWN;
    } else {
        verdict::add_path(slot, path.start(), INTO_OBJECT);
    }
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

/// Carries the verdict out, then writes the record.
#[inline(always)]
fn act_and_tell(slot: u32, member: &Member, verdict: Verdict, op: Op, flags: u8, mut open: Open, path: Resolved) {
    let Some(work) = work(slot) else { return };
    // SAFETY: the slot has one user.
    let table = unsafe { (*work).table };
    let backend = act::by_signal(table, verdict, member.call);
    emit::begin::<Open>(slot, Kind::Open, op, member);
    if let Some(head) = emit::head_of(slot) {
        head.flags = flags;
        emit::decided(head, table, verdict, backend);
    }
    open.path_len = emit::append_path(slot, path.start());
    emit::set_body(slot, open);
    emit::send(slot);
}
