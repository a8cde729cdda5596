//! Carrying a verdict out.
//!
//! `bpf_send_signal` queues SIGKILL for the current thread group while it is still in the kernel. Every way
//! back to user space handles pending signals first (`kernel/entry/common.c:exit_to_user_mode_loop`, before
//! that the same loop in `arch/x86/entry/common.c`), and the `sys_exit` tracepoint comes before that loop, so
//! the calling thread executes no further instruction. Other threads of the process die when they are next
//! interrupted or enter the kernel: see docs/architecture.md for what they can do until then.

use aya_ebpf::helpers::generated::bpf_send_signal;
use guard_common::tree::{COUNT_ENDED_CALLS_FULL, COUNT_SIGNAL_FAILED, Id, Member};
use guard_common::words::{Action, Backend, Mode};

use crate::maps::{ENDED_CALLS, MODES, count};
use crate::verdict::{self, Verdict};

/// SIGKILL.
const SIGKILL: u32 = 9;

/// Kills the current process before it returns to user space; whether the kernel took the signal.
#[inline(always)]
pub fn kill_current() -> bool {
    // SAFETY: no pointers.
    let sent = unsafe { bpf_send_signal(SIGKILL) } == 0;
    if !sent {
        count(COUNT_SIGNAL_FAILED);
    }
    sent
}

/// Whether what the policy in place `table` says of the tree is only to be told, not carried out: `rule` decided, or
/// [`NO_RULE`](guard_common::event::NO_RULE) where none did. A tree's own mode goes before the policy's, but does not switch off the rules that guard protects itself by.
///
/// Asked where something is denied, so that whatever is allowed pays nothing for it.
#[inline(always)]
pub fn audits(table: u32, tree: Id, rule: u16) -> bool {
    let Some(meta) = verdict::meta(table) else { return false };
    // SAFETY: a number is written whole.
    match unsafe { MODES.get(tree) } {
        None => meta.mode == Mode::Audit as u32,
        Some(mode) if *mode == Mode::Audit as u32 => {
            meta.mode == Mode::Audit as u32 || u32::from(rule) >= meta.own_rules
        }
        Some(_) => false,
    }
}

/// Marks a call as ended, if the verdict asks for it and there is a call: its other processes die at their next
/// operation or fork, and user space kills those that do neither.
#[inline(always)]
pub fn end_call(verdict: Verdict, call: Id) {
    if verdict.action == Action::Kill as u8 && call != 0 {
        // A full map is no reason to spare the process that was caught; user space ends the rest.
        if ENDED_CALLS.insert(call, 1, 0).is_err() {
            count(COUNT_ENDED_CALLS_FULL);
        }
    }
}

/// Carries `verdict` out on the current process by signal; the backend that was used.
#[inline(always)]
pub fn by_signal(table: u32, verdict: Verdict, member: &Member) -> Backend {
    if !verdict.denies() || audits(table, member.tree, verdict.rule) {
        return Backend::None;
    }
    end_call(verdict, member.call);
    if kill_current() { Backend::Signal } else { Backend::None }
}

/// Carries `verdict` out by refusing what a security hook asks about; the backend that was used.
#[inline(always)]
pub fn by_lsm(table: u32, verdict: Verdict, member: &Member) -> Backend {
    if !verdict.denies() || audits(table, member.tree, verdict.rule) {
        return Backend::None;
    }
    if verdict.action == Action::Kill as u8 {
        end_call(verdict, member.call);
        kill_current();
    }
    Backend::Lsm
}

/// Carries `verdict` out by `backend`; the backend that was used.
#[inline(always)]
pub fn by(backend: Backend, table: u32, verdict: Verdict, member: &Member) -> Backend {
    if backend as u8 == Backend::Lsm as u8 {
        by_lsm(table, verdict, member)
    } else {
        by_signal(table, verdict, member)
    }
}

/// Whether the member's call was ended before.
#[inline(always)]
pub fn call_ended(member: &Member) -> bool {
    member.call != 0 && ENDED_CALLS.get_ptr(member.call).is_some()
}
