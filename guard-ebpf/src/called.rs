//! Calls that have succeeded, judged for want of a hook: on kernels where no security hook is asked, or not this one.
//!
//! [`crate::syscall`] goes on with this program when such a call of a member returns: a second one on `sys_exit` would be run by
//! every call of the machine. It is too late to refuse now: who is denied is killed before the next instruction. What a call did is
//! read from the kernel where that keeps it (a descriptor, the last thread traced, a socket's path), and else from
//! the names that the call was [given](crate::given).
//!
//! What is not known at this point: whether a rename has replaced something, whether it has moved a folder, whose inside would
//! have to be judged, and who a process was before it changed its user.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::BtfTracePointContext;
use guard_common::below::{MOVED, bit};
use guard_common::calls::Call;
use guard_common::tree::Member;
use guard_common::words::{How, Op};

use crate::attempt::{self, EXECUTABLE, NEW, OLD};
use crate::entry::{ARRIVES, RENAME_EXCHANGE};
use crate::file::FMODE_CREATED;
use crate::given::{self, WORKING_FOLDER};
use crate::kernel::{self, masked, read_or_zero};
use crate::maps::{CALLED, SLOT_SYSCALL, calls_judged, judged_late, offset, slot, work};
use crate::net::AF_UNIX;
use crate::syscall::TS_COMPAT;
use crate::{target, tree};

/// `AT_REMOVEDIR` (`include/uapi/linux/fcntl.h`).
const AT_REMOVEDIR: u64 = 0x200;
/// `CLONE_NEWUSER` (`include/uapi/linux/sched.h`).
const CLONE_NEWUSER: u64 = 0x1000_0000;
/// `PTRACE_ATTACH` and `PTRACE_SEIZE` (`include/uapi/linux/ptrace.h`).
const PTRACE_ATTACH: u64 = 16;
const PTRACE_SEIZE: u64 = 0x4206;
/// `S_ISUID`.
const S_ISUID: u16 = 0o4000;
/// Threads that one traces of which it is known.
const MAX_TRACED: u32 = 16;

/// Where among its arguments a call has what is to be known of it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// A name, the first argument.
    Name,
    /// A name, the second argument.
    SecondName,
    /// A folder's descriptor and a name, the first two arguments.
    NameAt,
    /// The same, the second and third.
    SecondNameAt,
    /// Two names, the first two arguments.
    Names,
    /// Two folders' descriptors, each with a name, the first four.
    NamesAt,
    /// A descriptor, the first argument.
    Descriptor,
    /// The descriptor that the call gave.
    Given,
    /// A socket that was bound, the first argument.
    Socket,
    /// Flags, the first argument.
    Flags,
    /// A structure that begins with flags.
    FlagsIn,
    /// A request of ptrace(2).
    Request,
    /// A process id, the first argument.
    Process,
    /// Nothing.
    Nothing,
}

/// A call to be judged.
type Known = Option<(Call, Form)>;

/// Calls of the 64-bit table (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[inline(always)]
const fn known_64(number: u64) -> Known {
    Some(match number {
        // open, creat, openat, openat2
        2 | 85 | 257 | 437 => (Call::Make, Form::Given),
        // mknod, mknodat, bind
        133 => (Call::Make, Form::Name),
        259 => (Call::Make, Form::NameAt),
        49 => (Call::Make, Form::Socket),
        // mkdir, mkdirat
        83 => (Call::Mkdir, Form::Name),
        258 => (Call::Mkdir, Form::NameAt),
        // unlink, unlinkat, rmdir
        87 => (Call::Unlink, Form::Name),
        263 => (Call::Unlink, Form::NameAt),
        84 => (Call::Rmdir, Form::Name),
        // rename, renameat, renameat2
        82 => (Call::Rename, Form::Names),
        264 | 316 => (Call::Rename, Form::NamesAt),
        // link, linkat
        86 => (Call::Link, Form::Names),
        265 => (Call::Link, Form::NamesAt),
        // symlink, symlinkat
        88 => (Call::Symlink, Form::SecondName),
        266 => (Call::Symlink, Form::SecondNameAt),
        // truncate
        76 => (Call::Truncate, Form::Name),
        // chmod, fchmod, fchmodat, fchmodat2
        90 => (Call::Chmod, Form::Name),
        91 => (Call::Chmod, Form::Descriptor),
        268 | 452 => (Call::Chmod, Form::NameAt),
        // chown, lchown, fchown, fchownat
        92 | 94 => (Call::Chown, Form::Name),
        93 => (Call::Chown, Form::Descriptor),
        260 => (Call::Chown, Form::NameAt),
        // ptrace; process_vm_readv, process_vm_writev
        101 => (Call::Attach, Form::Request),
        310 | 311 => (Call::Attach, Form::Process),
        // prlimit64
        302 => (Call::Limit, Form::Process),
        // mount, move_mount, umount2, pivot_root
        165 => (Call::Mount, Form::SecondName),
        429 => (Call::MoveMount, Form::NamesAt),
        166 => (Call::Unmount, Form::Name),
        155 => (Call::PivotRoot, Form::Nothing),
        // clone, unshare; clone3
        56 | 272 => (Call::UserNamespace, Form::Flags),
        435 => (Call::UserNamespace, Form::FlagsIn),
        // execve, execveat
        59 | 322 => (Call::SetIdProgram, Form::Nothing),
        // init_module, kexec_load; finit_module, kexec_file_load
        175 | 246 => (Call::Module, Form::Nothing),
        313 | 320 => (Call::Module, Form::Descriptor),
        // bpf
        321 => (Call::Bpf, Form::Nothing),
        _ => return None,
    })
}

/// Calls of the 32-bit table (`arch/x86/entry/syscalls/syscall_32.tbl`), in the same order.
#[inline(always)]
const fn known_32(number: u64) -> Known {
    Some(match number {
        5 | 8 | 295 | 437 => (Call::Make, Form::Given),
        14 => (Call::Make, Form::Name),
        297 => (Call::Make, Form::NameAt),
        361 => (Call::Make, Form::Socket),
        39 => (Call::Mkdir, Form::Name),
        296 => (Call::Mkdir, Form::NameAt),
        10 => (Call::Unlink, Form::Name),
        301 => (Call::Unlink, Form::NameAt),
        40 => (Call::Rmdir, Form::Name),
        38 => (Call::Rename, Form::Names),
        302 | 353 => (Call::Rename, Form::NamesAt),
        9 => (Call::Link, Form::Names),
        303 => (Call::Link, Form::NamesAt),
        83 => (Call::Symlink, Form::SecondName),
        304 => (Call::Symlink, Form::SecondNameAt),
        // truncate, truncate64
        92 | 193 => (Call::Truncate, Form::Name),
        15 => (Call::Chmod, Form::Name),
        94 => (Call::Chmod, Form::Descriptor),
        306 | 452 => (Call::Chmod, Form::NameAt),
        // chown and lchown with 16 bits, with 32
        182 | 16 | 212 | 198 => (Call::Chown, Form::Name),
        95 | 207 => (Call::Chown, Form::Descriptor),
        298 => (Call::Chown, Form::NameAt),
        26 => (Call::Attach, Form::Request),
        347 | 348 => (Call::Attach, Form::Process),
        340 => (Call::Limit, Form::Process),
        21 => (Call::Mount, Form::SecondName),
        429 => (Call::MoveMount, Form::NamesAt),
        // umount, umount2
        22 | 52 => (Call::Unmount, Form::Name),
        217 => (Call::PivotRoot, Form::Nothing),
        120 | 310 => (Call::UserNamespace, Form::Flags),
        435 => (Call::UserNamespace, Form::FlagsIn),
        11 | 358 => (Call::SetIdProgram, Form::Nothing),
        128 | 283 => (Call::Module, Form::Nothing),
        350 => (Call::Module, Form::Descriptor),
        357 => (Call::Bpf, Form::Nothing),
        _ => return None,
    })
}

/// Numbers that a call of one of the tables may have, in words of bits.
const WORDS: usize = 8;

/// A bit for each number that either table knows: what the calls of the whole machine are asked first.
static NUMBERS: [u64; WORDS] = {
    let mut words = [0; WORDS];
    let mut number = 0;
    while number < WORDS as u64 * 64 {
        if known_64(number).is_some() || known_32(number).is_some() {
            words[number as usize / 64] |= 1 << (number % 64);
        }
        number += 1;
    }
    words
};

/// A call that is judged.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Called {
    /// Its arguments.
    arguments: [u64; 5],
}

/// Whether a call of this number in one of the tables may have to be judged.
#[inline(always)]
pub fn may_be_judged(number: u64) -> bool {
    // SAFETY: the index is masked below the array's length.
    let word =
        unsafe { (&raw const NUMBERS).cast::<u64>().add((number / 64) as usize & (WORDS - 1)).read_volatile() };
    word >> (number % 64) & 1 != 0 && number < WORDS as u64 * 64 && calls_judged() != 0
}

/// Goes on with the program that judges, if there is one; who comes back has called none.
#[inline(always)]
pub fn go_on(ctx: &BtfTracePointContext) {
    // SAFETY: the map holds nothing but that program, which is of this tracepoint.
    unsafe { CALLED.tail_call(ctx, 0) };
}

/// `sys_exit(regs, ret)`, of a call that has succeeded.
#[inline(always)]
pub fn returned(ctx: &BtfTracePointContext) -> i32 {
    let regs: *const pt_regs = ctx.arg(0);
    let result: i64 = ctx.arg(1);
    // SAFETY: a BTF-typed argument of the tracepoint: the verifier checks the member and the load cannot fault.
    let number = unsafe { (*regs).orig_rax };
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    let status: u32 = read_or_zero(kernel::current(), offset!(task_status));
    let compat = status & TS_COMPAT != 0;
    let Some((call, form)) = (if compat { known_32(number) } else { known_64(number) }) else { return 0 };
    if !judged_late(call) {
        return 0;
    }
    let slot = slot(SLOT_SYSCALL);
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: BTF-typed as above; the slot has one user, as throughout this file.
    unsafe {
        let regs = &*regs;
        (*work).called.arguments = if compat {
            [regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi]
        } else {
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8]
        };
    }
    judge(slot, &member, call, form, result);
    given::forget(slot);
    0
}

/// Argument `number` of the call.
#[inline(always)]
fn argument(slot: u32, number: u32) -> u64 {
    // SAFETY: the slot has one user; the number is one of this file's, below the array's length.
    work(slot).map_or(0, |work| unsafe { (*work).called.arguments[number as usize] })
}

/// Judges a call, and carries the verdict out.
#[inline(always)]
fn judge(slot: u32, member: &Member, call: Call, form: Form, result: i64) {
    match (call, form) {
        (Call::Make, Form::Given) => judge_created(slot, result as u32),
        (Call::Make, Form::Socket) => judge_bound(slot),
        (Call::Make, _) => judge_node(slot, form as u32),
        (Call::Mkdir, _) => judge_name(slot, form as u32, How::Mkdir as u32, Op::Create as u32),
        (Call::Rmdir, _) => judge_name(slot, form as u32, How::Rmdir as u32, Op::Delete as u32),
        (Call::Unlink, _) => {
            let folder = matches!(form, Form::NameAt) && argument(slot, 2) & AT_REMOVEDIR != 0;
            let how = if folder { How::Rmdir } else { How::Unlink };
            judge_name(slot, form as u32, how as u32, Op::Delete as u32)
        }
        (Call::Truncate, _) => judge_name(slot, form as u32, How::Truncate as u32, Op::Write as u32),
        (Call::Chmod, Form::Descriptor) => judge_descriptor(slot, How::Chmod as u32, Op::Chmod as u32),
        (Call::Chmod, _) => judge_name(slot, form as u32, How::Chmod as u32, Op::Chmod as u32),
        (Call::Chown, Form::Descriptor) => judge_descriptor(slot, How::Chown as u32, Op::Chmod as u32),
        (Call::Chown, _) => judge_name(slot, form as u32, How::Chown as u32, Op::Chmod as u32),
        (Call::Mount, _) => {
            let how = target::how_mounted(argument(slot, 3));
            judge_name(slot, form as u32, how as u32, Op::Mount as u32)
        }
        (Call::Unmount, _) => judge_name(slot, form as u32, How::Unmount as u32, Op::Mount as u32),
        (Call::Symlink, _) => judge_symlink(slot, form as u32),
        (Call::Rename, _) => judge_rename(slot, form as u32),
        (Call::Link, _) => judge_link(slot, form as u32),
        (Call::MoveMount, _) => judge_move_mount(slot, form as u32),
        (Call::PivotRoot, _) => judge_root(slot),
        (Call::UserNamespace, _) => {
            let argument = argument(slot, 0);
            // What can't be read any more may have been it.
            // SAFETY: the helper checks the address.
            let read = || unsafe { bpf_probe_read_user(argument as *const u64) }.unwrap_or(CLONE_NEWUSER);
            let flags = if matches!(form, Form::FlagsIn) { read() } else { argument };
            if flags & CLONE_NEWUSER == 0 {
                return;
            }
            judge_itself(slot, How::UserNamespace as u32, Op::Mount as u32)
        }
        (Call::Attach, Form::Request) => {
            if !matches!(argument(slot, 0), PTRACE_ATTACH | PTRACE_SEIZE) {
                return;
            }
            judge_traced(slot, member)
        }
        (Call::Attach, _) => {
            let number = argument(slot, 0) as u32;
            if target::may_attach(member, number) || traces(kernel::current(), number) != 0 {
                return;
            }
            judge_reached(slot, How::Attach as u32, Op::Ptrace as u32)
        }
        (Call::Limit, _) => {
            let number = argument(slot, 0) as u32;
            // Its own, or only asked for.
            if number == 0 || argument(slot, 2) == 0 || target::is_of(member, number) {
                return;
            }
            judge_reached(slot, How::Limit as u32, Op::Signal as u32)
        }
        (Call::SetIdProgram, _) => judge_program(slot),
        (Call::Module, Form::Descriptor) => judge_descriptor(slot, How::Module as u32, Op::Privilege as u32),
        (Call::Module, _) => judge_itself(slot, How::Module as u32, Op::Privilege as u32),
        (Call::Bpf, _) => judge_itself(slot, How::Bpf as u32, Op::Privilege as u32),
        (Call::Kill, _) => 0,
    };
}

/// The attempt is on the call's name, or on the first of two.
#[inline(always)]
fn on_first(slot: u32, form: u32) {
    let (folder, name) = if form == Form::Name as u32 || form == Form::Names as u32 {
        (WORKING_FOLDER, 0)
    } else if form == Form::SecondName as u32 {
        (WORKING_FOLDER, 1)
    } else if form == Form::SecondNameAt as u32 {
        (argument(slot, 1) as u32, 2)
    } else {
        (argument(slot, 0) as u32, 1)
    };
    given::on_name(slot, OLD, folder, argument(slot, name));
}

/// It is on the second as well.
#[inline(always)]
fn on_second(slot: u32, form: u32) {
    let (folder, name) = if form == Form::Names as u32 { (WORKING_FOLDER, 1) } else { (argument(slot, 2) as u32, 3) };
    given::on_name(slot, NEW, folder, argument(slot, name));
}

/// Judges what was done to a name, by its numbers in [`How`] and [`Op`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_name(slot: u32, form: u32, how: u32, op: u32) -> u32 {
    attempt::begin_numbered(slot, how, op);
    on_first(slot, form);
    attempt::judge(slot, OLD, 1 << masked(op, u32::BITS - 1), 0);
    attempt::conclude_late(slot);
    0
}

/// Judges what was made by mknod(2).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_node(slot: u32, form: u32) -> u32 {
    attempt::begin(slot, How::Make, Op::Create);
    on_first(slot, form);
    attempt::judge(slot, OLD, bit(Op::Create), bit(Op::Write));
    attempt::judge_making(slot);
    attempt::conclude_late(slot);
    0
}

/// Judges a file that was opened, if it was not there before. If another thread has closed it since, nobody knows: no program
/// can mean to, for none has been told the number yet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_created(slot: u32, descriptor: u32) -> u32 {
    let file = kernel::file_of(kernel::current(), descriptor).unwrap_or(0);
    if file == 0 || read_or_zero::<u32>(file, offset!(file_mode)) & FMODE_CREATED != 0 {
        attempt::late_file(slot, How::Make, Op::Create, file);
    }
    0
}

/// Judges a unix socket that was bound to a path; any that another thread has closed since may be one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_bound(slot: u32) -> u32 {
    let (mut dentry, mut mnt) = (0, 0);
    if let Some(sock) = kernel::sock_of(kernel::current(), argument(slot, 0) as u32) {
        if read_or_zero::<u16>(sock, offset!(sock_family)) == AF_UNIX {
            dentry = read_or_zero(sock, offset!(unix_dentry));
        }
        if dentry == 0 {
            return 0;
        }
        mnt = read_or_zero(sock, offset!(unix_mnt));
    }
    attempt::begin(slot, How::Make, Op::Create);
    attempt::on(slot, OLD, dentry, mnt);
    attempt::judge(slot, OLD, bit(Op::Create), bit(Op::Write));
    attempt::judge_making(slot);
    attempt::conclude_late(slot);
    0
}

/// Judges what was done by the descriptor of a file.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_descriptor(slot: u32, how: u32, op: u32) -> u32 {
    attempt::begin_numbered(slot, how, op);
    attempt::on_file(slot, OLD, kernel::file_of(kernel::current(), argument(slot, 0) as u32).unwrap_or(0));
    attempt::judge(slot, OLD, 1 << masked(op, u32::BITS - 1), 0);
    attempt::conclude_late(slot);
    0
}

/// Judges a symbolic link by its own name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_symlink(slot: u32, form: u32) -> u32 {
    attempt::begin(slot, How::Symlink, Op::Link);
    on_first(slot, form);
    attempt::judge(slot, OLD, bit(Op::Link) | ARRIVES, 0);
    attempt::conclude_late(slot);
    0
}

/// Judges a file's new name beside its old one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_link(slot: u32, form: u32) -> u32 {
    attempt::begin(slot, How::Link, Op::Link);
    on_first(slot, form);
    attempt::judge(slot, OLD, bit(Op::Link), MOVED);
    on_second(slot, form);
    attempt::judge(slot, NEW, bit(Op::Link) | ARRIVES, MOVED);
    attempt::judge_move_of_file(slot, OLD, NEW);
    attempt::conclude_late(slot);
    0
}

/// Judges a name that took the place of another.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_rename(slot: u32, form: u32) -> u32 {
    let exchange = form == Form::NamesAt as u32 && argument(slot, 4) & RENAME_EXCHANGE != 0;
    attempt::begin(slot, if exchange { How::Exchange } else { How::Rename }, Op::Rename);
    on_first(slot, form);
    attempt::judge(slot, OLD, bit(Op::Rename) | if exchange { ARRIVES } else { 0 }, MOVED);
    on_second(slot, form);
    attempt::judge(slot, NEW, bit(Op::Rename) | ARRIVES, MOVED);
    attempt::judge_move_of_file(slot, OLD, NEW);
    if exchange {
        attempt::judge_move_of_file(slot, NEW, OLD);
    }
    attempt::conclude_late(slot);
    0
}

/// Judges a mount that was put somewhere, or taken elsewhere.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_move_mount(slot: u32, form: u32) -> u32 {
    attempt::begin(slot, How::MoveMount, Op::Mount);
    on_first(slot, form);
    attempt::judge(slot, OLD, bit(Op::Mount), 0);
    on_second(slot, form);
    attempt::judge(slot, NEW, bit(Op::Mount), 0);
    attempt::conclude_late(slot);
    0
}

/// Judges a new root by the path that it has now.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_root(slot: u32) -> u32 {
    let folders: u64 = read_or_zero(kernel::current(), offset!(task_fs));
    attempt::begin(slot, How::PivotRoot, Op::Mount);
    attempt::on(
        slot,
        OLD,
        read_or_zero(folders, offset!(fs_root_dentry)),
        read_or_zero(folders, offset!(fs_root_mnt)),
    );
    attempt::judge(slot, OLD, bit(Op::Mount), 0);
    attempt::conclude_late(slot);
    0
}

/// Judges what has no path of its own by the executable of the current process.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_itself(slot: u32, how: u32, op: u32) -> u32 {
    attempt::begin_numbered(slot, how, op);
    target::judge_executable(slot, kernel::current(), op);
    attempt::conclude_late(slot);
    0
}

/// Judges a program that runs as another user than who executed it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_program(slot: u32) -> u32 {
    let task = kernel::current();
    let credentials: u64 = read_or_zero(task, offset!(task_cred));
    let (real, effective): (u32, u32) =
        (read_or_zero(credentials, offset!(cred_uid)), read_or_zero(credentials, offset!(cred_euid)));
    let file = target::executable(task);
    let inode: u64 = read_or_zero(file, offset!(file_inode));
    if real != effective && read_or_zero::<u16>(inode, offset!(inode_mode)) & S_ISUID != 0 {
        attempt::late_file(slot, How::SetIdProgram, Op::Privilege, file);
    }
    0
}

/// What the thread after `entry` hangs in the `list` of those that one traces by; 0 behind the last.
#[inline(always)]
fn next_traced(list: u64, entry: u64) -> u64 {
    let next: u64 = read_or_zero(entry, 0);
    if next == list { 0 } else { next }
}

/// Judges that a process was attached to: the latest that the current thread traces.
#[inline(always)]
fn judge_traced(slot: u32, member: &Member) -> u32 {
    let list = kernel::current() + offset!(task_ptraced);
    let entry = next_traced(list, list);
    if entry == 0 {
        return 0;
    }
    let task = entry - offset!(task_ptrace_entry);
    let tgid: u32 = read_or_zero(task, offset!(task_tgid));
    if target::may_attach(member, tgid) {
        return 0;
    }
    attempt::begin(slot, How::Attach, Op::Ptrace);
    attempt::on_process(slot, tgid, 0);
    target::judge_executable(slot, task, Op::Ptrace as u32);
    attempt::conclude_late(slot);
    0
}

/// Judges what was done to a process that a call names by its number. Which program that process runs is not known. In a pid
/// namespace of its own, a process calls others by numbers that say nothing here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_reached(slot: u32, how: u32, op: u32) -> u32 {
    let pid: u64 = read_or_zero(kernel::current(), offset!(task_thread_pid));
    if read_or_zero::<u32>(pid, offset!(pid_level)) != 0 {
        return 0;
    }
    attempt::begin_numbered(slot, how, op);
    attempt::on_process(slot, argument(slot, 0) as u32, 0);
    attempt::on(slot, OLD, 0, 0);
    attempt::judge(slot, OLD, 1 << masked(op, u32::BITS - 1), EXECUTABLE);
    attempt::conclude_late(slot);
    0
}

/// Whether thread `number` is one that the current one traces, which was judged when it was attached to.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn traces(task: u64, number: u32) -> u32 {
    let list = task + offset!(task_ptraced);
    let mut entry = list;
    let mut i = 0;
    while i < MAX_TRACED {
        i += 1;
        entry = next_traced(list, entry);
        if entry == 0 {
            return 0;
        }
        if read_or_zero::<u32>(entry - offset!(task_ptrace_entry), offset!(task_pid)) == number {
            return 1;
        }
    }
    0
}
