//! Telling: records are put together in the slot's memory and copied into a ring buffer as long as they are.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_get_current_uid_gid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::maps::RingBuf;
use guard_common::event::{self, FLAG_AGENT_ENDED, Head, Kind};
use guard_common::tree::{COUNT_BULK_RING_FULL, COUNT_VERDICT_RING_FULL, Member};
use guard_common::walk::MAX_TEXT;
use guard_common::words::{Action, Backend, Op};

use crate::kernel::{self, masked};
use crate::maps::{BULK, RECORD_BYTES, VERDICTS, bulk_wake, count, offset, verdict_wake, work};
use crate::verdict::{self, Verdict};

/// Bytes of a head.
const HEAD: usize = size_of::<Head>();

/// Nanoseconds since boot.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// A head for the current task as `member`, without a verdict.
#[inline(always)]
pub fn head(kind: Kind, op: Op, member: &Member) -> Head {
    let pid_tgid = aya_ebpf::helpers::bpf_get_current_pid_tgid();
    let task = kernel::current();
    let parent: u64 = kernel::read_or_zero(task, offset!(task_real_parent));
    Head {
        time: now(),
        tree: member.tree,
        call: member.call,
        start: member.start,
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        ppid: kernel::read_or_zero(parent, offset!(task_tgid)),
        uid: bpf_get_current_uid_gid() as u32,
        generation: 0,
        rule: event::NO_RULE,
        kind: kind as u8,
        op: op as u8,
        action: Action::Allow as u8,
        scope: member.scope,
        backend: Backend::None as u8,
        flags: 0,
        agent: member.agent,
        _pad: [0; 3],
    }
}

/// Fills in what was decided under the policy in place `table` and how it was carried out.
#[inline(always)]
pub fn decided(head: &mut Head, table: u32, verdict: Verdict, backend: Backend) {
    head.generation = verdict::meta(table).map_or(0, |meta| meta.generation);
    head.rule = verdict.rule;
    head.action = verdict.action;
    head.backend = backend as u8;
    if backend as u8 != Backend::None as u8 {
        head.flags |= event::FLAG_ENFORCED;
    }
}

/// Whether a record belongs among the verdicts, where the bulk of allowed operations can't push it out.
#[inline(always)]
fn is_verdict(head: &Head) -> bool {
    let operation = [Kind::Open as u8, Kind::Connect as u8, Kind::Attempt as u8].contains(&head.kind);
    head.action != Action::Allow as u8 || !operation
}

/// Whether user space has something to do at once: somebody to tell, a call to end, a place to find, a session that
/// may be over.
#[inline(always)]
fn is_urgent(head: &Head) -> bool {
    let begins = [Kind::Enrol as u8, Kind::Moved as u8].contains(&head.kind);
    head.action != Action::Allow as u8 || begins || head.flags & FLAG_AGENT_ENDED != 0
}

/// Begins the slot's record with a head for the current task as `member`, and an empty body of type `T`.
#[inline(always)]
pub fn begin<T>(slot: u32, kind: Kind, op: Op, member: &Member) {
    let Some(work) = work(slot) else { return };
    // SAFETY: the slot has one user; the record is aligned to 8 and larger than head and body.
    unsafe {
        (&raw mut (*work).record).cast::<Head>().write(head(kind, op, member));
        (*work).record_len = (HEAD + size_of::<T>()) as u32;
    }
}

/// The head of the slot's record, to be changed in place.
#[inline(always)]
pub fn head_of(slot: u32) -> Option<&'static mut Head> {
    // SAFETY: the slot has one user, who holds one such reference at a time.
    work(slot).map(|work| unsafe { &mut *(&raw mut (*work).record).cast::<Head>() })
}

/// Writes the body, once the texts and their lengths are known.
#[inline(always)]
pub fn set_body<T: Copy>(slot: u32, body: T) {
    let Some(work) = work(slot) else { return };
    // SAFETY: as in `begin`.
    unsafe { (&raw mut (*work).record).cast::<u8>().add(HEAD).cast::<T>().write(body) };
}

/// Appends `len` (below 8,192) bytes at `from`, kernel memory; how many were appended: all, or none where
/// the memory could not be read.
#[inline(always)]
pub fn append_kernel(slot: u32, from: u64, len: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user. The offset is masked below half of the record's size and the length below
    // that, so the range ends inside; the helper checks the source.
    unsafe {
        let at = (*work).record_len;
        let to = (&raw mut (*work).record).cast::<u8>().add(masked(at, RECORD_BYTES as u32 / 2 - 1) as usize);
        if bpf_probe_read_kernel(to.cast(), masked(len, 0x1fff), from as *const _) != 0 {
            return 0;
        }
        (*work).record_len = at + len;
    }
    len
}

/// Appends `len` (below 32,768) bytes at `from`, memory of the current process; how many were appended.
#[inline(always)]
pub fn append_user(slot: u32, from: u64, len: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: as in `append_kernel`.
    unsafe {
        let at = (*work).record_len;
        let to = (&raw mut (*work).record).cast::<u8>().add(masked(at, RECORD_BYTES as u32 / 2 - 1) as usize);
        if bpf_probe_read_user(to.cast(), masked(len, 0x7fff), from as *const _) != 0 {
            return 0;
        }
        (*work).record_len = at + len;
    }
    len
}

/// Appends `text[start..]` up to the end of the path buffer; how many bytes that was.
#[inline(always)]
pub fn append_path(slot: u32, start: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    let end = MAX_TEXT as u32;
    if start >= end {
        return 0;
    }
    // SAFETY: only an address is computed; the helper behind it checks it.
    let from = unsafe { (&raw const (*work).walk.text).cast::<u8>().add(masked(start, MAX_TEXT as u32 - 1) as usize) }
        as u64;
    append_kernel(slot, from, end - start)
}

/// Sends the slot's record.
#[inline(always)]
pub fn send(slot: u32) {
    let Some(work) = work(slot) else { return };
    // SAFETY: the slot has one user.
    let (record, len, head) = unsafe {
        let record = (&raw mut (*work).record).cast::<u8>();
        (record, (*work).record_len, &*record.cast::<Head>())
    };
    let (is_verdict, urgent) = (is_verdict(head), is_urgent(head));
    // SAFETY: the slot has one user, and the length is masked to the record's size.
    let record = unsafe { core::slice::from_raw_parts(record, masked(len, RECORD_BYTES as u32 - 1) as usize) };
    output(record, is_verdict, urgent);
}

/// Sends a record that is all head.
#[inline(always)]
pub fn send_head(head: &Head) {
    // SAFETY: a head is plain bytes without padding.
    let record = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(head).cast::<u8>(), HEAD) };
    output(record, is_verdict(head), is_urgent(head));
}

/// Sends a record made of head and body, from the stack.
#[inline(always)]
pub fn send_with<T: Copy>(head: &Head, body: T) {
    #[repr(C)]
    struct Record<T> {
        head: Head,
        body: T,
    }
    let whole = Record { head: *head, body };
    // SAFETY: both are plain bytes without padding, of sizes that are multiples of 4.
    let record = unsafe { core::slice::from_raw_parts((&raw const whole).cast::<u8>(), size_of::<Record<T>>()) };
    output(record, is_verdict(head), is_urgent(head));
}

/// Copies a record into its ring buffer, or counts that it did not fit.
///
/// Waking the reader costs more than everything else about a record, and it looks by itself often enough. So it is
/// woken at once for what it has to act on, and for the rest only when another so many bytes have gathered.
#[inline(always)]
fn output(record: &[u8], is_verdict: bool, urgent: bool) {
    let (ring, wake, counter): (&RingBuf, u64, u32) = if is_verdict {
        (&VERDICTS, verdict_wake(), COUNT_VERDICT_RING_FULL)
    } else {
        (&BULK, bulk_wake(), COUNT_BULK_RING_FULL)
    };
    let waiting = ring.query(u64::from(BPF_RB_AVAIL_DATA));
    let crosses = (waiting ^ (waiting + record.len() as u64)) & !(wake - 1) != 0;
    let flags = if urgent || crosses { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    if ring.output::<[u8]>(record, u64::from(flags)).is_err() {
        count(counter);
    }
}
