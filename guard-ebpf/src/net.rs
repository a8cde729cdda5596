//! Connections and datagrams.
//!
//! Internet addresses are judged by the cgroup's socket-address programs, which the kernel runs with its own copy of the
//! address before anything is sent (`net/ipv4/af_inet.c:inet_dgram_connect` and `tcp_v4_connect` through
//! `BPF_CGROUP_RUN_PROG_INET4_CONNECT`, `udp_sendmsg` for datagrams), and refused with EPERM. They may be
//! preempted, so they work on their stack alone.
//!
//! Unix sockets are judged when `connect` returns, by what they are then connected to: the listener's own path, from
//! its directory entry. That is before a byte can be sent.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::programs::SockAddrContext;
use guard_common::address::Address;
use guard_common::event::{Connect, FLAG_PATH_UNKNOWN, Kind, NO_RULE};
use guard_common::offsets::{ABSENT, HOOK_UNIX};
use guard_common::table::{
    CELLS, FAMILY_NET, MAX_FIRINGS, MAX_LIST_LEN, MAX_LISTS, MAX_RULES, Meta, NEED_OBJECT, NODE_ROOT, RULE_WORDS,
};
use guard_common::tree::Member;
use guard_common::walk::{self, FACT_OBJECT_UNKNOWN, INTO_TO, MAX_TEXT, Who};
use guard_common::words::{Backend, OP_ROWS, Op};

use crate::kernel::{self, masked, read, read_or_zero};
use crate::maps::{hooked, offset, work};
use crate::path::{self, Resolved};
use crate::verdict::{self, Verdict};
use crate::{act, emit, pipe, sent, tree};

/// `connect` of an IPv4 socket.
pub const CONNECT4: (Op, u16) = (Op::Connect, AF_INET);
/// `connect` of an IPv6 socket.
pub const CONNECT6: (Op, u16) = (Op::Connect, AF_INET6);
/// A datagram with an IPv4 address of its own.
pub const SEND4: (Op, u16) = (Op::Send, AF_INET);
/// A datagram with an IPv6 address of its own.
pub const SEND6: (Op, u16) = (Op::Send, AF_INET6);

/// `bind` of an IPv4 socket.
pub const BIND4: (Op, u16) = (Op::Bind, AF_INET);
/// `bind` of an IPv6 socket.
pub const BIND6: (Op, u16) = (Op::Bind, AF_INET6);

pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const SOCK_STREAM: u32 = 1;
pub const IPPROTO_TCP: u32 = 6;
/// `SYS_SOCKET` of socketcall.
const SOCKETCALL_SOCKET: u64 = 1;
/// `SYS_CONNECT` of socketcall.
const SOCKETCALL_CONNECT: u64 = 3;
/// Answer of a socket-address program: go on.
const PROCEED: i32 = 1;
/// Answer of a socket-address program: EPERM.
const REFUSE: i32 = 0;

/// Judges an address before it is used.
#[inline(always)]
pub fn addressed(ctx: &SockAddrContext, hook: (Op, u16)) -> i32 {
    let (op, family) = hook;
    let Some(member) = tree::member(kernel::tgid()) else { return PROCEED };
    let socket = ctx.sock_addr;
    // SAFETY: a socket-address program's context; the kernel allows these members in these programs.
    let (address, port, socket_type, protocol) = unsafe {
        let address = if family == AF_INET {
            Address::v4(u32::from_be((*socket).user_ip4))
        } else {
            let words = &raw const (*socket).user_ip6;
            v6((*words)[0], (*words)[1], (*words)[2], (*words)[3])
        };
        (address, u16::from_be((*socket).user_port as u16), (*socket).type_, (*socket).protocol)
    };
    if port == 0 && op as u8 == Op::Send as u8 {
        // A connected socket sends where it is connected to, which was judged then: the kernel asks because more
        // than plain data is given (`net/ipv4/udp.c:udp_sendmsg`), and has no address to show. A given one has a port.
        return PROCEED;
    }
    let table = verdict::active();
    let asked = Asked::of(table, op, &member);
    // Who binds is found at that address, not led from it to another.
    let [mut address, other] =
        if op as u8 == Op::Bind as u8 { [address; 2] } else { address.reached(source(ctx, hook, address)) };
    let mut verdict = asked.of_address(address, port);
    if other != address {
        let stricter = asked.of_address(other, port);
        if stricter.action > verdict.action {
            (verdict, address) = (stricter, other);
        }
    }
    let mut backend = Backend::None;
    let mut answer = PROCEED;
    if act::call_ended(&member) || verdict.denies() && !act::audits(table, member.tree, verdict.rule) {
        act::end_call(verdict, member.call);
        backend = Backend::Cgroup;
        answer = REFUSE;
    }
    let mut head = emit::head(Kind::Connect, op, &member);
    emit::decided(&mut head, table, verdict, backend);
    let body = Connect {
        address: address.bytes(),
        port,
        family,
        socket_type: socket_type as u16,
        protocol: protocol as u16,
        result: 0,
        path_len: 0,
    };
    emit::send_with(&head, body);
    if answer == PROCEED && op as u8 == Op::Connect as u8 && socket_type == SOCK_STREAM && protocol == IPPROTO_TCP {
        sent::connecting(ctx, &member, address);
    }
    answer
}

/// The address that a socket would send from, as far as that says where `address` leads.
#[inline(always)]
fn source(ctx: &SockAddrContext, (op, family): (Op, u16), address: Address) -> Address {
    let socket = ctx.sock_addr;
    // SAFETY: as in `addressed`; the socket is that of the context.
    unsafe {
        if address == Address::ANY_4 {
            // With the datagram its own source may have been given.
            return Address::v4(u32::from_be(if op as u8 == Op::Send as u8 && family == AF_INET {
                (*socket).msg_src_ip4
            } else {
                (*(*socket).__bindgen_anon_1.sk).src_ip4
            }));
        }
        if address == Address::ANY_6 && op as u8 == Op::Connect as u8 {
            let sock = (*socket).__bindgen_anon_1.sk;
            let words = &raw const (*sock).src_ip6;
            return v6((*words)[0], (*words)[1], (*words)[2], (*words)[3]);
        }
    }
    Address::ANY_6
}

/// An IPv6 address from its words in network order.
#[inline(always)]
fn v6(first: u32, second: u32, third: u32, fourth: u32) -> Address {
    let pair = |high: u32, low: u32| u64::from(u32::from_be(high)) << 32 | u64::from(u32::from_be(low));
    Address { high: pair(first, second), low: pair(third, fourth) }
}

/// Who asks the policy about an internet address, and for what.
#[derive(Clone, Copy)]
pub struct Asked {
    /// Place of the policy.
    table: u32,
    /// The operation shifted left by one, and the scope.
    what: u32,
    /// As in [`verdict::rules_about`].
    classes: u64,
    /// As in [`verdict::rules_about`].
    phase: u32,
}

impl Asked {
    /// `member` asks the policy in place `table` whether it may `op`.
    #[inline(always)]
    pub fn of(table: u32, op: Op, member: &Member) -> Self {
        let nobody = Who { classes: 0, phase: 0, facts: 0 };
        let who = verdict::meta(table).map_or(nobody, |meta| verdict::who(meta, table, member));
        let what = (op as u32) << 1 | u32::from(member.scope & 1);
        Self { table, what, classes: who.classes, phase: who.facts << 16 | who.phase }
    }

    /// The verdict on an address and port.
    #[inline(always)]
    fn of_address(self, address: Address, port: u16) -> Verdict {
        let asked = u64::from(self.table) << 32 | u64::from(self.what) << 16 | u64::from(port);
        pipe::unpack(judge_address(asked, address.high, address.low, self.classes, self.phase))
    }

    /// The verdict on an address that can't be known: every rule that denies an address matches.
    #[inline(always)]
    pub fn of_unknown(self) -> Verdict {
        let rule = first_of_any(self.table, self.what, self.classes, self.phase);
        pipe::unpack(decided_by(self.table, self.what, rule))
    }
}

/// The policy's verdict on an address, packed: one automaton, whose last state lists the rules that match in their
/// order, and the first rule that asks for no address at all. `asked` is the place of the policy, [`Asked::what`] and the
/// port.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_address(asked: u64, high: u64, low: u64, classes: u64, phase: u32) -> u32 {
    let (table, port) = ((asked >> 32) as u32, asked as u16);
    let asked = (asked >> 16) as u32 & 0xffff;
    let Some(meta) = verdict::meta(table) else { return pipe::pack(Verdict::UNJUDGED) };
    let family = &meta.family[FAMILY_NET];
    let mut rule = first_unconditional(table, asked, classes, phase);
    if family.automata != 0 {
        let Some(automaton) = verdict::automaton(table, family.block[0]) else {
            return pipe::pack(Verdict::UNJUDGED);
        };
        let mut state = u32::from(family.start[NODE_ROOT as usize][0]);
        let mut step = |byte: u8| {
            let class = u32::from(family.class[masked(u32::from(byte), 0xff) as usize]);
            state = u32::from(automaton.cells[(state * family.stride + class) as usize & (CELLS - 1)]);
        };
        let mut i = 0;
        while i < 16 {
            step((if i < 8 { high >> (56 - 8 * i) } else { low >> (120 - 8 * i) }) as u8);
            i += 1;
        }
        step((port >> 8) as u8);
        step(port as u8);
        let list = automaton.cells[(state * family.stride) as usize & (CELLS - 1)];
        rule = rule.min(first_listed(table, u32::from(list), asked, classes, phase));
    }
    decided_by(table, asked, rule)
}

/// The verdict of `rule`, or of the default of what is `asked`, packed.
#[inline(always)]
fn decided_by(table: u32, asked: u32, rule: u32) -> u32 {
    let Some(meta) = verdict::meta(table) else { return pipe::pack(Verdict::UNJUDGED) };
    let action = walk::action(meta, rule, asked >> 1, asked & 1);
    pipe::pack(Verdict { action, rule: if rule == walk::NO_RULE { NO_RULE } else { rule as u16 } })
}

/// The first rule of `list`, those that match an address in their order, that applies to what is `asked`: the operation
/// shifted left by one, and the scope. `classes` and `phase` say who asks, as in [`verdict::rules_about`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_listed(table: u32, list: u32, asked: u32, classes: u64, phase: u32) -> u32 {
    let Some(meta) = verdict::meta(table) else { return walk::NO_RULE };
    let applies = &meta.applies[(asked >> 1) as usize & (OP_ROWS - 1)][asked as usize & 1];
    let packed = meta.list[list as usize & (MAX_LISTS - 1)];
    let (count, first) = (packed & 0xff, packed >> 8);
    let mut i = 0;
    while i < MAX_LIST_LEN as u32 {
        if i >= count {
            break;
        }
        let rule = u32::from(meta.firing[(first + i) as usize & (MAX_FIRINGS - 1)].rule) & (MAX_RULES as u32 - 1);
        let bit = 1 << (rule % 64);
        if applies[(rule / 64) as usize & (RULE_WORDS - 1)] & bit != 0
            && verdict::rules_about(table, classes, phase, rule / 64) & bit != 0
        {
            return rule;
        }
        i += 1;
    }
    walk::NO_RULE
}

/// The first rule that applies to what is `asked` whatever the address: see [`first_listed`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_unconditional(table: u32, asked: u32, classes: u64, phase: u32) -> u32 {
    first_rule(table, asked, classes, phase, |meta, row, word| !meta.needs[row][NEED_OBJECT][word])
}

/// The same where the address can't be known: whatever denies one matches too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_of_any(table: u32, asked: u32, classes: u64, phase: u32) -> u32 {
    first_rule(table, asked, classes, phase, |meta, row, word| {
        !meta.needs[row][NEED_OBJECT][word] | meta.denies[word] & meta.net[word]
    })
}

/// The first rule that applies to what is `asked`, of those that `holding` gives of each word of a set.
#[inline(always)]
fn first_rule(table: u32, asked: u32, classes: u64, phase: u32, holding: impl Fn(&Meta, usize, usize) -> u64) -> u32 {
    let Some(meta) = verdict::meta(table) else { return walk::NO_RULE };
    let mut word = 0;
    while word < RULE_WORDS {
        if word as u32 >= meta.words {
            break;
        }
        // Anew each time: 5.10 and 6.1 forget the bounds of what is put aside on the stack.
        let row = masked(asked >> 1, OP_ROWS as u32 - 1) as usize;
        let asked = masked(asked, 2 * OP_ROWS as u32 - 1) as usize;
        let mut rules = meta.applies.as_flattened()[asked][word] & holding(meta, row, word);
        if rules != 0 {
            rules &= verdict::rules_about(table, classes, phase, word as u32);
        }
        if rules != 0 {
            return word as u32 * 64 + rules.trailing_zeros();
        }
        word += 1;
    }
    walk::NO_RULE
}

/// Whether a 32-bit `socketcall(call, args)` makes a socket.
#[inline(always)]
pub fn makes_socket(call: u64) -> bool {
    call as u32 == SOCKETCALL_SOCKET as u32
}

/// The descriptor of a 32-bit `socketcall(SYS_CONNECT, args)`.
#[inline(always)]
pub fn descriptor_of_socketcall(call: u64, arguments: u64) -> Option<u32> {
    if call as u32 != SOCKETCALL_CONNECT as u32 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(u64::from(arguments as u32) as *const u32) }.ok()
}

/// A `connect` of descriptor `fd` has returned, or goes on in the background.
#[inline(always)]
pub fn connected(slot: u32, member: &Member, task: u64, fd: u32, result: i64) {
    if let Some(sock) = kernel::sock_of(task, fd) {
        connected_sock(slot, member, task, sock, result);
    }
}

/// A socket has been connected.
#[inline(always)]
pub fn connected_sock(slot: u32, member: &Member, task: u64, sock: u64, result: i64) {
    let Some(family) = read::<u16>(sock, offset!(sock_family)) else { return };
    if family == AF_UNIX {
        if result >= 0 && !hooked(HOOK_UNIX) {
            let peer = unix_peer(sock);
            judge_unix(slot, member, peer, Op::Connect, Backend::Signal);
        }
    } else if family == AF_INET || family == AF_INET6 {
        spoke_to_network(slot, member, task, family);
    }
}

/// Judges the unix socket `peer` as the other end of a connection or datagram, and tells; the backend that was used.
/// 0 is one that could not be found out.
#[inline(always)]
pub fn judge_unix(slot: u32, member: &Member, peer: u64, op: Op, backend: Backend) -> Backend {
    let judged = verdict::begin(slot, member);
    let name = unix_name(slot, peer);
    verdict::clear(slot);
    let mut facts = 0;
    if name.unknown() {
        facts |= FACT_OBJECT_UNKNOWN;
    } else {
        verdict::add_path(slot, name.start(), INTO_TO);
    }
    let verdict = if judged { verdict::of(slot, op, member.scope, facts) } else { Verdict::UNJUDGED };
    let Some(work) = work(slot) else { return backend };
    // SAFETY: the slot has one user.
    let table = unsafe { (*work).table };
    let backend = act::by(backend, table, verdict, member);
    emit::begin::<Connect>(slot, Kind::Connect, op, member);
    if let Some(head) = emit::head_of(slot) {
        emit::decided(head, table, verdict, backend);
        if name.unknown() {
            head.flags |= FLAG_PATH_UNKNOWN;
        }
    }
    let mut body = Connect { family: AF_UNIX, ..Connect::NOTHING };
    if !name.unknown() {
        body.path_len = emit::append_path(slot, name.start());
    }
    emit::set_body(slot, body);
    emit::send(slot);
    backend
}

/// What a unix socket is connected to, 0 where that can't be found out.
#[inline(always)]
fn unix_peer(sock: u64) -> u64 {
    if offset!(unix_peer) == u64::from(ABSENT) { 0 } else { read_or_zero(sock, offset!(unix_peer)) }
}

/// Writes a unix socket's name into the slot's text: the path it is bound to, or `@` and its abstract name.
#[inline(always)]
fn unix_name(slot: u32, peer: u64) -> Resolved {
    if peer == 0 || offset!(unix_peer) == u64::from(ABSENT) {
        return Resolved::NOTHING;
    }
    let dentry: u64 = read_or_zero(peer, offset!(unix_dentry));
    if dentry != 0 {
        let mnt: u64 = read_or_zero(peer, offset!(unix_mnt));
        return path::resolve(slot, dentry, mnt);
    }
    abstract_name(slot, peer).unwrap_or(Resolved::NOTHING)
}

/// Longest abstract name: `sun_path` without the first NUL.
const MAX_ABSTRACT: u32 = 107;

/// Writes an abstract name, up to its first NUL, to the end of the path text.
#[inline(always)]
fn abstract_name(slot: u32, peer: u64) -> Option<Resolved> {
    let work = work(slot)?;
    let address = read::<u64>(peer, offset!(unix_addr)).filter(|address| *address != 0)?;
    let total: u32 = read(address, offset!(unix_addr_len))?;
    // Two bytes of family and the leading NUL.
    let len = total.checked_sub(3)?;
    if len == 0 || len > MAX_ABSTRACT {
        return None;
    }
    let start = MAX_TEXT as u32 - len;
    // SAFETY: the slot has one user; the start is masked below MAX_TEXT, the length below 128.
    unsafe {
        let text = (&raw mut (*work).walk.text).cast::<u8>();
        *text.add(masked(start - 1, MAX_TEXT as u32 - 1) as usize) = b'@';
        let from = (address + offset!(unix_addr_name) + 3) as *const _;
        if bpf_probe_read_kernel(
            text.add(masked(start, MAX_TEXT as u32 - 1) as usize).cast(),
            masked(len, 0x7f),
            from,
        ) != 0
        {
            return None;
        }
    }
    Some(Resolved::known(start - 1))
}

/// The current process speaks to the network.
#[inline(always)]
fn spoke_to_network(slot: u32, member: &Member, task: u64, family: u16) {
    let table = verdict::active();
    if let Some(verdict) = pipe::spoke(table, member, task) {
        feeds(slot, table, verdict, family.into());
    }
}

/// The current process, which has spoken to the network, has made a pipe or opened one by its name.
#[inline(always)]
pub fn has_pipe(slot: u32, member: &Member, task: u64) {
    let table = verdict::active();
    if let Some(verdict) = pipe::got(table, member, task) {
        feeds(slot, table, verdict, 0);
    }
}

/// A program waits at the other end of one of the current process's pipes already that would take what it gets from the
/// network as its orders: carries out the `verdict` on that, packed, by the policy in place `table`. `family` is the
/// connection's, 0 where it was made before.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn feeds(slot: u32, table: u32, verdict: u32, family: u32) -> u32 {
    let Some(member) = tree::member(kernel::tgid()) else { return 0 };
    if !verdict::begin(slot, &member) {
        return 0;
    }
    let verdict = pipe::unpack(verdict);
    let backend = act::by_signal(table, verdict, &member);
    emit::begin::<Connect>(slot, Kind::Connect, Op::Connect, &member);
    if let Some(head) = emit::head_of(slot) {
        emit::decided(head, table, verdict, backend);
    }
    emit::set_body(slot, Connect { family: family as u16, ..Connect::NOTHING });
    emit::send(slot);
    0
}
