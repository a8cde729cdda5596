//! Who is guarded: membership from fork to exit.
//!
//! `sched_process_fork` fires in `kernel/fork.c:kernel_clone` after the child is made and before it is woken, in the
//! forking task: the child is entered before it can do anything, however it was made (fork, vfork, clone,
//! clone3, `CLONE_PARENT`). `sched_process_exit` fires in `kernel/exit.c:do_exit` for every thread, after
//! `signal->live` was decremented: the group is gone when that is 0. Threads never appear as keys.

use aya_ebpf::programs::BtfTracePointContext;
use guard_common::event::{self, Exit, FLAG_AGENT_ENDED, Kind};
use guard_common::tree::{
    COUNT_TREE_FULL, DOOMED_PER_BLOCK, KnownClasses, MEMBER_AGENT, MEMBER_GROUP, MEMBER_LABELLED, MEMBER_RUN,
    MEMBER_SEEDED, Member, NO_AGENT, id_of,
};
use guard_common::words::{Action, Backend, Op};

use crate::kernel::{self, read, read_or_zero};
use crate::maps::{DOOMED, MEMBERS, count, offset};
use crate::{act, emit, verdict};

/// No member.
pub const NOBODY: Member = Member {
    tree: 0,
    call: 0,
    start: 0,
    agent: NO_AGENT,
    scope: 0,
    flags: 0,
    _pad: 0,
    image: 0,
    exe: 0,
    classes: [KnownClasses { classes: 0, generation: 0, _pad: 0 }; 2],
};

/// The member entry of process `tgid`, copied.
#[inline(always)]
pub fn member(tgid: u32) -> Option<Member> {
    // SAFETY: entries are only removed once the process is gone, and this process is running.
    unsafe { MEMBERS.get(tgid) }.copied()
}

/// Flags that a child has from its parent.
const INHERITED: u16 = MEMBER_GROUP | MEMBER_LABELLED | MEMBER_SEEDED;

/// `sched_process_fork(parent, child)`: enters the child of a member.
#[inline(always)]
pub fn forked(ctx: &BtfTracePointContext) -> i32 {
    let parent_tgid = kernel::tgid();
    let Some(parent) = member(parent_tgid) else { return 0 };
    let child = ctx.arg::<*const u8>(1) as u64;
    let (Some(tgid), Some(pid), Some(start)) = (
        read::<u32>(child, offset!(task_tgid)),
        read::<u32>(child, offset!(task_pid)),
        read::<u64>(child, offset!(task_start)),
    ) else {
        // Task memory that the forking task holds cannot fault; without it, the parent must answer for the child.
        act::kill_current();
        return 0;
    };
    if tgid != pid {
        return 0;
    }
    let mut entry = Member { start, flags: parent.flags & INHERITED, ..parent };
    if parent.flags & MEMBER_AGENT != 0 {
        // What the agent itself forks begins a call; the label, if there will be one, names it anew.
        entry.call = id_of(tgid, start);
        entry.flags &= !MEMBER_LABELLED;
    }
    let ended = act::call_ended(&entry);
    let full = !ended && MEMBERS.insert(tgid, entry, 0).is_err();
    // In audit mode it runs on, unseen: nothing is carried out there, not even this.
    let doomed = ended || full && !act::audits(verdict::active(), entry.tree, event::NO_RULE);
    if doomed {
        doom(tgid);
    }
    if full {
        count(COUNT_TREE_FULL);
    }
    let mut head = emit::head(if ended || full { Kind::Doomed } else { Kind::Fork }, Op::Exec, &entry);
    head.ppid = head.tgid;
    head.tgid = tgid;
    head.tid = pid;
    if ended || full {
        head.action = if ended { Action::Kill as u8 } else { Action::Deny as u8 };
    }
    if doomed {
        head.backend = Backend::Signal as u8;
        head.flags = event::FLAG_ENFORCED | if ended { event::FLAG_CALL_ENDED } else { 0 };
    }
    emit::send_head(&head);
    0
}

/// Marks a child that must not run: it is killed when it returns from the call that made it, before its first
/// instruction in user space ([`reap_doomed`]).
#[inline(always)]
fn doom(tgid: u32) {
    if let Some(block) = DOOMED.get_ptr_mut(tgid / DOOMED_PER_BLOCK as u32) {
        // SAFETY: a map value, the index masked. A byte each, so that neighbours never overwrite one another.
        unsafe { (*block).mark[tgid as usize & (DOOMED_PER_BLOCK - 1)] = 1 };
    }
}

/// Kills the current process if it is a child that must not run.
///
/// A child returns to user space through `ret_from_fork` and `syscall_exit_to_user_mode`
/// (`arch/x86/kernel/process.c`, `kernel/entry/common.c`), so `sys_exit` fires in it with the number of the call
/// that made it and the result 0.
#[inline(always)]
pub fn reap_doomed(tgid: u32) {
    if let Some(block) = DOOMED.get_ptr_mut(tgid / DOOMED_PER_BLOCK as u32) {
        // SAFETY: as in `doom`.
        let mark = unsafe { &mut (*block).mark[tgid as usize & (DOOMED_PER_BLOCK - 1)] };
        if *mark != 0 {
            *mark = 0;
            act::kill_current();
        }
    }
}

/// `sched_process_exit(task)`: drops a member when its last thread exits.
#[inline(always)]
pub fn exited(_ctx: &BtfTracePointContext) -> i32 {
    let tgid = kernel::tgid();
    let Some(entry) = member(tgid) else { return 0 };
    let task = kernel::current();
    let Some(signal) = read::<u64>(task, offset!(task_signal)) else { return 0 };
    let Some(live) = read::<i32>(signal, offset!(signal_live)) else { return 0 };
    if live > 0 {
        return 0;
    }
    // Two threads that exit at once can both see 0; the one that removes the entry tells.
    if MEMBERS.remove(tgid).is_err() {
        return 0;
    }
    let group: u32 = read_or_zero(signal, offset!(signal_group_exit_code));
    let own: u32 = read_or_zero(task, offset!(task_exit_code));
    let status = if group != 0 { group } else { own };
    let mut head = emit::head(Kind::Exit, Op::Exec, &entry);
    if entry.flags & (MEMBER_AGENT | MEMBER_RUN) != 0 {
        head.flags = FLAG_AGENT_ENDED;
    }
    emit::send_with(&head, Exit { status, _pad: 0 });
    0
}
