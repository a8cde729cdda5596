//! The walk over a text and the decision that follows: the same code in the kernel and in user space.
//!
//! A verdict takes three steps. [`Matches::clear`] forgets the last object. One or more walks then collect
//! the rules whose patterns match: a path is walked from its root, and again from below the session's
//! repository and home where it lies in them; a command line is walked as words. [`decide`] at last
//! takes the first rule whose every condition holds.
//!
//! The programs walk in chunks of [`CHUNK`] bytes, each a call of a function that the verifier checks once
//! by itself, so neither the length of a path nor the number of rules reaches the verifier's limits.

use crate::below::Below;
use crate::table::{
    ANCHORS, Automaton, CELLS, Classes, FAMILY_PATH, FAMILY_ROWS, FIRES_EXCEPT, FIRES_NODE, FIRES_RULE_AT_END,
    FIRES_RULE_BELOW, FIRES_TO, MAX_AUTOMATA, MAX_CLASSES, MAX_FIRINGS, MAX_LISTS, MAX_NODES, MAX_PHASES, MAX_RULES,
    Meta, NEED_ARGV, NEED_NETWORK_STDIN, NEED_OBJECT, RULE_WORDS, RuleSet,
};
use crate::words::OP_ROWS;

/// Longest text that is walked, in bytes: `PATH_MAX`, which bounds what the kernel takes as a path.
pub const MAX_TEXT: usize = 4096;
/// Size of the buffer a text lies in; twice the longest, so that a masked start and a masked length always
/// stay inside.
pub const TEXT_BYTES: usize = 2 * MAX_TEXT;
/// Bytes stepped by one call of [`step_chunk`].
pub const CHUNK: u32 = 32;
/// Calls that are enough for any text, the one that sees the end included.
pub const MAX_CHUNKS: u32 = (MAX_TEXT as u32) / CHUNK + 1;
/// Segments fired by one call of [`Matches::fire`].
pub const FIRE_CHUNK: u32 = 8;

/// Answer of [`decide`] when no rule decides.
pub const NO_RULE: u32 = u32::MAX;

/// The object could not be resolved or is too long: rules that deny or kill match it.
pub const FACT_OBJECT_UNKNOWN: u32 = 1;
/// The command line could not be read whole: rules that deny or kill match it.
pub const FACT_ARGV_UNKNOWN: u32 = 2;
/// Standard input is a pipe that brings data from the network.
pub const FACT_NETWORK_STDIN: u32 = 4;

/// The classes of the process's executable are not known: rules that deny or kill take it as theirs.
pub const FACT_CLASSES_UNKNOWN: u32 = 8;

/// Every `argv` pattern is taken as matching: what could be decided with whatever words.
pub const FACT_ARGV_ANY: u32 = 16;

/// Which set a walk adds to.
pub const INTO_OBJECT: u32 = 0;
/// The text is a socket's path: only `to` patterns count.
pub const INTO_TO: u32 = 1;
/// The text is a command line.
pub const INTO_ARGV: u32 = 2;

/// `value & mask`, in a form that reaches the verifier.
///
/// The compiler drops a mask that it can prove needless; the verifier often can't prove as much, and 6.12's forgets
/// a bound that a comparison gave. So the value is hidden from the compiler right before the mask.
#[inline(always)]
#[must_use]
pub fn masked(value: u32, mask: u32) -> u32 {
    core::hint::black_box(value) & mask
}

/// Rules found so far for one object, and the nodes that fired in the current walk.
#[repr(C)]
pub struct Matches {
    /// Number of the current walk; a stamp of another walk is no stamp.
    pub walk: u64,
    /// `INTO_*`: what the current walk adds to.
    pub into: u32,
    /// The component of the text at which segments end now, shifted left by one, and 1 if no component follows.
    pub at: u32,
    /// Rules matched by their object patterns.
    pub object: RuleSet,
    /// Rules matched by their command-line patterns.
    pub argv: RuleSet,
    /// Rules matched by their `except` patterns.
    pub except: RuleSet,
    /// What was found out about a folder's inside.
    pub below: Below,
    /// By node: the walk in which it fired, shifted left by 16, and the component at which it first did.
    pub stamp: [u64; MAX_NODES],
}

/// Where a walk stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Family being walked.
    pub family: u32,
    /// Next byte, index into the text buffer.
    pub position: u32,
    /// End of the text, exclusive.
    pub end: u32,
    /// Components ended so far.
    pub component: u32,
    /// Not 0: the text goes on after this end, in another piece.
    pub more: u32,
    /// State of each automaton.
    pub state: [u32; MAX_AUTOMATA],
}

/// What one walk needs, in one piece.
#[repr(C)]
pub struct Walk {
    /// Where it stands.
    pub cursor: Cursor,
    /// What it found.
    pub matches: Matches,
    /// The text.
    pub text: [u8; TEXT_BYTES],
}

impl Matches {
    /// Forgets everything found for the last object.
    #[inline(always)]
    pub fn clear(&mut self, meta: &Meta) {
        let mut word = 0;
        while word < RULE_WORDS {
            if word as u32 >= meta.words {
                break;
            }
            self.object[word] = 0;
            self.argv[word] = 0;
            self.except[word] = 0;
            word += 1;
        }
    }

    /// Begins a walk from `anchor`, one of [`crate::table::NODE_ROOT`], `NODE_REPO` and `NODE_HOME`, that adds to `into`.
    #[inline(always)]
    pub fn begin(&mut self, anchor: u32, into: u32) {
        self.walk += 1;
        self.into = into;
        self.stamp[anchor as usize & (ANCHORS - 1)] = self.walk << 16;
    }

    /// Fires at most [`FIRE_CHUNK`] of `count` segments from [`Meta::firing`] `first` on.
    #[inline(always)]
    pub fn fire(&mut self, meta: &Meta, first: u32, count: u32) {
        let (component, last, into) = (self.at >> 1, self.at & 1, self.into);
        let mut i = 0;
        while i < FIRE_CHUNK {
            if i >= count {
                break;
            }
            let firing = &meta.firing[(first + i) as usize & (MAX_FIRINGS - 1)];
            i += 1;
            let parent = self.stamp[firing.parent as usize & (MAX_NODES - 1)];
            if parent >> 16 != self.walk || (parent & 0xffff) + u64::from(firing.len) > u64::from(component) {
                continue;
            }
            if firing.flags & FIRES_NODE != 0 {
                let stamp = &mut self.stamp[firing.node as usize & (MAX_NODES - 1)];
                if *stamp >> 16 != self.walk {
                    *stamp = self.walk << 16 | u64::from(component & 0xffff);
                }
            }
            let ends = if last != 0 { FIRES_RULE_AT_END } else { FIRES_RULE_BELOW };
            if firing.flags & ends == 0 || (firing.flags & FIRES_TO != 0) != (into == INTO_TO) {
                continue;
            }
            let rule = firing.rule as usize & (MAX_RULES - 1);
            let (word, bit) = (rule / 64, 1 << (rule % 64));
            if firing.flags & FIRES_EXCEPT != 0 {
                self.except[word] |= bit;
            } else if into == INTO_ARGV {
                self.argv[word] |= bit;
            } else {
                self.object[word] |= bit;
            }
        }
    }
}

/// The segments of the list of `automaton` among `lists`: where they begin in [`Meta::firing`], and how many there are. List 0
/// has none.
#[inline(always)]
#[must_use]
pub fn listed(meta: &Meta, lists: u64, automaton: u32) -> (u32, u32) {
    let list = lists >> (16 * automaton) & 0xffff;
    let packed = meta.list[list as usize & (MAX_LISTS - 1)];
    (packed >> 8, packed & 0xff)
}

impl Cursor {
    /// Stands at the start of `text[position..end]`, at the start states of `anchor`.
    #[inline(always)]
    pub fn begin(&mut self, meta: &Meta, family: u32, anchor: u32, position: u32, end: u32) {
        let start = &meta.family[family as usize & (FAMILY_ROWS - 1)].start[anchor as usize & (ANCHORS - 1)];
        self.family = family;
        self.position = position;
        self.end = end;
        self.component = 0;
        self.more = 0;
        self.state = [u32::from(start[0]), u32::from(start[1]), u32::from(start[2]), u32::from(start[3])];
    }
}

/// 1 where `position` has come to `end`, else 0; both are places in a text.
#[inline(always)]
fn reached(position: u32, end: u32) -> u32 {
    end.wrapping_sub(position).wrapping_sub(1) >> 31
}

/// 1 where two numbers are the same, else 0.
#[inline(always)]
fn same(one: u32, other: u32) -> u32 {
    let differ = one ^ other;
    (differ.wrapping_sub(1) & !differ) >> 31
}

/// Longest part of a command line that is put into the buffer at once, after its first word.
pub const ARGV_PIECE: u32 = 3840;
/// Pieces of a command line that are walked, one after the other; a longer line is not known whole.
pub const ARGV_PIECES: u32 = 64;

/// Steps the automata over at most [`CHUNK`] bytes; true when the end of the text, or of its piece, has been handled.
///
/// `fire` is called where the state of some automaton says that segments end: with the list of each, 16 bits from the
/// lowest on, and with the component, shifted left by one, and 1 if it is the last.
#[inline(always)]
pub fn step_chunk(
    meta: &Meta,
    automata: [&Automaton; MAX_AUTOMATA],
    cursor: &mut Cursor,
    text: &[u8; TEXT_BYTES],
    mut fire: impl FnMut(u64, u32),
) -> bool {
    let family = &meta.family[cursor.family as usize & (FAMILY_ROWS - 1)];
    let stride = family.stride;
    // Where the walk stands is read from memory and written back for every byte. That costs a few cached
    // accesses, and to the verifier every byte begins alike: it follows one of them instead of all. The
    // same goes for what would be kept on the stack otherwise, of which a program has 512 bytes.
    let (position_at, component_at, end_at) =
        (&raw mut cursor.position, &raw mut cursor.component, &raw const cursor.end);
    let (more_at, state_at) = (&raw const cursor.more, &raw mut cursor.state);
    let mut i = 0;
    while i < CHUNK {
        i += 1;
        // SAFETY: from a unique reference, as are all accesses below; every automaton has a state.
        let (position, end) = unsafe { (position_at.read_volatile(), end_at.read_volatile()) };
        let cell = |automaton: usize, column: u32| {
            // SAFETY: as above.
            let state = unsafe { state_at.cast::<u32>().add(automaton).read_volatile() };
            u32::from(automata[automaton].cells[(state * stride + column) as usize & (CELLS - 1)])
        };
        let byte = text[position as usize & (TEXT_BYTES - 1)];
        // Numbers and not outcomes of comparisons, so that to the verifier a last component ends like any other.
        let last = masked(reached(position, end), 1);
        if last | masked(same(u32::from(byte), family.separator), 1) != 0 {
            // SAFETY: as above.
            if last & unsafe { more_at.read_volatile() } != 0 {
                return true;
            }
            // SAFETY: as above.
            let component = unsafe {
                let component = component_at.read_volatile() + 1;
                component_at.write_volatile(component);
                component
            };
            let ended = |automaton: usize| u64::from(cell(automaton, 0)) << (16 * automaton);
            let lists = ended(0) | ended(1) | ended(2) | ended(3);
            if lists != 0 {
                fire(lists, component << 1 | last);
            }
            if last != 0 {
                return true;
            }
        }
        // All four are stepped, whether they are in use or not: one that isn't stays dead, which costs less
        // than asking.
        let class = u32::from(family.class[byte as usize]);
        let step = |automaton: usize| {
            let next = cell(automaton, class);
            // SAFETY: as above.
            unsafe { state_at.cast::<u32>().add(automaton).write_volatile(next) };
        };
        step(0);
        step(1);
        step(2);
        step(3);
        // SAFETY: as above.
        unsafe { position_at.write_volatile(position + 1) };
    }
    false
}

/// Of the rules of word `word` of a rule set, those that apply to `op` in `scope` and whose every condition on the
/// object holds.
///
/// `facts` are `FACT_*` bits. An object or command line that is not known matches every rule that denies or
/// kills, whatever its patterns, and by its patterns no other rule: what cannot be judged is not let through.
#[inline(always)]
#[must_use]
pub fn holding(meta: &Meta, matches: &Matches, op: u32, scope: u32, facts: u32, word: usize) -> u64 {
    let word = word & (RULE_WORDS - 1);
    let applies = &meta.applies[op as usize & (OP_ROWS - 1)][scope as usize & 1];
    let needs = &meta.needs[op as usize & (OP_ROWS - 1)];
    let denies = meta.denies[word];
    let mut object = matches.object[word];
    let mut argv = matches.argv[word];
    let mut except = matches.except[word];
    if facts & FACT_OBJECT_UNKNOWN != 0 {
        object = denies;
        except &= !denies;
    }
    if facts & FACT_ARGV_UNKNOWN != 0 {
        // The part that was seen may match where the whole would not: only denials take that risk.
        argv = denies;
        except &= !denies;
    }
    if facts & FACT_ARGV_ANY != 0 {
        argv = u64::MAX;
    }
    let mut holds = applies[word] & !except;
    holds &= object | !needs[NEED_OBJECT][word];
    holds &= argv | !needs[NEED_ARGV][word];
    if facts & FACT_NETWORK_STDIN == 0 {
        holds &= !needs[NEED_NETWORK_STDIN][word];
    }
    holds
}

/// Who attempts the operation, as far as rules ask.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Classes of the executable that it runs.
    pub classes: Classes,
    /// The phase that its session is in.
    pub phase: u32,
    /// [`FACT_CLASSES_UNKNOWN`], or 0.
    pub facts: u32,
}

/// Of the rules of word `word` of a rule set, those that are about `who`.
#[inline(always)]
#[must_use]
pub fn about(meta: &Meta, who: &Who, word: usize) -> u64 {
    let word = word & (RULE_WORDS - 1);
    let by = meta.by[word];
    let mut about = !by;
    if who.facts & FACT_CLASSES_UNKNOWN != 0 {
        about |= meta.denies[word];
    } else if by != 0 {
        let mut classes = who.classes;
        let mut class = 0;
        while class < MAX_CLASSES {
            if classes == 0 {
                break;
            }
            if classes & 1 != 0 {
                about |= meta.class[class][word];
            }
            classes >>= 1;
            class += 1;
        }
    }
    about & meta.phase[masked(who.phase, MAX_PHASES as u32 - 1) as usize][word]
}

/// The first rule that applies to `op` in `scope` and whose every condition holds, or [`NO_RULE`].
///
/// `about` gives [`about`] of a word; it is asked only where a rule holds otherwise.
#[must_use]
pub fn decide(meta: &Meta, matches: &Matches, op: u32, scope: u32, facts: u32, about: impl Fn(usize) -> u64) -> u32 {
    first_rule(meta, |word| first_of_word(meta, matches, op, scope, facts, word, &about))
}

/// The first rule that decides, or [`NO_RULE`]; `first_of_word` gives [`first_of_word`] of a word.
#[inline(always)]
#[must_use]
pub fn first_rule(meta: &Meta, mut first_of_word: impl FnMut(usize) -> u32) -> u32 {
    let mut word = 0;
    while word < RULE_WORDS {
        if word as u32 >= meta.words {
            break;
        }
        let rule = first_of_word(word);
        if rule != NO_RULE {
            return rule;
        }
        word += 1;
    }
    NO_RULE
}

/// The same among the rules of word `word` of a rule set.
#[inline(always)]
#[must_use]
pub fn first_of_word(
    meta: &Meta,
    matches: &Matches,
    op: u32,
    scope: u32,
    facts: u32,
    word: usize,
    about: impl FnOnce(usize) -> u64,
) -> u32 {
    let mut holds = holding(meta, matches, op, scope, facts, word);
    if holds != 0 {
        holds &= about(word);
    }
    if holds == 0 { NO_RULE } else { word as u32 * 64 + holds.trailing_zeros() }
}

/// The action that `rule`, an answer of [`decide`], stands for: its own, or the default of `op` in `scope`.
#[inline(always)]
#[must_use]
pub fn action(meta: &Meta, rule: u32, op: u32, scope: u32) -> u8 {
    if rule == NO_RULE {
        meta.default[op as usize & (OP_ROWS - 1)][scope as usize & 1]
    } else {
        meta.action[masked(rule, MAX_RULES as u32 - 1) as usize]
    }
}

/// Walks `text` whole, in user space: what the programs do in chunks.
///
/// `range` is the part to walk, to its end unless there is `more`; `automata` are the family's, repeated where it has
/// fewer.
pub fn walk_text(
    meta: &Meta,
    automata: [&Automaton; MAX_AUTOMATA],
    walk: &mut Walk,
    family: u32,
    (anchor, into): (u32, u32),
    range: core::ops::Range<u32>,
    more: bool,
) {
    walk.matches.begin(anchor, into);
    walk.cursor.begin(meta, family, anchor, range.start, range.end);
    walk_on(meta, automata, walk, range, more);
}

/// Goes on with `walk` over the next piece of a text: `range` of the buffer, the last one unless there is `more`.
pub fn walk_on(
    meta: &Meta,
    automata: [&Automaton; MAX_AUTOMATA],
    walk: &mut Walk,
    range: core::ops::Range<u32>,
    more: bool,
) {
    let Walk { cursor, matches, text } = walk;
    cursor.position = range.start;
    cursor.end = range.end;
    cursor.more = u32::from(more);
    for _ in 0..MAX_CHUNKS {
        let done = step_chunk(meta, automata, cursor, text, |lists, at| {
            matches.at = at;
            for automaton in 0..MAX_AUTOMATA as u32 {
                let (first, count) = listed(meta, lists, automaton);
                let mut fired = 0;
                while fired < count {
                    matches.fire(meta, first + fired, count - fired);
                    fired += FIRE_CHUNK;
                }
            }
        });
        if done {
            break;
        }
    }
}

/// What separates and starts the texts of a family: a path's leading `/` is not part of its first component.
#[inline(always)]
#[must_use]
pub fn skip_root(family: u32, first: u8) -> u32 {
    u32::from(family == FAMILY_PATH as u32 && first == b'/')
}
