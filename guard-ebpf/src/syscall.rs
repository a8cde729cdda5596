//! Which system call is returning, and who has to look at it.
//!
//! One BTF raw tracepoint on `sys_exit` sees every call's return, 32-bit callers included, for less than a
//! tracepoint per call would cost. A call that nobody here is interested in costs a comparison of its number; one that
//! is costs a process outside every tree one look-up in a map.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::BtfTracePointContext;
use guard_common::offsets::HOOK_FILE;
use guard_common::tree::MEMBER_NETWORK;

use crate::file::O_TRUNC;
use crate::kernel::{self, read_or_zero};
use crate::maps::{SLOT_SYSCALL, hooked, offset, slot};
use crate::{act, called, file, net, socket, tree};

/// `TS_COMPAT`: the call came by the 32-bit entry, also from a 64-bit program (`arch/x86/include/asm/thread_info.h`).
pub const TS_COMPAT: u32 = 2;
/// `EINPROGRESS`: a connection is on its way.
const EINPROGRESS: i64 = 115;

/// What a call's return can mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    None,
    Opened,
    Connected,
    /// A socket was made.
    Socket,
    /// A pipe was made.
    Piped,
    Forked,
    /// A child was waited for: the moment at which a script goes on after one of its commands was killed.
    Waited,
}

/// Calls of the 64-bit table (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[inline(always)]
fn interest_64(number: u64) -> Interest {
    match number {
        // open, creat, openat, open_by_handle_at, openat2; pidfd_getfd, which takes what another process has opened
        2 | 85 | 257 | 304 | 437 | 438 => Interest::Opened,
        // connect
        42 => Interest::Connected,
        // socket
        41 => Interest::Socket,
        // pipe, pipe2
        22 | 293 => Interest::Piped,
        // clone, fork, vfork, clone3
        56 | 57 | 58 | 435 => Interest::Forked,
        // wait4, waitid
        61 | 247 => Interest::Waited,
        _ => Interest::None,
    }
}

/// Calls of the 32-bit table (`arch/x86/entry/syscalls/syscall_32.tbl`).
#[inline(always)]
fn interest_32(number: u64) -> Interest {
    match number {
        // open, creat, openat, open_by_handle_at, openat2, pidfd_getfd
        5 | 8 | 295 | 342 | 437 | 438 => Interest::Opened,
        // connect; socketcall is looked at for it
        362 | 102 => Interest::Connected,
        // socket
        359 => Interest::Socket,
        // pipe, pipe2
        42 | 331 => Interest::Piped,
        // fork, clone, vfork, clone3
        2 | 120 | 190 | 435 => Interest::Forked,
        // wait4, waitid; not waitpid, whose number is poll's in the other table
        114 | 284 => Interest::Waited,
        _ => Interest::None,
    }
}

/// Flags that an open was called with; the file keeps only those that still mean something
/// (`fs/open.c:do_dentry_open` drops `O_TRUNC`). `registers` are rcx, rsi and rdx.
#[inline(always)]
fn flags_asked(compat: bool, number: u64, registers: (u64, u64, u64)) -> u32 {
    let (rcx, rsi, rdx) = registers;
    match (compat, number) {
        (false, 85) | (true, 8) => O_TRUNC,
        (false, 2) => rsi as u32,
        (true, 5) => rcx as u32,
        (false, 257) | (true, 295) => rdx as u32,
        // openat2: the first member of struct open_how. The caller may have changed it since: it is only told.
        // SAFETY: the helper checks the address.
        (_, 437) => unsafe { bpf_probe_read_user(rdx as *const u64) }.unwrap_or(0) as u32,
        _ => 0,
    }
}

/// `sys_exit(regs, ret)`.
#[inline(always)]
pub fn returned(ctx: &BtfTracePointContext) -> i32 {
    let regs: *const pt_regs = ctx.arg(0);
    let result: i64 = ctx.arg(1);
    // SAFETY: a BTF-typed argument of the tracepoint: the verifier checks the member and the load cannot fault.
    let number = unsafe { (*regs).orig_rax };
    let judged = called::may_be_judged(number);
    if !judged && interest_64(number) == Interest::None && interest_32(number) == Interest::None {
        return 0;
    }
    if result < 0 && result != -EINPROGRESS {
        return 0;
    }
    let tgid = kernel::tgid();
    let Some(member) = tree::member(tgid) else {
        if result == 0 && (interest_64(number) == Interest::Forked || interest_32(number) == Interest::Forked) {
            tree::reap_doomed(tgid);
        }
        return 0;
    };
    if act::call_ended(&member) {
        act::kill_current();
        return 0;
    }
    let task = kernel::current();
    let status: u32 = read_or_zero(task, offset!(task_status));
    let compat = status & TS_COMPAT != 0;
    let interest = if compat { interest_32(number) } else { interest_64(number) };
    let slot = slot(SLOT_SYSCALL);
    match interest {
        Interest::Opened if result >= 0 => {
            if !hooked(HOOK_FILE) {
                // SAFETY: as above.
                let registers = unsafe { ((*regs).rcx, (*regs).rsi, (*regs).rdx) };
                file::opened(slot, &member, task, result as u32, flags_asked(compat, number, registers));
            }
            if member.flags & MEMBER_NETWORK != 0 && kernel::pipe_of(task, result as u32).is_some() {
                net::has_pipe(slot, &member, task);
            }
        }
        Interest::Socket if result >= 0 => socket::made(slot, task, result as u32),
        Interest::Connected => {
            // SAFETY: as above.
            let (rdi, rbx, rcx) = unsafe { ((*regs).rdi, (*regs).rbx, (*regs).rcx) };
            if compat && number == 102 && net::makes_socket(rbx) {
                socket::made(slot, task, result as u32);
                return 0;
            }
            let descriptor = match (compat, number) {
                (false, _) => Some(rdi as u32),
                (true, 102) => net::descriptor_of_socketcall(rbx, rcx),
                (true, _) => Some(rbx as u32),
            };
            if let Some(descriptor) = descriptor {
                net::connected(slot, &member, task, descriptor, result);
            }
        }
        Interest::Piped if member.flags & MEMBER_NETWORK != 0 => net::has_pipe(slot, &member, task),
        _ => {}
    }
    if judged && result >= 0 {
        called::go_on(ctx);
    }
    0
}
