//! Sockets whose traffic can't be judged: raw ones and frames, other protocols than TCP and UDP, other families.
//!
//! Rules are about addresses, and the hooks that see them ([`crate::net`]) run for TCP and UDP only. What speaks
//! otherwise is judged when its socket is made, as an address that can't be known: each rule that denies one matches.
//!
//! About internet sockets the kernel asks the control group once type and protocol are settled
//! (`net/ipv4/af_inet.c:inet_create`, `net/ipv6/af_inet6.c:inet6_create`). Those of other families are judged by a
//! security hook, or else when the call that made them returns, before they can be used.

use aya_ebpf::programs::{LsmContext, SockContext};
use guard_common::event::{Connect, Kind};
use guard_common::offsets::{ABSENT, HOOK_SOCKET};
use guard_common::tree::Member;
use guard_common::words::{Backend, Op};

use crate::kernel::{self, read, read_or_zero};
use crate::maps::{hooked, offset};
use crate::net::{AF_INET, AF_INET6, AF_UNIX, Asked, IPPROTO_TCP, SOCK_STREAM};
use crate::verdict::{self, Verdict};
use crate::{act, emit, tree};

/// Answers of the control group's program: go on, or EPERM.
const PROCEED: i32 = 1;
const REFUSE: i32 = 0;
/// `-EPERM`, of the security hook.
const EPERM: i32 = 1;

const SOCK_DGRAM: u32 = 2;
const SOCK_SEQPACKET: u32 = 5;
/// The bits of `SOCK_*` that are no flags (`SOCK_TYPE_MASK`).
const SOCK_TYPES: u32 = 0xf;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;
/// Families that speak to the kernel or within the machine: keys, routing and the like, ciphers.
const AF_KEY: u16 = 15;
const AF_NETLINK: u16 = 16;
const AF_ALG: u16 = 38;

/// `sock_create(sock)` of the control group: an internet socket is made.
#[inline(always)]
pub fn making_internet(ctx: &SockContext) -> i32 {
    // SAFETY: the program's context; the kernel allows these members in these programs.
    let (family, socket_type, protocol) = unsafe { ((*ctx.sock).family, (*ctx.sock).type_, (*ctx.sock).protocol) };
    let addresses_seen = match socket_type {
        SOCK_STREAM => protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP,
        SOCK_DGRAM => protocol == IPPROTO_UDP,
        _ => false,
    };
    if addresses_seen {
        return PROCEED;
    }
    let Some(member) = tree::member(kernel::tgid()) else { return PROCEED };
    let made = Made { family: family as u16, socket_type, protocol };
    let used = judge(&member, made, |table, verdict| {
        let audits = || act::audits(table, member.tree, verdict.rule);
        if !act::call_ended(&member) && (!verdict.denies() || audits()) {
            return Backend::None;
        }
        act::end_call(verdict, member.call);
        Backend::Cgroup
    });
    if used as u8 == Backend::None as u8 { PROCEED } else { REFUSE }
}

/// `socket_create(family, type, protocol, kern)`: a socket of whatever family is asked for.
#[inline(always)]
pub fn making(ctx: &LsmContext) -> i32 {
    let (family, socket_type) = (ctx.arg::<i32>(0) as u16, ctx.arg::<i32>(1) as u32);
    let (protocol, by_kernel) = (ctx.arg::<i32>(2) as u32, ctx.arg::<i32>(3));
    if by_kernel != 0 || known(family) {
        return 0;
    }
    if tree::member(kernel::tgid()).is_none() {
        return 0;
    }
    let refused = judge_asked(u32::from(family), socket_type & SOCK_TYPES, protocol);
    // Hidden from the compiler, which would compute the answer from it, so that the verifier could not know the answer.
    if core::hint::black_box(refused) == 0 { 0 } else { -EPERM }
}

/// The current process has been given a socket, as descriptor `fd`.
#[inline(always)]
pub fn made(slot: u32, task: u64, fd: u32) {
    if hooked(HOOK_SOCKET) {
        return;
    }
    // One that is gone again, by another thread, is taken for what can't be judged.
    let sock = kernel::sock_of(task, fd).unwrap_or(0);
    let family: u16 = read_or_zero(sock, offset!(sock_family));
    if !known(family) {
        let socket_type: u16 = read_or_zero(sock, offset!(sock_type));
        judge_made(slot, u32::from(family), u32::from(socket_type));
    }
}

/// The current process has been given a socket by an `io_uring` request.
#[inline(always)]
pub fn made_by_uring(slot: u32, request: u64) {
    if hooked(HOOK_SOCKET) || offset!(io_socket_domain) == u64::from(ABSENT) {
        return;
    }
    let part = |offset: u64| read::<u32>(request, offset!(io_cmd) + offset).unwrap_or(0);
    let (family, socket_type) = (part(offset!(io_socket_domain)) as u16, part(offset!(io_socket_type)));
    if !known(family) {
        judge_made(slot, u32::from(family), socket_type & SOCK_TYPES);
    }
}

/// What kind of socket it is.
#[derive(Clone, Copy)]
struct Made {
    family: u16,
    socket_type: u32,
    protocol: u32,
}

/// Whether sockets of a family are judged elsewhere, or carry nothing to anybody else.
#[inline(always)]
fn known(family: u16) -> bool {
    matches!(family, AF_UNIX | AF_INET | AF_INET6 | AF_KEY | AF_NETLINK | AF_ALG)
}

/// Judges a socket that is asked for; not 0 if it is refused. A function of its own for its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_asked(family: u32, socket_type: u32, protocol: u32) -> u32 {
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    let made = Made { family: family as u16, socket_type, protocol };
    let used = judge(&member, made, |table, verdict| act::by_lsm(table, verdict, &member));
    u32::from(used as u8 != Backend::None as u8)
}

/// Judges a socket that the current process has been given; its record is put together in the slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_made(slot: u32, family: u32, socket_type: u32) -> u32 {
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    let table = verdict::active();
    let made = Made { family: family as u16, socket_type, protocol: 0 };
    let (verdict, op) = of_whatever(table, &member, made);
    let backend = act::by_signal(table, verdict, &member);
    emit::begin::<Connect>(slot, Kind::Connect, op, &member);
    if let Some(head) = emit::head_of(slot) {
        emit::decided(head, table, verdict, backend);
    }
    emit::set_body(slot, body(made));
    emit::send(slot);
    0
}

/// Judges a socket, carries the verdict out, and tells; the backend that was used.
#[inline(always)]
fn judge(member: &Member, made: Made, carry_out: impl FnOnce(u32, Verdict) -> Backend) -> Backend {
    let table = verdict::active();
    let (verdict, op) = of_whatever(table, member, made);
    let backend = carry_out(table, verdict);
    let mut head = emit::head(Kind::Connect, op, member);
    emit::decided(&mut head, table, verdict, backend);
    emit::send_with(&head, body(made));
    backend
}

/// The stricter of the verdicts on connecting and sending to whatever address, and the operation it is about.
#[inline(always)]
fn of_whatever(table: u32, member: &Member, made: Made) -> (Verdict, Op) {
    let connect = Asked::of(table, Op::Connect, member).of_unknown();
    let send = Asked::of(table, Op::Send, member).of_unknown();
    let connects = matches!(made.socket_type, SOCK_STREAM | SOCK_SEQPACKET);
    let stricter = if connects { connect.action >= send.action } else { connect.action > send.action };
    if stricter { (connect, Op::Connect) } else { (send, Op::Send) }
}

/// The body of the record.
#[inline(always)]
fn body(made: Made) -> Connect {
    Connect {
        family: made.family,
        socket_type: made.socket_type as u16,
        protocol: made.protocol as u16,
        ..Connect::NOTHING
    }
}
