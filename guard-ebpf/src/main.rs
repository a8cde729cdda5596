//! guard's kernel programs: the entry points. What they do is in the rooms.
//!
//! A record's way: hook -> who ([`tree`]) -> what ([`exec`], [`file`], [`net`], by [`path`]) -> [`verdict`]
//! -> [`act`] -> [`emit`]. The verdict is decided and carried out before anything is told, so a full ring buffer
//! never changes one.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the macros of the entry points hand their context over")]
#![expect(
    clippy::cast_ptr_alignment,
    reason = "records and texts lie in map values at multiples of 8, which const assertions hold to"
)]

mod act;
mod emit;
mod exec;
mod file;
mod kernel;
mod lsm;
mod maps;
mod names;
mod net;
mod path;
mod pipe;
mod script;
mod socket;
mod syscall;
mod tree;
mod uring;
mod verdict;

use aya_ebpf::macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr, lsm};
use aya_ebpf::programs::{BtfTracePointContext, LsmContext, SockAddrContext, SockContext};

#[btf_tracepoint(function = "sched_process_fork")]
fn on_fork(ctx: BtfTracePointContext) -> i32 {
    tree::forked(&ctx)
}

#[btf_tracepoint(function = "sched_process_exec")]
fn on_exec(ctx: BtfTracePointContext) -> i32 {
    exec::executed(&ctx)
}

#[btf_tracepoint(function = "sched_process_exit")]
fn on_exit(ctx: BtfTracePointContext) -> i32 {
    tree::exited(&ctx)
}

#[btf_tracepoint(function = "sys_exit")]
fn on_sys_exit(ctx: BtfTracePointContext) -> i32 {
    syscall::returned(&ctx)
}

#[btf_tracepoint(function = "io_uring_complete")]
fn on_uring_complete(ctx: BtfTracePointContext) -> i32 {
    uring::completed(&ctx)
}

#[cgroup_sock_addr(connect4)]
fn on_connect4(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::CONNECT4)
}

#[cgroup_sock_addr(connect6)]
fn on_connect6(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::CONNECT6)
}

#[cgroup_sock_addr(sendmsg4)]
fn on_sendmsg4(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::SEND4)
}

#[cgroup_sock_addr(sendmsg6)]
fn on_sendmsg6(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::SEND6)
}

#[cgroup_sock(sock_create)]
fn on_sock_create(ctx: SockContext) -> i32 {
    socket::making_internet(&ctx)
}

#[lsm(hook = "socket_create")]
fn on_socket_create(ctx: LsmContext) -> i32 {
    socket::making(&ctx)
}

#[lsm(hook = "file_open")]
fn on_file_open(ctx: LsmContext) -> i32 {
    lsm::opening(&ctx)
}

#[lsm(hook = "file_receive")]
fn on_file_receive(ctx: LsmContext) -> i32 {
    lsm::receiving(&ctx)
}

#[lsm(hook = "bprm_check_security")]
fn on_bprm_check(ctx: LsmContext) -> i32 {
    lsm::executing(&ctx)
}

#[lsm(hook = "unix_stream_connect")]
fn on_unix_connect(ctx: LsmContext) -> i32 {
    lsm::connecting_unix(&ctx)
}

#[lsm(hook = "unix_may_send")]
fn on_unix_send(ctx: LsmContext) -> i32 {
    lsm::sending_unix(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program from which this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
