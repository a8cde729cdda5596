//! What pipes carry: whether a program that takes its orders from one would take them from the network.
//!
//! `curl | sh` starts two programs in any order, so both ends are remembered by the pipe. A process that speaks to the
//! network marks every pipe that it can write to, and does so again whenever it makes or opens one from then on; a program
//! that may not take its orders from the network marks those that it takes them from. Whichever comes second is stopped. A
//! program between two pipes passes the mark on: `curl | gunzip | sh`.
//!
//! All of it is done only where a rule asks for it. Of a process's descriptors, the first 64 are looked at.

use aya_ebpf::bindings::BPF_NOEXIST;
use guard_common::event::NO_RULE;
use guard_common::tree::{COUNT_PIPES_FULL, Id, MEMBER_NETWORK, Member, Pipe, PipeKey};
use guard_common::walk::FACT_NETWORK_STDIN;
use guard_common::words::{Action, Op};

use crate::kernel::{self, masked, read, read_or_zero};
use crate::maps::{MEMBERS, PIPES, count, fence, offset};
use crate::net::{AF_INET, AF_INET6, AF_UNIX};
use crate::verdict::{self, Verdict};

/// Pipes that a chain of programs is followed through.
const MAX_CHAIN: u32 = 4;
/// Ancestors that may have what they got from the network written into a pipe.
const MAX_ANCESTORS: u32 = 3;

/// Whether some rule of the policy in place `table` asks where standard input comes from.
#[inline(always)]
fn followed(table: u32) -> bool {
    verdict::meta(table).is_some_and(|meta| meta.follows_pipes != 0)
}

/// What is known of a pipe in a tree; `None` (and counted) where there is no room for it.
#[inline(always)]
fn known(tree: Id, inode: u64) -> Option<*mut Pipe> {
    let key = PipeKey { tree, inode };
    if let Some(entry) = PIPES.get_ptr_mut(key) {
        return Some(entry);
    }
    // Where another CPU has made the entry at this moment, it is that one that counts.
    let made = PIPES.insert(key, Pipe { network: 0, reader: 0, next: 0 }, u64::from(BPF_NOEXIST));
    let entry = PIPES.get_ptr_mut(key);
    if made.is_err() && entry.is_none() {
        count(COUNT_PIPES_FULL);
    }
    entry
}

/// Writes one word of what is known of a pipe, so that whoever writes another afterwards sees it.
#[inline(always)]
fn write(word: *mut u64, value: u64) {
    // SAFETY: an aligned word of a map value. Entries are forgotten by user space, and then stay memory of the map, which
    // is preallocated: at worst a pipe that nobody holds any more is marked.
    unsafe { word.write_volatile(value) };
    fence(word);
}

/// Reads one word of what is known of a pipe.
#[inline(always)]
fn read_word(word: *const u64) -> u64 {
    // SAFETY: as in `write`.
    unsafe { word.read_volatile() }
}

/// A verdict as a number, for functions that the verifier checks by themselves.
#[inline(always)]
pub fn pack(verdict: Verdict) -> u32 {
    u32::from(verdict.action) << 16 | u32::from(verdict.rule)
}

/// The verdict again.
#[inline(always)]
pub fn unpack(packed: u32) -> Verdict {
    Verdict { action: (packed >> 16) as u8, rule: packed as u16 }
}

/// Nothing to object to.
const FINE: u32 = (Action::Allow as u32) << 16 | NO_RULE as u32;

/// A verdict as a pipe's [`Pipe::reader`]: with the policy by which it was made.
#[inline(always)]
fn with_generation(verdict: u32) -> u64 {
    let generation = verdict::meta(verdict::active()).map_or(0, |meta| meta.generation);
    u64::from(generation) << 32 | u64::from(verdict)
}

/// The verdict again. That of a policy which is not in force any more stands, but its rule can't be named.
#[inline(always)]
fn of_generation(reader: u64) -> u32 {
    let current = verdict::meta(verdict::active()).is_some_and(|meta| u64::from(meta.generation) == reader >> 32);
    let verdict = reader as u32;
    if current || verdict == 0 { verdict } else { verdict & 0xffff_0000 | u32::from(NO_RULE) }
}

/// What a pipe carries comes from the network, and so does what is made of it. The verdict on that, packed: a program
/// that may not take its orders from there may read it already.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mark_pipe(tree: Id, pipe: u64) -> u32 {
    let mut verdict = FINE;
    let mut at = pipe;
    let mut step = 0;
    while step < MAX_CHAIN {
        step += 1;
        let Some(entry) = known(tree, at) else { break };
        // SAFETY: only addresses are computed.
        let (network, reader, next) =
            unsafe { (&raw mut (*entry).network, &raw const (*entry).reader, &raw const (*entry).next) };
        write(network, 1);
        let waiting = of_generation(read_word(reader));
        if waiting >> 16 > verdict >> 16 {
            verdict = waiting;
        }
        at = read_word(next);
        if at == 0 {
            break;
        }
    }
    verdict
}

/// Marks the pipes that `task` can write to; the verdict on that, packed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mark_pipes(tree: Id, task: u64) -> u32 {
    let mut verdict = FINE;
    let Some((array, open)) = kernel::low_descriptors(task) else { return verdict };
    let mut descriptor = 0;
    while descriptor < u64::BITS {
        if open >> descriptor & 1 != 0
            && let Some(pipe) = kernel::pipe_written_at(array, descriptor)
        {
            let marked = mark_pipe(tree, pipe);
            if marked >> 16 > verdict >> 16 {
                verdict = marked;
            }
        }
        descriptor += 1;
    }
    verdict
}

/// Whether `task` can write to `pipe`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn can_write(task: u64, pipe: u64) -> u32 {
    let Some((array, open)) = kernel::low_descriptors(task) else { return 0 };
    let mut descriptor = 0;
    while descriptor < u64::BITS {
        if open >> descriptor & 1 != 0 && kernel::pipe_written_at(array, descriptor) == Some(pipe) {
            return 1;
        }
        descriptor += 1;
    }
    0
}

/// The current process speaks to the network: what it writes into pipes comes from there. The verdict on that, packed.
#[inline(always)]
pub fn spoke(table: u32, member: &Member, task: u64) -> Option<u32> {
    if !followed(table) {
        return None;
    }
    if let Some(entry) = MEMBERS.get_ptr_mut(kernel::tgid()) {
        // SAFETY: entries are only removed once the process is gone. A thread that executes at this moment replaces the
        // entry, and has the others end.
        unsafe { (*entry).flags |= MEMBER_NETWORK };
    }
    let verdict = mark_pipes(member.tree, task);
    (verdict != FINE).then_some(verdict)
}

/// The current process, which has spoken to the network, has got a pipe. What it writes there comes from the network, and
/// may be all written, and the descriptor closed, before the reader is executed. At a pipe that it has just made nobody
/// waits yet, but at one with a name, or that it was handed since it spoke, somebody may: the verdict on that,
/// packed.
#[inline(always)]
pub fn got(table: u32, member: &Member, task: u64) -> Option<u32> {
    if !followed(table) {
        return None;
    }
    let verdict = mark_pipes(member.tree, task);
    (verdict != FINE).then_some(verdict)
}

/// Whether one of the processes that the current one descends from has spoken to the network and can write to `pipe`.
/// Where that is 0, standard input is no pipe but a socket, and it is enough that the parent has spoken.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fed_by_ancestor(task: u64, pipe: u64) -> u32 {
    let mut at = task;
    let mut step = 0;
    while step < MAX_ANCESTORS {
        step += 1;
        at = read_or_zero(at, offset!(task_real_parent));
        let tgid: u32 = read_or_zero(at, offset!(task_tgid));
        // A process that is no member is outside of the tree, and so is all that it descends from.
        let Some(entry) = MEMBERS.get_ptr(tgid) else { return 0 };
        // SAFETY: freed entries of a preallocated map stay memory of the map; a wrong answer needs a parent that ends
        // at this very moment.
        let flags = unsafe { (*entry).flags };
        if flags & MEMBER_NETWORK != 0 && (pipe == 0 || can_write(at, pipe) != 0) {
            return 1;
        }
        if pipe == 0 {
            return 0;
        }
    }
    0
}

/// Decides an exec, the origin of what the program takes its orders from included.
///
/// `before` are the process's `MEMBER_*` bits before the exec; `named` gives the descriptor that the command line names
/// as a script (`/dev/fd/63`), or [`NONE_NAMED`].
#[inline(always)]
pub fn decide(
    slot: u32,
    table: u32,
    task: u64,
    member: &Member,
    (before, facts): (u32, u32),
    named: impl FnOnce() -> u32,
) -> Verdict {
    let verdict = verdict::of(slot, Op::Exec, member.scope, facts);
    if !followed(table) {
        return verdict;
    }
    let input = kernel::pipe_of(task, 0);
    let if_network = verdict::of(slot, Op::Exec, member.scope, facts | FACT_NETWORK_STDIN);
    if if_network.action < Action::Deny as u8 || if_network.rule == verdict.rule || if_network.rule == NO_RULE {
        // It is allowed to read from wherever it likes; whoever reads what it writes may not be.
        if let (Some(input), Some(output)) = (input, kernel::pipe_of(task, 1)) {
            let through = unpack(pass_on(member.tree, input, output));
            if through.action > verdict.action {
                return through;
            }
        }
        return verdict;
    }
    let packed = pack(if_network);
    let named = named();
    let network = before & u32::from(MEMBER_NETWORK) != 0 && input.is_some()
        || input.is_some_and(|pipe| takes_orders(member.tree, task, pipe, packed) != 0)
        || named != NONE_NAMED
            && kernel::pipe_of(task, named).is_some_and(|pipe| takes_orders(member.tree, task, pipe, packed) != 0)
        || input.is_none() && fed_by_socket(task);
    if network { if_network } else { verdict }
}

/// No script is named by its descriptor.
pub const NONE_NAMED: u32 = u32::MAX;

/// A program takes its orders from `pipe`, and may not if they come from the network: not 0 if they do. Else the pipe
/// remembers the `verdict`, for whoever speaks to the network and can write to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn takes_orders(tree: Id, task: u64, pipe: u64, verdict: u32) -> u32 {
    // Without room for the mark, it is not known where the orders will come from.
    let Some(entry) = known(tree, pipe) else { return 1 };
    // SAFETY: only addresses are computed.
    let (network, reader) = unsafe { (&raw const (*entry).network, &raw mut (*entry).reader) };
    if read_word(network) != 0 || fed_by_ancestor(task, pipe) != 0 {
        return 1;
    }
    write(reader, with_generation(verdict));
    u32::from(read_word(network) != 0)
}

/// A program stands between two pipes. The verdict on what may come out of the second, packed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pass_on(tree: Id, input: u64, output: u64) -> u32 {
    // Without room, the second pipe is taken for the beginning.
    let Some(entry) = known(tree, input) else { return FINE };
    // SAFETY: only addresses are computed.
    let (network, next) = unsafe { (&raw const (*entry).network, &raw mut (*entry).next) };
    write(next, output);
    if read_word(network) != 0 { mark_pipe(tree, output) } else { FINE }
}

/// Whether standard input is a connection to the network, or a socket of a parent that has one: some runtimes make
/// socket pairs where others make pipes.
#[inline(always)]
fn fed_by_socket(task: u64) -> bool {
    let Some(sock) = kernel::sock_of(task, 0) else { return false };
    match read::<u16>(sock, offset!(sock_family)) {
        Some(AF_INET | AF_INET6) => true,
        Some(AF_UNIX) => fed_by_ancestor(task, 0) != 0,
        _ => false,
    }
}

/// The descriptor that a path like `/dev/fd/63` or `/proc/self/fd/63` names, or [`NONE_NAMED`]. `text` holds at least
/// 32 bytes, `len` of them in use.
#[inline(always)]
pub fn named_by(text: *const u8, len: u32) -> u32 {
    // SAFETY: the index is masked below 32.
    let byte = |index: u32| unsafe { *text.add(masked(index, 31) as usize) };
    let begins = |name: &[u8]| {
        let mut i = 0;
        while i < name.len() {
            if byte(i as u32) != name[i] {
                return false;
            }
            i += 1;
        }
        true
    };
    let mut at = if begins(b"/dev/fd/") {
        8
    } else if begins(b"/proc/self/fd/") {
        14
    } else {
        return NONE_NAMED;
    };
    let mut number = 0;
    let mut digits = 0;
    while digits < 4 {
        if at >= len {
            break;
        }
        let digit = u32::from(byte(at)).wrapping_sub(u32::from(b'0'));
        if digit > 9 {
            return NONE_NAMED;
        }
        number = number * 10 + digit;
        at += 1;
        digits += 1;
    }
    if digits == 0 || at < len { NONE_NAMED } else { number }
}
