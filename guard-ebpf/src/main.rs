//! guard's kernel programs: the entry points. What they do is in the rooms.
//!
//! A record's way: hook -> who ([`tree`], [`group`]) -> what ([`exec`], [`file`], [`inherited`], [`net`], [`entry`], [`target`], [`called`], by [`path`]) -> [`verdict`]
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
mod argv;
mod attempt;
mod called;
mod emit;
mod entry;
mod exec;
mod file;
mod given;
mod group;
mod inherited;
mod inside;
mod kernel;
mod labels;
mod lsm;
mod maps;
mod names;
mod net;
mod path;
mod pipe;
mod place;
mod script;
mod sent;
mod socket;
mod syscall;
mod target;
mod tree;
mod uring;
mod verdict;

use aya_ebpf::macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr, fexit, lsm, sock_ops};
use aya_ebpf::programs::{
    BtfTracePointContext, FExitContext, LsmContext, SockAddrContext, SockContext, SockOpsContext,
};

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

#[btf_tracepoint(function = "sys_exit")]
fn on_call(ctx: BtfTracePointContext) -> i32 {
    called::returned(&ctx)
}

#[btf_tracepoint(function = "signal_generate")]
fn on_signal(ctx: BtfTracePointContext) -> i32 {
    target::signalled(&ctx)
}

#[btf_tracepoint(function = "cgroup_mkdir")]
fn on_group_made(ctx: BtfTracePointContext) -> i32 {
    group::made(&ctx)
}

#[btf_tracepoint(function = "cgroup_rmdir")]
fn on_group_removed(ctx: BtfTracePointContext) -> i32 {
    group::removed(&ctx)
}

#[btf_tracepoint(function = "cgroup_attach_task")]
fn on_group_entered(ctx: BtfTracePointContext) -> i32 {
    group::entered(&ctx)
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

#[cgroup_sock_addr(bind4)]
fn on_bind4(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::BIND4)
}

#[cgroup_sock_addr(bind6)]
fn on_bind6(ctx: SockAddrContext) -> i32 {
    net::addressed(&ctx, net::BIND6)
}

#[cgroup_sock(sock_create)]
fn on_sock_create(ctx: SockContext) -> i32 {
    socket::making_internet(&ctx)
}

#[sock_ops]
fn on_connection(ctx: SockOpsContext) -> u32 {
    sent::told(&ctx)
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

#[lsm(hook = "path_mknod")]
fn on_path_mknod(ctx: LsmContext) -> i32 {
    entry::making(&ctx)
}

#[lsm(hook = "path_mkdir")]
fn on_path_mkdir(ctx: LsmContext) -> i32 {
    entry::making_folder(&ctx)
}

#[lsm(hook = "path_unlink")]
fn on_path_unlink(ctx: LsmContext) -> i32 {
    entry::removing(&ctx)
}

#[lsm(hook = "path_rmdir")]
fn on_path_rmdir(ctx: LsmContext) -> i32 {
    entry::removing_folder(&ctx)
}

#[lsm(hook = "path_symlink")]
fn on_path_symlink(ctx: LsmContext) -> i32 {
    entry::linking_softly(&ctx)
}

#[lsm(hook = "path_link")]
fn on_path_link(ctx: LsmContext) -> i32 {
    entry::linking(&ctx)
}

#[lsm(hook = "path_rename")]
fn on_path_rename(ctx: LsmContext) -> i32 {
    entry::renaming(&ctx)
}

#[lsm(hook = "path_truncate")]
fn on_path_truncate(ctx: LsmContext) -> i32 {
    entry::truncating(&ctx)
}

#[lsm(hook = "path_chmod")]
fn on_path_chmod(ctx: LsmContext) -> i32 {
    entry::changing_mode(&ctx)
}

#[lsm(hook = "path_chown")]
fn on_path_chown(ctx: LsmContext) -> i32 {
    entry::changing_owner(&ctx)
}

#[lsm(hook = "task_kill")]
fn on_task_kill(ctx: LsmContext) -> i32 {
    target::signalling(&ctx)
}

#[lsm(hook = "file_send_sigiotask")]
fn on_file_send_sigiotask(ctx: LsmContext) -> i32 {
    target::signalling_by_event(&ctx)
}

#[lsm(hook = "task_setrlimit")]
fn on_task_setrlimit(ctx: LsmContext) -> i32 {
    target::limiting(&ctx)
}

#[lsm(hook = "ptrace_access_check")]
fn on_ptrace_access_check(ctx: LsmContext) -> i32 {
    target::attaching(&ctx)
}

#[lsm(hook = "sb_mount")]
fn on_sb_mount(ctx: LsmContext) -> i32 {
    target::mounting(&ctx)
}

#[lsm(hook = "move_mount")]
fn on_move_mount(ctx: LsmContext) -> i32 {
    target::moving_mount(&ctx)
}

#[lsm(hook = "sb_umount")]
fn on_sb_umount(ctx: LsmContext) -> i32 {
    target::unmounting(&ctx)
}

#[lsm(hook = "sb_pivotroot")]
fn on_sb_pivotroot(ctx: LsmContext) -> i32 {
    target::pivoting(&ctx)
}

#[lsm(hook = "userns_create")]
fn on_userns_create(ctx: LsmContext) -> i32 {
    target::making_user_namespace(&ctx)
}

#[lsm(hook = "task_fix_setuid")]
fn on_task_fix_setuid(ctx: LsmContext) -> i32 {
    target::changing_user(&ctx)
}

#[lsm(hook = "bprm_creds_from_file")]
fn on_bprm_creds_from_file(ctx: LsmContext) -> i32 {
    target::gaining_by_program(&ctx)
}

#[fexit(function = "security_bprm_creds_from_file")]
fn on_creds_known(ctx: FExitContext) -> i32 {
    target::gained_by_program(&ctx)
}

#[lsm(hook = "kernel_read_file")]
fn on_kernel_read_file(ctx: LsmContext) -> i32 {
    target::reading_for_kernel(&ctx)
}

#[lsm(hook = "kernel_load_data")]
fn on_kernel_load_data(ctx: LsmContext) -> i32 {
    target::loading_for_kernel(&ctx)
}

#[lsm(hook = "bpf")]
fn on_bpf(ctx: LsmContext) -> i32 {
    target::calling_bpf(&ctx)
}

#[lsm(hook = "bpf")]
fn on_bpf_link(ctx: LsmContext) -> i32 {
    target::changing_link(&ctx)
}

#[lsm(hook = "bpf_map")]
fn on_bpf_map(ctx: LsmContext) -> i32 {
    target::opening_map(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program from which this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
