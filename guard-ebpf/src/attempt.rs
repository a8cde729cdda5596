//! An attempt on objects that have names: what is judged about them, and what is told.
//!
//! The hooks ([`crate::entry`], [`crate::target`]) say what is attempted on what. An object is judged under each of its
//! names ([`crate::names`]), the stricter verdict counts, and of several operations that an attempt comes to, the one with
//! the strictest verdict is told.
//!
//! A move is an attempt on what is moved as well: it must not take a denial away from it, nor bring it where it could not
//! have been put. A file's two names are compared by their verdicts, a folder's by what [`guard_common::below`] says of
//! its inside.
//!
//! Where no hook is asked, the call is judged once it has succeeded ([`crate::called`]), perhaps by the names that it was
//! [given](crate::given).
//!
//! The steps are functions of their own to the verifier, as in [`crate::exec`], called one after the other so that their
//! stacks don't add up.

use guard_common::below::{BROUGHT, Inside, MOVED, bit};
use guard_common::event::{self, FLAG_PATH_UNKNOWN, Kind};
use guard_common::table::NO_OWN_RULE;
use guard_common::walk::{FACT_OBJECT_UNKNOWN, INTO_OBJECT};
use guard_common::words::{Action, Backend, How, OP_ROWS, Op};

use crate::kernel::{self, is_folder, masked, read_or_zero};
use crate::maps::{offset, work};
use crate::path::{self, Resolved};
use crate::verdict::{self, Verdict};
use crate::{act, emit, given, inside, names, pipe, tree};

/// Operations that are judged here.
const OPS: u32 = 16;
const _: () = assert!((Op::Outlive as u32) < OPS && OPS <= OP_ROWS as u32);

/// The first object, or the old name of what is moved.
pub const OLD: u32 = 0;
/// The new name.
pub const NEW: u32 = 1;

/// Beside operations that are noted: the object is an executable. One that is in memory alone could call itself anything.
pub const EXECUTABLE: u32 = 1 << 31;

/// A directory entry on a mount.
#[repr(C)]
#[derive(Clone, Copy)]
struct Object {
    dentry: u64,
    mnt: u64,
}

/// What is known of an attempt so far.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Attempt {
    objects: [Object; 2],
    /// What is denied inside of each.
    inside: [Inside; 2],
    /// For both, the denial of each operation, packed; 0 where it is not denied. Then the same of their insides.
    denials: [[u32; OPS as usize]; 4],
    /// Operations that are denied, while they are being looked at, a bit each.
    denied: u32,
    /// The strictest verdict so far, packed.
    verdict: u32,
    /// The operation that it is about.
    op: u32,
    /// `FLAG_*` bits.
    flags: u32,
    /// Not 0: there is a policy to judge by.
    judged: u32,
    /// Padding.
    _pad: u32,
    /// The body of the record.
    body: event::Attempt,
}

/// Row of [`Attempt::denials`] of an object.
#[inline(always)]
fn row_of(which: u32) -> usize {
    masked(which, 1) as usize
}

/// Row of an object's inside.
#[inline(always)]
fn row_inside(which: u32) -> usize {
    2 + masked(which, 1) as usize
}

/// The attempt in the slot.
#[inline(always)]
fn attempt(slot: u32) -> Option<&'static mut Attempt> {
    // SAFETY: the slot has one user, and the functions below hold one such reference at a time.
    work(slot).map(|work| unsafe { &mut (*work).attempt })
}

/// Begins with an attempt of the current process, called for as `how`; `op` is told if nothing stricter is found.
#[inline(always)]
pub fn begin(slot: u32, how: How, op: Op) {
    begin_attempt(slot, how as u32, op as u32);
}

/// The same, by their numbers.
#[inline(always)]
pub fn begin_numbered(slot: u32, how: u32, op: u32) {
    begin_attempt(slot, how, op);
}

/// See [`begin`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin_attempt(slot: u32, how: u32, op: u32) -> u32 {
    let (Some(work), Some(member)) = (work(slot), tree::member(kernel::tgid())) else { return 0 };
    let judged = verdict::begin(slot, &member);
    emit::begin::<event::Attempt>(slot, Kind::Attempt, Op::Create, &member);
    // SAFETY: as in `attempt`.
    let attempt = unsafe { &mut (*work).attempt };
    attempt.denials = [[0; OPS as usize]; 4];
    attempt.verdict = pipe::pack(if judged { Verdict::FINE } else { Verdict::UNJUDGED });
    attempt.op = op;
    attempt.flags = 0;
    attempt.judged = u32::from(judged);
    attempt.body = event::Attempt { how, target: 0, signal: 0, path_len: 0, new_path_len: 0, _pad: 0 };
    0
}

/// Says what it is attempted on.
#[inline(always)]
pub fn on(slot: u32, which: u32, dentry: u64, mnt: u64) {
    if let Some(attempt) = attempt(slot) {
        attempt.objects[masked(which, 1) as usize] = Object { dentry, mnt };
    }
}

/// The same of a `struct path`.
#[inline(always)]
pub fn on_path(slot: u32, which: u32, path: u64) {
    on(slot, which, read_or_zero(path, offset!(path_dentry)), read_or_zero(path, offset!(path_mnt)));
}

/// The same of what a file shows.
#[inline(always)]
pub fn on_file(slot: u32, which: u32, file: u64) {
    on(slot, which, read_or_zero(file, offset!(file_dentry)), read_or_zero(file, offset!(file_mnt)));
}

/// Names the process that it is attempted on, and the signal.
#[inline(always)]
pub fn on_process(slot: u32, target: u32, signal: u32) {
    if let Some(attempt) = attempt(slot) {
        attempt.body.target = target;
        attempt.body.signal = signal;
    }
}

/// Judges an object by its names: `ops` are the operations that the attempt comes to, a bit each. Denials of `noted` ones
/// are kept, whether or not the attempt comes to them.
#[inline(always)]
pub fn judge(slot: u32, which: u32, ops: u32, noted: u32) {
    judge_object(slot, which, ops, noted);
}

/// See [`judge`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_object(slot: u32, which: u32, ops: u32, noted: u32) -> u32 {
    let Some(attempt) = attempt(slot) else { return 0 };
    let Object { dentry, mnt } = attempt.objects[masked(which, 1) as usize];
    let mut path = path::resolve(slot, dentry, mnt);
    if attempt.judged == 0 {
        return 0;
    }
    if path.pathless() {
        if noted & EXECUTABLE == 0 {
            return 0;
        }
        path = Resolved::NOTHING;
    }
    let len = emit::append_path(slot, path.start());
    if which == OLD {
        attempt.body.path_len = len;
    } else {
        attempt.body.new_path_len = len;
    }
    if path.unknown() {
        attempt.flags |= u32::from(FLAG_PATH_UNKNOWN);
    }
    verdict::clear(slot);
    if !path.unknown() {
        verdict::add_path(slot, path.start(), INTO_OBJECT);
    }
    let more = !given::climbs(slot) && names::may_be_more(mnt, path);
    // In its first moments the mounts that a session began with are not known: there the path is one of the names.
    let settled = more && settled(slot);
    if !more || settled {
        weigh(slot, which, ops, noted, u32::from(path.unknown()));
    }
    if more {
        if settled {
            verdict::clear(slot);
        }
        let other = names::add(slot, dentry, mnt, path.partial());
        if !other.pathless() {
            weigh(slot, which, ops, noted, u32::from(other.unknown() || !settled && path.unknown()));
        } else if !settled {
            weigh(slot, which, ops, noted, u32::from(path.unknown()));
        }
    }
    0
}

/// Whether the mounts that the tree began with are known already.
#[inline(always)]
fn settled(slot: u32) -> bool {
    // SAFETY: the slot has one user.
    work(slot).is_some_and(|work| names::settled(unsafe { (*work).tree }))
}

/// Takes in the verdicts on an object from what was collected about it: on `ops`, and what of `noted` is denied.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh(slot: u32, which: u32, ops: u32, noted: u32, unknown: u32) -> u32 {
    let (Some(attempt), Some(member)) = (attempt(slot), tree::member(kernel::tgid())) else { return 0 };
    let facts = if unknown != 0 { FACT_OBJECT_UNKNOWN } else { 0 };
    let mut op = 0;
    while op < OPS {
        if (ops | noted) >> op & 1 != 0 {
            let verdict = verdict::of_number(slot, op, member.scope, facts);
            if verdict.denies() {
                attempt.denials[row_of(which)][masked(op, OPS - 1) as usize] = pipe::pack(verdict);
            }
            if ops >> op & 1 != 0 {
                decide(attempt, verdict, op);
            }
        }
        op += 1;
    }
    0
}

/// Takes a verdict if it is stricter than what there is.
#[inline(always)]
fn decide(attempt: &mut Attempt, verdict: Verdict, op: u32) {
    if verdict.action > pipe::unpack(attempt.verdict).action {
        attempt.verdict = pipe::pack(verdict);
        attempt.op = op;
    }
}

/// What is made under a name counts as written where that is denied; where it would only be told, the opening tells.
#[inline(always)]
pub fn judge_making(slot: u32) {
    if let Some(attempt) = attempt(slot) {
        let denial = attempt.denials[OLD as usize][Op::Write as usize];
        if denial != 0 {
            decide(attempt, pipe::unpack(denial), Op::Write as u32);
        }
    }
}

/// Judges what is moved from one of its names to the other. Both have been [judged](judge) by themselves, with what is [`MOVED`]
/// noted.
#[inline(always)]
pub fn judge_move(slot: u32, from: u32, to: u32) {
    let Some(attempt) = attempt(slot) else { return };
    if is_folder(attempt.objects[masked(from, 1) as usize].dentry) {
        look_inside(slot, from);
        look_inside(slot, to);
        compare_insides(slot, from, to);
    }
    compare(slot, from, to);
}

/// The same of what is taken for a file: what its inside may hold is not looked at.
#[inline(always)]
pub fn judge_move_of_file(slot: u32, from: u32, to: u32) {
    compare(slot, from, to);
}

/// Compares the two names themselves.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn compare(slot: u32, from: u32, to: u32) -> u32 {
    let Some(attempt) = attempt(slot) else { return 0 };
    let mut op = 0;
    while op < OPS {
        let at = masked(op, OPS - 1) as usize;
        let denial = attempt.denials[row_of(from)][at];
        if MOVED >> op & 1 != 0 && denial != 0 && attempt.denials[row_of(to)][at] == 0 {
            decide(attempt, pipe::unpack(denial), op);
        }
        op += 1;
    }
    0
}

/// Compares what is inside of two folders.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn compare_insides(slot: u32, from: u32, to: u32) -> u32 {
    let Some(attempt) = attempt(slot) else { return 0 };
    let (old, new) = (attempt.inside[masked(from, 1) as usize], attempt.inside[masked(to, 1) as usize]);
    let (lost, brought) = (old.lost(&new), old.brought(&new));
    let mut op = 0;
    while op < OPS {
        let at = masked(op, OPS - 1) as usize;
        if lost >> op & 1 != 0 {
            decide(attempt, pipe::unpack(attempt.denials[row_inside(from)][at]), op);
        } else if brought >> op & 1 != 0 {
            decide(attempt, pipe::unpack(attempt.denials[row_inside(to)][at]), op);
        }
        op += 1;
    }
    0
}

/// Finds out what is denied inside of a folder, by its names.
#[inline(always)]
fn look_inside(slot: u32, which: u32) {
    let unknown = collect_inside(slot, which);
    inside::lead_from_nodes(slot);
    weigh_inside(slot, which, unknown);
}

/// Collects the rules that say something of what is inside of a folder; not 0 where its names are not known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn collect_inside(slot: u32, which: u32) -> u32 {
    let Some(attempt) = attempt(slot) else { return 1 };
    let Object { dentry, mnt } = attempt.objects[masked(which, 1) as usize];
    inside::clear(slot);
    let path = path::resolve(slot, dentry, mnt);
    if path.unknown() {
        return 1;
    }
    inside::add(slot, path.start());
    if names::may_be_more(mnt, path) {
        return u32::from(names::add_inside(slot, dentry, mnt, path.partial()).unknown());
    }
    0
}

/// Decides on what is inside of a folder, from what was collected about it.
#[inline(always)]
fn weigh_inside(slot: u32, which: u32, unknown: u32) {
    // What is not known is like nothing else, not even itself.
    let signature = inside::take_stock(slot);
    let signature = if unknown != 0 { u64::from(which) } else { signature };
    inside::suppose(slot, 0);
    note_denied(slot, which, unknown);
    if let Some(attempt) = attempt(slot) {
        let inside = &mut attempt.inside[masked(which, 1) as usize];
        (inside.all, inside.signature) = (attempt.denied, signature);
    }
    inside::suppose(slot, 1);
    note_denied(slot, which, unknown);
    if let Some(attempt) = attempt(slot) {
        attempt.inside[masked(which, 1) as usize].some = attempt.denied;
    }
}

/// Notes the operations that are denied by what was collected, and their verdicts as those of an object's inside. In memory,
/// so that to the verifier every operation begins alike.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_denied(slot: u32, which: u32, unknown: u32) -> u32 {
    let (Some(attempt), Some(member)) = (attempt(slot), tree::member(kernel::tgid())) else { return 0 };
    let facts = if unknown != 0 { FACT_OBJECT_UNKNOWN } else { 0 };
    attempt.denied = 0;
    let denied = &raw mut attempt.denied;
    let mut op = 0;
    while op < OPS {
        if (MOVED | BROUGHT) >> op & 1 != 0 {
            let verdict = verdict::of_number(slot, op, member.scope, facts);
            if verdict.denies() {
                // SAFETY: from a unique reference.
                unsafe { denied.write_volatile(denied.read_volatile() | 1 << op) };
                attempt.denials[row_inside(which)][masked(op, OPS - 1) as usize] = pipe::pack(verdict);
            }
        }
        op += 1;
    }
    0
}

/// Carries the verdict out, and tells; whether the attempt is refused.
#[inline(always)]
pub fn conclude(slot: u32) -> bool {
    conclude_attempt(slot, Backend::Lsm as u32) != 0
}

/// The same, where it is too late to refuse: who is denied is killed.
#[inline(always)]
pub fn conclude_late(slot: u32) {
    conclude_attempt(slot, Backend::Signal as u32);
}

/// See [`conclude`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude_attempt(slot: u32, by: u32) -> u32 {
    let (Some(work), Some(member)) = (work(slot), tree::member(kernel::tgid())) else { return 0 };
    // SAFETY: the slot has one user.
    let (attempt, table) = unsafe { (&(*work).attempt, (*work).table) };
    let verdict = pipe::unpack(attempt.verdict);
    let by = if by == Backend::Lsm as u32 { Backend::Lsm } else { Backend::Signal };
    let backend = act::by(by, table, verdict, &member);
    if let Some(head) = emit::head_of(slot) {
        head.op = attempt.op as u8;
        head.flags = attempt.flags as u8;
        emit::decided(head, table, verdict, backend);
    }
    emit::set_body(slot, attempt.body);
    emit::send(slot);
    u32::from(backend as u8 == Backend::Lsm as u8)
}

/// An attempt on what guard itself works with: refused by its own rule.
#[inline(always)]
pub fn on_own(slot: u32, how: How, op: Op) -> bool {
    begin(slot, how, op);
    refuse_own(slot);
    conclude(slot)
}

/// See [`on_own`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refuse_own(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (attempt, table) = unsafe { (&mut (*work).attempt, (*work).table) };
    if let Some(meta) = verdict::meta(table)
        && meta.own_rule != NO_OWN_RULE
    {
        attempt.verdict = pipe::pack(Verdict { action: Action::Deny as u8, rule: meta.own_rule as u16 });
    }
    0
}

/// An attempt on one object that comes to one operation.
#[inline(always)]
pub fn simple(slot: u32, how: How, op: Op, dentry: u64, mnt: u64) -> bool {
    begin(slot, how, op);
    on(slot, OLD, dentry, mnt);
    judge(slot, OLD, bit(op), 0);
    conclude(slot)
}

/// The same, where the object is what a file shows.
#[inline(always)]
pub fn simple_file(slot: u32, how: How, op: Op, file: u64) -> bool {
    judge_file(slot, how, op, file);
    conclude(slot)
}

/// The same, where it is too late to refuse: who is denied is killed.
#[inline(always)]
pub fn late_file(slot: u32, how: How, op: Op, file: u64) {
    judge_file(slot, how, op, file);
    conclude_late(slot);
}

/// Judges an attempt on what a file shows.
#[inline(always)]
fn judge_file(slot: u32, how: How, op: Op, file: u64) {
    begin(slot, how, op);
    on_file(slot, OLD, file);
    judge(slot, OLD, bit(op), 0);
}
