//! What the policy says of an object: the walks over its texts and the decision.
//!
//! Each step is a function of its own to the verifier, called with numbers only: it is checked once, for any
//! state of the working memory, instead of again at every call and for every path that leads there.

use guard_common::event::NO_RULE as NO_RULE_16;
use guard_common::table::{
    Automaton, Block, FAMILY_ARGV, FAMILY_PATH, FAMILY_ROWS, MAX_AUTOMATA, MAX_BLOCKS, MAX_LIST_LEN, Meta, NO_WORD,
    NODE_HOME, NODE_REPO, NODE_ROOT, RULE_WORDS,
};
use guard_common::tree::{COUNT_POLICY_MISSING, KnownClasses, Member};
use guard_common::walk::{self, FACT_CLASSES_UNKNOWN, INTO_ARGV, MAX_CHUNKS, MAX_TEXT, NO_RULE, TEXT_BYTES, Who};
use guard_common::words::{Action, Op};

use crate::kernel::masked;
use crate::maps::{ACTIVE, PHASES, RECLASSED, TABLES, count, work};
use crate::place::below_place;

/// A decision: the action, and the rule it comes from.
#[derive(Clone, Copy)]
pub struct Verdict {
    /// [`Action`] as a number.
    pub action: u8,
    /// The rule, or [`guard_common::event::NO_RULE`].
    pub rule: u16,
}

impl Verdict {
    /// What can't be judged is not let through.
    pub const UNJUDGED: Self = Self { action: Action::Deny as u8, rule: NO_RULE_16 };

    /// Nothing to object to.
    pub const FINE: Self = Self { action: Action::Allow as u8, rule: NO_RULE_16 };

    /// Whether something is to be prevented.
    #[inline(always)]
    pub fn denies(self) -> bool {
        self.action >= Action::Deny as u8
    }
}

/// The meta block of the policy in place `table`.
#[inline(always)]
pub fn meta(table: u32) -> Option<&'static Meta> {
    TABLES.get_value(table, &0).map(|words| Meta::of(Block::of(words)))
}

/// The automaton in `block` of the policy in place `table`.
#[inline(always)]
pub fn automaton(table: u32, block: u32) -> Option<&'static Automaton> {
    if block >= MAX_BLOCKS as u32 {
        return None;
    }
    TABLES.get_value(table, &block).map(|words| Automaton::of(Block::of(words)))
}

/// The place of the policy now in force.
#[inline(always)]
pub fn active() -> u32 {
    ACTIVE.get(0).map_or(0, |active| *active & 1)
}

/// The place of a policy that is about to be in force. What is found out at exec is found out by that one too.
#[inline(always)]
pub fn pending() -> Option<u32> {
    ACTIVE.get(1).and_then(|next| next.checked_sub(1)).map(|place| place & 1)
}

/// Chooses the policy this run goes by, the tree whose places anchor patterns, and who is judged; false (and counted)
/// if there is no policy.
#[inline(always)]
pub fn begin(slot: u32, member: &Member) -> bool {
    let Some(work) = work(slot) else { return false };
    let table = active();
    // SAFETY: the slot has one user.
    unsafe {
        (*work).table = table;
        (*work).tree = member.tree;
    }
    let Some(meta) = meta(table) else {
        count(COUNT_POLICY_MISSING);
        return false;
    };
    // SAFETY: as above.
    unsafe { (*work).who = who(meta, table, member) };
    true
}

/// What rules ask of a member, by the policy in place `table`, whose `meta` it is.
#[inline(always)]
pub fn who(meta: &Meta, table: u32, member: &Member) -> Who {
    let mut who = Who { classes: 0, phase: 0, facts: 0 };
    if meta.class_word != NO_WORD {
        let mut known = in_place(&member.classes, table);
        if known.generation != meta.generation {
            // SAFETY: entries are replaced whole.
            if let Some(later) = unsafe { RECLASSED.get(member.image) } {
                known = in_place(later, table);
            }
        }
        if known.generation == meta.generation {
            who.classes = known.classes;
        } else {
            who.facts = FACT_CLASSES_UNKNOWN;
        }
    }
    if meta.phases > 1 {
        // SAFETY: a number is written whole.
        let phase = unsafe { PHASES.get(member.tree) }.copied().unwrap_or(0);
        who.phase = phase.min(meta.phases - 1);
    }
    who
}

/// The classes by the policy in place `table`. 5.10 and 6.1 know no index into the stack but a constant.
#[inline(always)]
fn in_place(classes: &[KnownClasses; 2], table: u32) -> KnownClasses {
    if table == 0 { classes[0] } else { classes[1] }
}

/// Classes of the executable whose path was collected, by the policy of this run.
#[inline(always)]
pub fn classes(slot: u32) -> KnownClasses {
    let nothing = KnownClasses { classes: 0, generation: 0, _pad: 0 };
    let Some(work) = work(slot) else { return nothing };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&(*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return nothing };
    let word = meta.class_word;
    let classes = if word == NO_WORD { 0 } else { matches.object[masked(word, RULE_WORDS as u32 - 1) as usize] };
    KnownClasses { classes, generation: meta.generation, _pad: 0 }
}

/// The phases whose marker commands were collected, a bit each.
#[inline(always)]
pub fn marked(slot: u32) -> u64 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&(*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    if meta.marker_word == NO_WORD {
        return 0;
    }
    matches.argv[masked(meta.marker_word, RULE_WORDS as u32 - 1) as usize]
}

/// Of the rules of a word, those that are about who is judged: see [`walk::about`]. `phase` carries the facts in its
/// upper 16 bits.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rules_about(table: u32, classes: u64, phase: u32, word: u32) -> u64 {
    let Some(meta) = meta(table) else { return 0 };
    walk::about(meta, &Who { classes, phase: phase & 0xffff, facts: phase >> 16 }, word as usize)
}

/// The same, of somebody.
#[inline(always)]
pub fn about(table: u32, who: &Who, word: u32) -> u64 {
    rules_about(table, who.classes, who.facts << 16 | who.phase, word)
}

/// Fires the segments of the lists of each automaton, 16 bits from the lowest on: see [`walk::Matches::at`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_fire(slot: u32, lists: u64, at: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let table = unsafe {
        (*work).walk.matches.at = at;
        (*work).table
    };
    let Some(meta) = meta(table) else { return 0 };
    let mut automaton = 0;
    while automaton < MAX_AUTOMATA as u32 {
        let (first, count) = walk::listed(meta, lists, automaton);
        let mut fired = 0;
        while fired < MAX_LIST_LEN as u32 {
            if fired >= count {
                break;
            }
            fire_chunk(slot, first + fired, count - fired);
            fired += walk::FIRE_CHUNK;
        }
        automaton += 1;
    }
    0
}

/// See [`walk::Matches::fire`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fire_chunk(slot: u32, first: u32, count: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user; of its memory, the callers hold the cursor and the text only.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.fire(meta, first, count);
    0
}

/// Steps [`walk::CHUNK`] bytes; not 0 when the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_chunk(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user; `fire_chunk` touches the matches only.
    let (cursor, text, table) = unsafe { (&mut (*work).walk.cursor, &(*work).walk.text, (*work).table) };
    let Some(meta) = meta(table) else { return 1 };
    let family = &meta.family[cursor.family as usize & (FAMILY_ROWS - 1)];
    let Some(first) = automaton(table, family.block[0]) else { return 1 };
    let mut automata = [first; MAX_AUTOMATA];
    if family.automata > 1 {
        // One that is not in use has the block of the first, where it stays dead.
        let [_, second, third, fourth] = family.block;
        let (Some(second), Some(third), Some(fourth)) =
            (automaton(table, second), automaton(table, third), automaton(table, fourth))
        else {
            return 1;
        };
        automata = [first, second, third, fourth];
    }
    let done = walk::step_chunk(meta, automata, cursor, text, |lists, at| {
        walk_fire(slot, lists, at);
    });
    u32::from(done)
}

/// Walks `text[start..end]` from `anchor`; true if some automaton was still alive at the end.
#[inline(always)]
fn walk_range(slot: u32, family: usize, anchor: u16, into: u32, start: u32, end: u32) -> bool {
    walk_begin(slot, family, anchor, into, start, end) && walk_to_end(slot)
}

/// Begins a walk over `text[start..end]`; false where there is nothing to walk by.
#[inline(always)]
pub fn walk_begin(slot: u32, family: usize, anchor: u16, into: u32, start: u32, end: u32) -> bool {
    let Some(work) = work(slot) else { return false };
    {
        // SAFETY: the slot has one user, and these borrows end before the chunks are walked.
        let (walk, table) = unsafe { (&mut (*work).walk, (*work).table) };
        let Some(meta) = meta(table) else { return false };
        if meta.family[family & (FAMILY_ROWS - 1)].automata == 0 {
            return false;
        }
        walk.matches.begin(u32::from(anchor), into);
        walk.cursor.begin(meta, family as u32, u32::from(anchor), start, end);
    }
    true
}

/// Walks up to where the cursor says; true if some automaton was still alive there.
#[inline(always)]
pub fn walk_to_end(slot: u32) -> bool {
    let Some(work) = work(slot) else { return false };
    let mut chunk = 0;
    while chunk < MAX_CHUNKS {
        chunk += 1;
        if walk_chunk(slot) != 0 {
            break;
        }
    }
    // SAFETY: as above.
    let state = unsafe { (*work).walk.cursor.state };
    state[0] | state[1] | state[2] | state[3] != 0
}

/// Forgets what was found for the last object.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn forget(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.clear(meta);
    0
}

/// Collects the rules whose patterns match the path at `start`: `into` says whether their `path` or their
/// `to` counts. Adds to what [`forget`] left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_path(slot: u32, start: u32, into: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (first, table) = unsafe { ((*work).walk.text[(start & (TEXT_BYTES as u32 - 1)) as usize], (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    let anchors = meta.family[FAMILY_PATH].anchors;
    let end = MAX_TEXT as u32;
    let skip = walk::skip_root(FAMILY_PATH as u32, first);
    walk_range(slot, FAMILY_PATH, NODE_ROOT, into, start + skip, end);
    if anchors & 1 << NODE_REPO != 0 {
        let below = below_place(slot, start, u32::from(NODE_REPO));
        if below != 0 {
            walk_range(slot, FAMILY_PATH, NODE_REPO, into, below, end);
        }
    }
    if anchors & 1 << NODE_HOME != 0 {
        let below = below_place(slot, start, u32::from(NODE_HOME));
        if below != 0 {
            walk_range(slot, FAMILY_PATH, NODE_HOME, into, below, end);
        }
    }
    0
}

/// Walks words: `text[start..end]` as the beginning of a command line or, where `start` is 0, `text[AFTER_NAME..end]` as its
/// next piece; `more` is not 0 if another follows. Not 0 if a longer line could match more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_argv(slot: u32, start: u32, end: u32, more: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    if start != 0 && !walk_begin(slot, FAMILY_ARGV, NODE_ROOT, INTO_ARGV, start, end) {
        return 0;
    }
    // SAFETY: the slot has one user.
    let cursor = unsafe { &mut (*work).walk.cursor };
    if start == 0 {
        cursor.position = AFTER_NAME;
        cursor.end = end;
    }
    cursor.more = more;
    u32::from(walk_to_end(slot))
}

/// Where the words after the program's name lie in the text buffer.
pub const AFTER_NAME: u32 = MAX_TEXT as u32 + 1;

/// Decides: see [`walk::first_rule`]. Action in the upper 16 bits, rule in the lower.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decide(slot: u32, op: u32, scope: u32, facts: u32) -> u32 {
    let unjudged = u32::from(Verdict::UNJUDGED.action) << 16 | u32::from(NO_RULE_16);
    let Some(work) = work(slot) else { return unjudged };
    // SAFETY: the slot has one user.
    let table = unsafe { (*work).table };
    let Some(meta) = meta(table) else { return unjudged };
    let rule = walk::first_rule(meta, |word| first_of_word(slot, op, scope, facts, word as u32));
    if rule == UNREADABLE {
        return unjudged;
    }
    let action = walk::action(meta, rule, op, scope);
    let rule = if rule == NO_RULE { u32::from(NO_RULE_16) } else { rule & 0xffff };
    u32::from(action) << 16 | rule
}

/// Instead of a rule: there is nothing to judge by.
const UNREADABLE: u32 = NO_RULE - 1;

/// See [`walk::first_of_word`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_of_word(slot: u32, op: u32, scope: u32, facts: u32, word: u32) -> u32 {
    let Some(work) = work(slot) else { return UNREADABLE };
    // SAFETY: the slot has one user.
    let (matches, table, who) = unsafe { (&(*work).walk.matches, (*work).table, (*work).who) };
    let Some(meta) = meta(table) else { return UNREADABLE };
    walk::first_of_word(meta, matches, op, scope, facts, word as usize, |word| about(table, &who, word as u32))
}

/// Forgets the last object.
#[inline(always)]
pub fn clear(slot: u32) {
    forget(slot);
}

/// Collects the matches of the path at `start`.
#[inline(always)]
pub fn add_path(slot: u32, start: u32, into: u32) {
    match_path(slot, start, into);
}

/// Collects the matches of a command line, piece by piece: see [`match_argv`].
#[inline(always)]
pub fn add_argv(slot: u32, start: u32, end: u32, more: bool) -> bool {
    match_argv(slot, start, end, u32::from(more)) != 0
}

/// What is to be done about `op` in `scope`, from what was collected and `facts`.
#[inline(always)]
pub fn of(slot: u32, op: Op, scope: u8, facts: u32) -> Verdict {
    of_number(slot, op as u32, scope, facts)
}

/// The same of an operation's number.
#[inline(always)]
pub fn of_number(slot: u32, op: u32, scope: u8, facts: u32) -> Verdict {
    let packed = decide(slot, op, u32::from(scope), facts);
    Verdict { action: (packed >> 16) as u8, rule: packed as u16 }
}

/// The agent whose patterns the collected path matches.
#[inline(always)]
pub fn agent(slot: u32, scope: u8) -> Option<u8> {
    let verdict = of(slot, Op::Enrol, scope, 0);
    (verdict.rule != NO_RULE_16).then_some(verdict.action)
}
