//! What the policy says of what lies in a folder, whatever that is: see [`guard_common::below`].

use guard_common::table::{FAMILY_PATH, MAX_AUTOMATA, MAX_LIST_LEN, MAX_NODES, NODE_HOME, NODE_REPO, NODE_ROOT};
use guard_common::walk::{self, INTO_OBJECT, INTO_TO, MAX_TEXT};

use crate::kernel::masked;
use crate::maps::work;
use crate::place::{OF_FOLDER, above_place, below_place};
use crate::verdict::{automaton, meta, walk_begin, walk_to_end};

/// Nodes that are looked at in one go.
const NODE_CHUNK: u32 = 64;

/// Forgets the last object, before a folder's inside is looked at.
#[inline(always)]
pub fn clear(slot: u32) {
    forget_below(slot);
}

/// Collects what is said of the inside of the folder at `start`.
#[inline(always)]
pub fn add(slot: u32, start: u32) {
    match_below(slot, start);
}

/// Forgets the last object; what is collected next is about a folder's inside.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn forget_below(slot: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.clear(meta);
    matches.begin_below(meta);
    0
}

/// Collects the rules that say something of what lies in the folder at `start`: see [`guard_common::below`]. Adds to what
/// [`forget_below`] left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_below(slot: u32, start: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (text, table) = unsafe { (&mut (*work).walk.text, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    let anchors = meta.family[FAMILY_PATH].anchors;
    let mut end = MAX_TEXT as u32;
    if start != end - 1 {
        // The root has its `/` already.
        text[MAX_TEXT] = b'/';
        end += 1;
    }
    walk_below(slot, NODE_ROOT, start + 1, end);
    let mut anchor = NODE_REPO;
    while anchor <= NODE_HOME {
        if anchors & 1 << anchor != 0 {
            let below = below_place(slot, start, u32::from(anchor) | OF_FOLDER);
            if below != 0 {
                walk_below(slot, anchor, below, end);
            } else if above_place(slot, start, u32::from(anchor)) != 0 {
                // All that begins there lies inside.
                // SAFETY: the slot has one user.
                unsafe { (*work).walk.matches.has_inside(u32::from(anchor), end - start) };
                walk_below(slot, anchor, end, end);
            }
        }
        anchor += 1;
    }
    0
}

/// Walks a folder's path as a file's and as a socket's, and takes in what is under way where it ends.
#[inline(always)]
fn walk_below(slot: u32, anchor: u16, start: u32, end: u32) {
    let mut into = INTO_OBJECT;
    while into <= INTO_TO {
        if walk_begin(slot, FAMILY_PATH, anchor, into, start, end) {
            goes_on(slot);
            walk_to_end(slot);
            let mut automaton = 0;
            while automaton < MAX_AUTOMATA as u32 {
                lead_on(slot, automaton);
                automaton += 1;
            }
        }
        into += 1;
    }
}

/// The text that is walked goes on behind its end.
#[inline(always)]
fn goes_on(slot: u32) {
    if let Some(work) = work(slot) {
        // SAFETY: the slot has one user.
        unsafe { (*work).walk.cursor.more = 1 };
    }
}

/// See [`walk::Matches::lead_on`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lead_on(slot: u32, number: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, cursor, table) = unsafe { (&mut (*work).walk.matches, &(*work).walk.cursor, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    let Some(automaton) = automaton(table, meta.family[FAMILY_PATH].block[masked(number, 3) as usize]) else {
        return 0;
    };
    let (first, count) = matches.lead_on(meta, automaton, number, cursor);
    lead_all(slot, first, count);
    0
}

/// Takes in what the nodes lead to that have fired.
#[inline(always)]
pub fn lead_from_nodes(slot: u32) {
    let mut chunk = 0;
    while chunk < MAX_NODES as u32 / NODE_CHUNK {
        if lead_from_chunk(slot, chunk * NODE_CHUNK) != 0 {
            break;
        }
        chunk += 1;
    }
}

/// Takes in what the nodes from number `first` on lead to; not 0 behind the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lead_from_chunk(slot: u32, first: u32) -> u32 {
    let Some(work) = work(slot) else { return 1 };
    // SAFETY: the slot has one user.
    let Some(meta) = meta(unsafe { (*work).table }) else { return 1 };
    let nodes = meta.leading_nodes;
    let mut i = 0;
    while i < NODE_CHUNK {
        if first + i >= nodes {
            return 1;
        }
        lead_from(slot, first + i);
        i += 1;
    }
    0
}

/// See [`walk::Matches::lead_from`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lead_from(slot: u32, number: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    let (first, count) = matches.lead_from(meta, number);
    lead_all(slot, first, count);
    0
}

/// Takes in the entries of the list that was begun with.
#[inline(always)]
fn lead_all(slot: u32, first: u32, count: u32) {
    let mut from = 0;
    while from < MAX_LIST_LEN as u32 {
        if from >= count {
            break;
        }
        lead_chunk(slot, first, count, from);
        from += walk::FIRE_CHUNK;
    }
}

/// See [`walk::Matches::lead`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lead_chunk(slot: u32, first: u32, count: u32, from: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user; the callers hold nothing of it any more.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.lead(meta, first, count, from);
    0
}

/// See [`walk::Matches::take_stock`]; the signature.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_stock(slot: u32) -> u64 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.take_stock(meta);
    matches.below.signature
}

/// See [`walk::Matches::suppose`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn suppose(slot: u32, likely: u32) -> u32 {
    let Some(work) = work(slot) else { return 0 };
    // SAFETY: the slot has one user.
    let (matches, table) = unsafe { (&mut (*work).walk.matches, (*work).table) };
    let Some(meta) = meta(table) else { return 0 };
    matches.suppose(meta, likely != 0);
    0
}
