//! Opens and connections made through `io_uring`, which pass no system call of their own.
//!
//! `io_uring_complete` fires when a request's result is posted, in a task that shares the submitter's
//! descriptors: the submitter itself, or a worker or poller thread of its process
//! (`io_uring/io-wq.c`, `io_uring/sqpoll.c` make them with `CLONE_FILES | CLONE_THREAD`). A worker never returns to
//! user space, so there the signal kills the process while it runs; see docs/architecture.md.

use aya_ebpf::programs::BtfTracePointContext;
use guard_common::offsets::{ABSENT, HOOK_FILE};

use crate::file::Grant;
use crate::kernel::{self, read};
use crate::maps::{SLOT_URING, hooked, offset, slot};
use crate::{act, file, net, socket, tree};

/// `IORING_OP_CONNECT`.
const OP_CONNECT: u8 = 16;
/// `IORING_OP_OPENAT`.
const OP_OPENAT: u8 = 18;
/// `IORING_OP_OPENAT2`.
const OP_OPENAT2: u8 = 28;
/// `IORING_OP_SOCKET`.
const OP_SOCKET: u8 = 45;
/// A connection is on its way.
const EINPROGRESS: i32 = 115;

/// `io_uring_complete(ring, request, cqe)`, as kernels later than 6.12 have it.
#[inline(always)]
pub fn completed(ctx: &BtfTracePointContext) -> i32 {
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    if offset!(io_opcode) == u64::from(ABSENT) || offset!(cqe_res) == u64::from(ABSENT) {
        return 0;
    }
    if act::call_ended(&member) {
        act::kill_current();
        return 0;
    }
    let request = ctx.arg::<*const u8>(1) as u64;
    let cqe = ctx.arg::<*const u8>(2) as u64;
    let Some(opcode) = read::<u8>(request, offset!(io_opcode)) else { return 0 };
    let Some(result) = read::<i32>(cqe, offset!(cqe_res)) else { return 0 };
    let slot = slot(SLOT_URING);
    let task = kernel::current();
    match opcode {
        OP_OPENAT | OP_OPENAT2 if result >= 0 && !hooked(HOOK_FILE) => {
            // A descriptor in the ring's own table: the file is not among the process's, and is not judged unseen.
            let fixed = offset!(io_open_slot) == u64::from(ABSENT)
                || read::<u32>(request, offset!(io_cmd) + offset!(io_open_slot)) != Some(0);
            if fixed {
                file::judge_unknown(slot, &member, Grant::Given(result, 0));
            } else {
                file::opened(slot, &member, task, result as u32, 0);
            }
        }
        OP_SOCKET if result >= 0 => socket::made_by_uring(slot, request),
        OP_CONNECT if result >= 0 || result == -EINPROGRESS => {
            if let Some(sock) = read(request, offset!(io_file)).and_then(kernel::sock_of_file) {
                net::connected_sock(slot, &member, task, sock, i64::from(result));
            }
        }
        _ => {}
    }
    0
}
