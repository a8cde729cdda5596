//! The security hooks: what is forbidden fails with EPERM before it happens.
//!
//! The kernel asks here (`security/security.c`) before it opens a file, loads a program or connects a unix socket, with
//! the object itself in hand. Programs on these hooks may be preempted, so a slot of working memory is held
//! while one runs ([`hold`]).

use core::arch::asm;

use aya_ebpf::programs::LsmContext;
use guard_common::event::{Exec, FLAG_PATH_UNKNOWN, Kind, NO_RULE};
use guard_common::tree::{COUNT_SCRATCH_MISSING, Member};
use guard_common::walk::{FACT_ARGV_ANY, FACT_NETWORK_STDIN, FACT_OBJECT_UNKNOWN, INTO_OBJECT};
use guard_common::words::{Backend, Op};

use crate::file::{self, Grant};
use crate::kernel::{self, read_or_zero};
use crate::maps::{count, hold, offset, release, work};
use crate::path::{self, Resolved};
use crate::script::FMODE_EXEC;
use crate::verdict::{self, Verdict};
use crate::{act, emit, names, net, tree};

/// Answer of a hook: go on.
const PROCEED: i32 = 0;
/// `-EPERM`.
const REFUSE: i32 = -1;

/// The answer of a hook. Written out, because later verifiers ask for one of these two, and the compiler would compute it from
/// `refused`.
#[inline(always)]
pub fn answer(refused: bool) -> i32 {
    let mut answer = PROCEED as i64;
    // SAFETY: only registers are touched.
    unsafe {
        asm!("if {refused} == 0 goto +1", "{answer} = -1", refused = in(reg) u64::from(refused), answer = inout(reg) answer);
    }
    answer as i32
}

/// Calls `judge` with the current process, if it is guarded, and a slot of working memory. Without memory, or in a call
/// that was ended, the answer is no.
#[inline(always)]
pub fn asked(judge: impl FnOnce(u32, &Member) -> bool) -> i32 {
    let Some(member) = tree::member(kernel::tgid()) else { return PROCEED };
    if act::call_ended(&member) {
        act::kill_current();
        return REFUSE;
    }
    let Some(slot) = hold() else {
        // So many programs preempted on one CPU at once is not to be expected; what can't be judged is not let through.
        count(COUNT_SCRATCH_MISSING);
        return if act::audits(verdict::active(), member.tree, NO_RULE) { PROCEED } else { REFUSE };
    };
    let refused = judge(slot, &member);
    release(slot);
    answer(refused)
}

/// `file_open(file)`, called by `do_dentry_open` for whatever call opens, before the file is truncated.
#[inline(always)]
pub fn opening(ctx: &LsmContext) -> i32 {
    let file = ctx.arg::<*const u8>(0) as u64;
    asked(|slot, member| {
        let flags: u32 = read_or_zero(file, offset!(file_flags));
        flags & FMODE_EXEC == 0 && file::judge(slot, member, file, Grant::Asked(flags)) == Backend::Lsm
    })
}

/// `file_receive(file)`, called before a descriptor that somebody else has opened is put into the process's table: over a
/// unix socket, or by `pidfd_getfd`.
#[inline(always)]
pub fn receiving(ctx: &LsmContext) -> i32 {
    let file = ctx.arg::<*const u8>(0) as u64;
    asked(|slot, member| file::judge(slot, member, file, Grant::Asked(0)) == Backend::Lsm)
}

/// `bprm_check_security(bprm)`, called before a program replaces the process: for a script first with the script, then
/// with its interpreter. Both are programs to the rules.
///
/// The words are not to be had yet. So only what does not depend on them is decided here; the rest is when they are
/// there, before the first instruction ([`crate::exec`]).
#[inline(always)]
pub fn executing(ctx: &LsmContext) -> i32 {
    let bprm = ctx.arg::<*const u8>(0) as u64;
    asked(|slot, member| refuse_exec(slot, member, read_or_zero(bprm, offset!(binprm_file))))
}

/// Judges a program by its path; whether it is refused.
#[inline(always)]
fn refuse_exec(slot: u32, member: &Member, file: u64) -> bool {
    if !verdict::begin(slot, member) {
        return true;
    }
    let dentry: u64 = read_or_zero(file, offset!(file_dentry));
    let mnt: u64 = read_or_zero(file, offset!(file_mnt));
    let mut exe = path::resolve(slot, dentry, mnt);
    if exe.pathless() {
        exe = Resolved::NOTHING;
    }
    verdict::clear(slot);
    if !exe.unknown() {
        verdict::add_path(slot, exe.start(), INTO_OBJECT);
    }
    let mut verdict = of_any_words(slot, member, exe.unknown());
    if !exe.unknown() && names::may_be_more(mnt, exe) {
        // In its first moments the mounts that a session began with are not known: there the path is one of the names.
        let settled = names::settled(member.tree);
        if settled {
            verdict::clear(slot);
        }
        let other = names::add(slot, dentry, mnt, exe.partial());
        if !other.pathless() && (!settled || !verdict.denies()) {
            verdict = of_any_words(slot, member, other.unknown());
        }
        exe = path::resolve(slot, dentry, mnt);
    }
    if !verdict.denies() {
        return false;
    }
    let Some(work) = work(slot) else { return true };
    // SAFETY: the slot is held.
    let table = unsafe { (*work).table };
    let backend = act::by_lsm(table, verdict, member);
    if backend != Backend::Lsm {
        return false;
    }
    emit::begin::<Exec>(slot, Kind::Exec, Op::Exec, member);
    if let Some(head) = emit::head_of(slot) {
        emit::decided(head, table, verdict, backend);
        if exe.unknown() {
            head.flags |= FLAG_PATH_UNKNOWN;
        }
    }
    let path_len = emit::append_path(slot, exe.start());
    emit::set_body(slot, Exec { path_len, ..Exec::NOTHING });
    emit::send(slot);
    true
}

/// The verdict on a program whatever its words, by what was collected about its path, which may be `unknown`; nothing to
/// object to where the words could make a difference.
#[inline(always)]
fn of_any_words(slot: u32, member: &Member, unknown: bool) -> Verdict {
    let facts = if unknown { FACT_OBJECT_UNKNOWN } else { 0 };
    let verdict = verdict::of(slot, Op::Exec, member.scope, facts);
    let other = verdict::of(slot, Op::Exec, member.scope, facts | FACT_ARGV_ANY | FACT_NETWORK_STDIN);
    if verdict.rule == other.rule { verdict } else { Verdict::FINE }
}

/// `unix_stream_connect(sock, other, newsk)`, called when the listener was found and before it is told.
#[inline(always)]
pub fn connecting_unix(ctx: &LsmContext) -> i32 {
    let other = ctx.arg::<*const u8>(1) as u64;
    asked(|slot, member| net::judge_unix(slot, member, other, Op::Connect, Backend::Lsm) == Backend::Lsm)
}

/// `unix_may_send(sock, other)`, called for each datagram, and when a datagram socket is connected.
#[inline(always)]
pub fn sending_unix(ctx: &LsmContext) -> i32 {
    let other = ctx.arg::<*const u8>(1) as u64;
    let other: u64 = read_or_zero(other, offset!(socket_sk));
    asked(|slot, member| net::judge_unix(slot, member, other, Op::Send, Backend::Lsm) == Backend::Lsm)
}
