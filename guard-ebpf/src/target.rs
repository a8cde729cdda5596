//! What is done to other processes, to mounts and to one's own rights.
//!
//! Where the object is a process, rules see the path of its executable; where it is nothing that has a path, that of the
//! process that asks.

use aya_ebpf::EbpfContext;
use aya_ebpf::programs::{BtfTracePointContext, FExitContext, LsmContext};
use guard_common::below::bit;
use guard_common::calls::Call;
use guard_common::tree::Member;
use guard_common::words::{How, Op, Scope};

use crate::attempt::{self, EXECUTABLE, NEW, OLD};
use crate::kernel::{self, argument, masked, read, read_or_zero};
use crate::lsm::{answer, asked};
use crate::maps::{OWN_MAPS, SLOT_SYSCALL, judged_late, offset, own_process, slot};
use crate::{act, tree};

/// `PTRACE_MODE_ATTACH` (`include/linux/ptrace.h`): to trace it, to read and write its memory, to take its descriptors. What
/// `/proc` shows of a process is asked for without.
const PTRACE_MODE_ATTACH: u32 = 2;
/// `SEND_SIG_NOINFO` and `SEND_SIG_PRIV`: there is nothing to read (`include/linux/sched/signal.h`).
const LAST_SPECIAL: u64 = 1;
/// Offset of `si_code` in `siginfo_t`, of which the kernel's own begins with the same (`include/uapi/asm-generic/siginfo.h`).
const SI_CODE_AT: u64 = 8;
/// `SI_USER`: sent by kill(2).
const SI_USER: i32 = 0;
/// `SI_TIMER`, `SI_MESGQ`, `SI_ASYNCIO` and `SI_SIGIO`, in this order downwards.
const SI_TIMER: i32 = -2;
const SI_SIGIO: i32 = -5;
/// `MS_REMOUNT`, `MS_BIND` and `MS_MOVE` (`include/uapi/linux/mount.h`).
const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
/// `READING_MODULE` and `READING_KEXEC_IMAGE` (`include/linux/kernel_read_file.h`, from 5.10 on).
const MODULE: i32 = 2;
const KEXEC_IMAGE: i32 = 3;
/// Commands of bpf(2) (`include/uapi/linux/bpf.h:enum bpf_cmd`).
const BPF_LINK_UPDATE: u32 = 29;
const BPF_LINK_DETACH: u32 = 34;

/// `task_kill(task, info, signal, cred)`, called for each process that a signal is for, where a process sends it.
#[inline(always)]
pub fn signalling(ctx: &LsmContext) -> i32 {
    let signal = ctx.arg::<i32>(2);
    if signal == 0 {
        // Nothing is sent; it is asked whether the process is there.
        return 0;
    }
    asked(|slot, member| reaches(slot, member, argument(ctx, 0), How::Kill, signal as u32) && attempt::conclude(slot))
}

/// `file_send_sigiotask(task, owner, signal)`, called before an event of a descriptor is signalled to whom `F_SETOWN` has named
/// (`fs/fcntl.c:sigio_perm`), in whatever process or interrupt it came about. Who named it is not to be known any more. So
/// guard's own processes, which ask for no such signals, get none from anybody.
#[inline(always)]
pub fn signalling_by_event(ctx: &LsmContext) -> i32 {
    let own = own_process();
    let is_own = |task| read_or_zero::<u32>(task, offset!(task_tgid)) == own;
    let task = argument(ctx, 0);
    answer(own != 0 && (is_own(task) || is_own(read_or_zero(task, offset!(task_real_parent)))))
}

/// `task_setrlimit(task, resource, limit)`, called before a limit of any process is changed (`kernel/sys.c:do_prlimit`). One that
/// is exceeded ends the process, as `RLIMIT_CPU` does.
#[inline(always)]
pub fn limiting(ctx: &LsmContext) -> i32 {
    asked(|slot, member| reaches(slot, member, argument(ctx, 0), How::Limit, 0) && attempt::conclude(slot))
}

/// A process was moved to another control group: `task`, by the current one. No hook is asked before.
#[inline(always)]
pub fn regrouped(slot: u32, task: u64) {
    if let Some(member) = tree::member(kernel::tgid())
        && reaches(slot, &member, task, How::Regroup, 0)
    {
        attempt::conclude_late(slot);
    }
}

/// Judges what is done to `task` that can end it, unless that is of the member's own tree; whether it was judged.
#[inline(always)]
fn reaches(slot: u32, member: &Member, task: u64, how: How, signal: u32) -> bool {
    let tgid: u32 = read_or_zero(task, offset!(task_tgid));
    if is_of(member, tgid) {
        return false;
    }
    attempt::begin(slot, how, Op::Signal);
    attempt::on_process(slot, tgid, signal);
    judge_executable(slot, task, Op::Signal as u32);
    true
}

/// Whether process `tgid` is one of the member's own tree.
#[inline(always)]
pub fn is_of(member: &Member, tgid: u32) -> bool {
    tree::member(tgid).is_some_and(|target| target.tree == member.tree)
}

/// `signal_generate(sig, info, task, group, result)`, which fires for each process that a signal is for, where no hook is
/// asked (`kernel/signal.c:__send_signal_locked`). The target's signals are locked, interrupts off: what is sent to the sender
/// waits until they are on again (`kernel/trace/bpf_trace.c:bpf_send_signal_common`).
#[inline(always)]
pub fn signalled(ctx: &BtfTracePointContext) -> i32 {
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    let info = argument(ctx, 1);
    if info <= LAST_SPECIAL || is_kernels(read_or_zero(info, SI_CODE_AT)) || !judged_late(Call::Kill) {
        return 0;
    }
    let slot = slot(SLOT_SYSCALL);
    if reaches(slot, &member, argument(ctx, 2), How::Kill, argument(ctx, 0) as u32) {
        attempt::conclude_late(slot);
    }
    0
}

/// Whether the kernel sends a signal with this `si_code` by itself, perhaps while some other process runs
/// (`include/uapi/asm-generic/siginfo.h`). What sigqueue(3) sends with such a code is taken for the kernel's.
#[inline(always)]
fn is_kernels(code: i32) -> bool {
    code > SI_USER || (SI_SIGIO..=SI_TIMER).contains(&code)
}

/// Whether a member may attach to process `tgid` whatever the policy says: within its tree, but not what the model asked for to
/// the agent.
#[inline(always)]
pub fn may_attach(member: &Member, tgid: u32) -> bool {
    let harness = Scope::Harness as u8;
    let own = |target: Member| target.tree == member.tree && (member.scope == harness || target.scope != harness);
    tgid == kernel::tgid() || tree::member(tgid).is_some_and(own)
}

/// `ptrace_access_check(child, mode)`.
#[inline(always)]
pub fn attaching(ctx: &LsmContext) -> i32 {
    if ctx.arg::<u32>(1) & PTRACE_MODE_ATTACH == 0 {
        return 0;
    }
    asked(|slot, member| {
        let task = argument(ctx, 0);
        let tgid: u32 = read_or_zero(task, offset!(task_tgid));
        if may_attach(member, tgid) {
            return false;
        }
        attempt::begin(slot, How::Attach, Op::Ptrace);
        attempt::on_process(slot, tgid, 0);
        refuse_by_executable(slot, task, Op::Ptrace)
    })
}

/// `sb_mount(device, path, type, flags, data)`.
#[inline(always)]
pub fn mounting(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, how_mounted(argument(ctx, 3)), Op::Mount);
        attempt::on_path(slot, OLD, argument(ctx, 1));
        attempt::judge(slot, OLD, bit(Op::Mount), 0);
        attempt::conclude(slot)
    })
}

/// What mount(2) does with these flags (`fs/namespace.c:path_mount`).
#[inline(always)]
pub fn how_mounted(flags: u64) -> How {
    if flags & MS_REMOUNT != 0 {
        How::Mount
    } else if flags & MS_BIND != 0 {
        How::Bind
    } else if flags & MS_MOVE != 0 {
        How::MoveMount
    } else {
        How::Mount
    }
}

/// `move_mount(from, to)`: a mount of the new kind is put somewhere, or taken elsewhere.
#[inline(always)]
pub fn moving_mount(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, How::MoveMount, Op::Mount);
        attempt::on_path(slot, OLD, argument(ctx, 0));
        attempt::on_path(slot, NEW, argument(ctx, 1));
        attempt::judge(slot, OLD, bit(Op::Mount), 0);
        attempt::judge(slot, NEW, bit(Op::Mount), 0);
        attempt::conclude(slot)
    })
}

/// `sb_umount(mount, flags)`.
#[inline(always)]
pub fn unmounting(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        let mnt = argument(ctx, 0);
        attempt::simple(slot, How::Unmount, Op::Mount, read_or_zero(mnt, offset!(vfsmount_root)), mnt)
    })
}

/// `sb_pivotroot(old_path, new_path)`: the second becomes the root.
#[inline(always)]
pub fn pivoting(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        attempt::begin(slot, How::PivotRoot, Op::Mount);
        attempt::on_path(slot, OLD, argument(ctx, 1));
        attempt::judge(slot, OLD, bit(Op::Mount), 0);
        attempt::conclude(slot)
    })
}

/// `userns_create(cred)`, from 6.1 on.
#[inline(always)]
pub fn making_user_namespace(_: &LsmContext) -> i32 {
    asked(|slot, _| by_itself(slot, How::UserNamespace, Op::Mount))
}

/// `task_fix_setuid(new, old, flags)`, called once the new user ids are known and before they hold.
#[inline(always)]
pub fn changing_user(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        let user = |credentials: u64| read_or_zero::<u32>(credentials, offset!(cred_euid));
        if user(argument(ctx, 0)) != 0 || user(argument(ctx, 1)) == 0 {
            return false;
        }
        by_itself(slot, How::SetUid, Op::Privilege)
    })
}

/// `bprm_creds_from_file(bprm, file)`, called when the user is known that a program will have, and before there is no way back
/// (`fs/exec.c:begin_new_exec`). The capabilities are known as well where the module that computes them was asked before:
/// where guard is asked as a module.
#[inline(always)]
pub fn gaining_by_program(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        gains(ctx) != Gain::Nothing && attempt::simple_file(slot, How::SetIdProgram, Op::Privilege, argument(ctx, 1))
    })
}

/// The end of `security_bprm_creds_from_file(bprm, file)`, where its return is modified: capabilities that come from the
/// program's file are computed in it, by `security/commoncap.c:cap_bprm_creds_from_file`. It is too late to refuse then: the
/// process is killed before the program's first instruction.
#[inline(always)]
pub fn gained_by_program(ctx: &FExitContext) -> i32 {
    // Behind the arguments is what was returned.
    let allowed = argument(ctx, 2) as i32 == 0;
    let answer = asked(|slot, _| {
        if allowed && gains(ctx) == Gain::Capabilities {
            attempt::late_file(slot, How::SetIdProgram, Op::Privilege, argument(ctx, 1));
        }
        false
    });
    if answer != 0 {
        // It could not be judged.
        act::kill_current();
    }
    0
}

/// What a program would bring to who executes it.
#[derive(PartialEq)]
enum Gain {
    Nothing,
    User,
    Capabilities,
}

/// What the program of `bprm`, a hook's first argument, brings as far as that is computed already.
#[inline(always)]
fn gains(ctx: &impl EbpfContext) -> Gain {
    let new: u64 = read_or_zero(argument(ctx, 0), offset!(binprm_cred));
    let old: u64 = read_or_zero(kernel::current(), offset!(task_cred));
    let user = |credentials: u64| read_or_zero::<u32>(credentials, offset!(cred_euid));
    // An array of two words before 6.3.
    let capabilities = |credentials: u64| read_or_zero::<u64>(credentials, offset!(cred_permitted));
    if user(new) != user(old) {
        Gain::User
    } else if capabilities(new) & !capabilities(old) != 0 {
        Gain::Capabilities
    } else {
        Gain::Nothing
    }
}

/// `kernel_read_file(file, id, contents)`: the kernel reads a module or another kernel from a file.
#[inline(always)]
pub fn reading_for_kernel(ctx: &LsmContext) -> i32 {
    if !matches!(ctx.arg::<i32>(1), MODULE | KEXEC_IMAGE) {
        return 0;
    }
    asked(|slot, _| attempt::simple_file(slot, How::Module, Op::Privilege, argument(ctx, 0)))
}

/// `kernel_load_data(id, contents)`: the same from memory.
#[inline(always)]
pub fn loading_for_kernel(ctx: &LsmContext) -> i32 {
    if !matches!(ctx.arg::<i32>(0), MODULE | KEXEC_IMAGE) {
        return 0;
    }
    asked(|slot, _| by_itself(slot, How::Module, Op::Privilege))
}

/// `bpf(command, attributes, size)`.
#[inline(always)]
pub fn calling_bpf(_: &LsmContext) -> i32 {
    asked(|slot, _| by_itself(slot, How::Bpf, Op::Privilege))
}

/// The same hook, for what is guard's own: no session exchanges the program of a link or takes it away. Whose the link is
/// makes no difference: the call names it by a descriptor, behind which another thread can put another link after it was looked at.
#[inline(always)]
pub fn changing_link(ctx: &LsmContext) -> i32 {
    if !matches!(ctx.arg::<u32>(0), BPF_LINK_UPDATE | BPF_LINK_DETACH) {
        return 0;
    }
    asked(|slot, _| attempt::on_own(slot, How::Bpf, Op::Privilege))
}

/// `bpf_map(map, mode)`, called before a process gets a descriptor of a map (`kernel/bpf/syscall.c:bpf_map_new_fd`), whether
/// it was found by its number or by a pin. One that is only read from would do for a program that writes.
#[inline(always)]
pub fn opening_map(ctx: &LsmContext) -> i32 {
    asked(|slot, _| {
        // SAFETY: nothing is read from the entry.
        let is_own = |number: u32| unsafe { OWN_MAPS.get(number) }.is_some();
        // One that can't be told could be guard's.
        read(argument(ctx, 0), offset!(map_id)).is_none_or(is_own) && attempt::on_own(slot, How::Bpf, Op::Privilege)
    })
}

/// Refuses what has no path of its own by the executable of the current process.
#[inline(always)]
fn by_itself(slot: u32, how: How, op: Op) -> bool {
    attempt::begin(slot, how, op);
    refuse_by_executable(slot, kernel::current(), op)
}

/// Judges an attempt by the executable of a process, and says whether it is refused.
#[inline(always)]
fn refuse_by_executable(slot: u32, task: u64, op: Op) -> bool {
    judge_executable(slot, task, op as u32);
    attempt::conclude(slot)
}

/// Judges an attempt, of this number in [`Op`], by the executable of a process.
#[inline(always)]
pub fn judge_executable(slot: u32, task: u64, op: u32) {
    attempt::on_file(slot, OLD, executable(task));
    attempt::judge(slot, OLD, 1 << masked(op, u32::BITS - 1), EXECUTABLE);
}

/// The file that a process was made of; 0 of the kernel's own.
#[inline(always)]
pub fn executable(task: u64) -> u64 {
    let mm: u64 = read_or_zero(task, offset!(task_mm));
    if mm == 0 { 0 } else { read_or_zero(mm, offset!(mm_exe_file)) }
}
