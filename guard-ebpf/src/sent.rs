//! How much leaves the machine: the bytes that members' TCP connections have brought to the other side.
//!
//! The kernel's own count is taken, which it raises as the other side acknowledges (`net/ipv4/tcp_input.c:tcp_snd_una_update`),
//! so it makes no difference by which call something was sent, through `io_uring` or from a file. Who connects is known
//! where addresses are judged ([`crate::net`]), in his own name; from there on the kernel tells of that connection alone,
//! wherever it happens to be. Of the making of others the program is told as well: a comparison each time, and once a look-up.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB,
};
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use guard_common::address::Address;
use guard_common::tree::{COUNT_SOCKETS_FULL, Connection, Id, Member};

use crate::maps::{CONNECTIONS, SENT, add, count};

/// States of a connection (`include/net/tcp_states.h`).
const ESTABLISHED: u32 = 1;
const FIN_WAIT1: u32 = 4;
const FIN_WAIT2: u32 = 5;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;
const CLOSING: u32 = 11;
/// Answer of the program.
const DONE: u32 = 1;
/// Put into a map only where there is nothing yet.
const NO_EXIST: u64 = 1;

/// A member is about to connect a TCP socket to an address.
#[inline(always)]
pub fn connecting(ctx: &SockAddrContext, member: &Member, address: Address) {
    if !address.is_loopback() {
        // SAFETY: the program's context.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        begin(cookie, member.tree);
    }
}

/// From here on it is counted. A function of its own for its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin(cookie: u64, tree: Id) -> u32 {
    let nothing: u64 = 0;
    if SENT.get_ptr(tree).is_none() {
        // Another connection of the tree's may have been quicker.
        let _there = SENT.insert(tree, nothing, NO_EXIST);
    }
    let full =
        CONNECTIONS.insert(cookie, Connection { tree, counted: 0 }, 0).is_err() || SENT.get_ptr(tree).is_none();
    if full {
        count(COUNT_SOCKETS_FULL);
    }
    0
}

/// The kernel tells of a TCP connection (`net/ipv4/tcp_output.c:tcp_connect`, `tcp_input.c:tcp_rtt_estimator`,
/// `tcp.c:tcp_set_state`).
#[inline(always)]
pub fn told(ctx: &SockOpsContext) -> u32 {
    let op = ctx.op();
    if op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_RTT_CB && op != BPF_SOCK_OPS_STATE_CB {
        return DONE;
    }
    // SAFETY: the program's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(connection) = CONNECTIONS.get_ptr_mut(cookie) else { return DONE };
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        let wanted = BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;
        // What other programs of the control group want stays. It is refused where there is no connection yet, nowhere here.
        let _set = ctx.set_cb_flags((ctx.cb_flags() | wanted) as i32);
        return DONE;
    }
    // The kernel counts what begins a connection and what ends it as a byte each.
    let mut not_data = 1;
    // SAFETY: the program's context; the kernel allows these members in these programs.
    let (state, acknowledged) = unsafe { ((*ctx.ops).state, (*ctx.ops).bytes_acked) };
    if op == BPF_SOCK_OPS_STATE_CB {
        let (old, new) = (ctx.arg(0), ctx.arg(1));
        let ended = old == FIN_WAIT1 && new == FIN_WAIT2 || old == FIN_WAIT2 || old == CLOSING || old == LAST_ACK;
        not_data += u64::from(ended);
    } else if state != ESTABLISHED && state != CLOSE_WAIT {
        // Whether the end is among it is known when the state changes.
        return DONE;
    }
    // SAFETY: a map value; the kernel tells of a connection while it holds its lock.
    let (tree, counted) = unsafe { ((*connection).tree, &mut (*connection).counted) };
    let data = acknowledged.saturating_sub(not_data);
    if data > *counted {
        if let Some(sent) = SENT.get_ptr_mut(tree) {
            add(sent, data - *counted);
        }
        *counted = data;
    }
    if op == BPF_SOCK_OPS_STATE_CB && ctx.arg(1) == CLOSE {
        // It may be connected anew, which begins another count.
        let _gone = CONNECTIONS.remove(cookie);
    }
    DONE
}
