//! What rules may say about things inside a folder, found out from the folder's path alone.
//!
//! A folder that is renamed takes what is in it along, to names under which other rules may hold. To tell, the path of
//! the folder is walked with a `/` behind it. What lies below is then matched by
//!
//! * the patterns that match whatever lies below this folder: they have fired as in any walk;
//! * patterns that are under way: a state of an automaton, where a component begins, says which segments have begun
//!   and not ended;
//! * patterns whose next segment may begin anywhere below: their node has fired;
//! * patterns that may begin at any component of any path.
//!
//! The first match for certain, the others perhaps: these a folder *leads* to. Of the rules that a place leads to, the first
//! stands for all that ask for the same otherwise, for it decides before them. A denial is possible inside if a rule that
//! denies matches perhaps and no other that is before it matches for certain; it is certain if one matches for certain and no
//! other that is before it matches even perhaps.
//!
//! Two folders with the same states, the same nodes and the same rules fired have the same said of their insides, so a move
//! from one to the other changes nothing. That is compared as one number, the *signature*. Rules without weight, which neither
//! deny nor come before one that does, are no part of it, and nor is what may begin anywhere.

use crate::table::{
    Automaton, CELLS, FAMILY_PATH, FIRES_EXCEPT, LEADS_ANYWHERE, MAX_AUTOMATA, MAX_FIRINGS, MAX_NODES, MAX_RULES,
    Meta, RULE_WORDS, RuleSet,
};
use crate::walk::{Cursor, FIRE_CHUNK, Matches, listed};
use crate::words::Op;

/// What is known of a folder's inside.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Below {
    /// The first walk over this object's names.
    pub first: u64,
    /// What is said of the inside, as one number.
    pub signature: u64,
    /// Not 0: too much is under way to say what.
    pub anything: u64,
    /// Of what is taken in now: the walk since which a parent counts as fired.
    pub since: u64,
    /// The component that what follows a parent may not reach beyond.
    pub component: u64,
    /// Where it is under way, as one number.
    pub place: u64,
    /// Rules that match for certain.
    pub object: RuleSet,
    /// Rules from which everything inside is excepted.
    pub except: RuleSet,
    /// Rules that match perhaps.
    pub leads: RuleSet,
    /// Rules from which something may be excepted.
    pub leads_except: RuleSet,
}

/// Operations for which it matters where a file lies, a bit each: who moves it must not make one of them possible.
pub const MOVED: u32 = bit(Op::Exec)
    | bit(Op::Read)
    | bit(Op::Write)
    | bit(Op::Delete)
    | bit(Op::Rename)
    | bit(Op::Chmod)
    | bit(Op::Connect)
    | bit(Op::Send);

/// Operations that bring things under a name.
pub const BROUGHT: u32 = bit(Op::Create) | bit(Op::Write);

/// The bit of an operation.
#[must_use]
pub const fn bit(op: Op) -> u32 {
    1 << op as u32
}

/// What is denied inside of a folder, a bit for each operation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Denied whatever it is.
    pub all: u32,
    /// Denied for something that may be there.
    pub some: u32,
    /// [`Below::signature`].
    pub signature: u64,
}

impl Inside {
    /// What a move from `self` to `new` would make possible, a bit for each operation.
    #[inline(always)]
    #[must_use]
    pub fn lost(&self, new: &Self) -> u32 {
        if self.signature == new.signature { 0 } else { self.some & MOVED & !new.all }
    }

    /// What a move from `self` to `new` would do that is denied there.
    #[inline(always)]
    #[must_use]
    pub fn brought(&self, new: &Self) -> u32 {
        if self.signature == new.signature { 0 } else { new.some & BROUGHT & !self.all }
    }
}

/// One more part of a signature.
#[inline(always)]
fn mix(signature: u64, part: u64) -> u64 {
    (signature ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

impl Matches {
    /// Begins with a folder; [`Matches::clear`] goes before.
    #[inline(always)]
    pub fn begin_below(&mut self, meta: &Meta) {
        self.below.first = self.walk + 1;
        self.below.signature = 1;
        self.below.anything = 0;
        let mut word = 0;
        while word < RULE_WORDS {
            if word as u32 >= meta.words {
                break;
            }
            self.below.leads[word] = 0;
            self.below.leads_except[word] = 0;
            word += 1;
        }
    }

    /// Begins to take in what is under way in an automaton where a walk over a folder's path has ended. Answers as
    /// [`listed`](crate::walk::listed); [`Matches::lead`] takes it in.
    #[inline(always)]
    pub fn lead_on(&mut self, meta: &Meta, automaton: &Automaton, number: u32, cursor: &Cursor) -> (u32, u32) {
        let at = number as usize & (MAX_AUTOMATA - 1);
        let leads = meta.family[FAMILY_PATH].leads[at];
        if leads == 0 {
            return (0, 0);
        }
        let state = cursor.state[at];
        let list = automaton.cells[(leads + state) as usize & (CELLS - 1)];
        let place = u64::from(number) << 32 | u64::from(state);
        self.begin_leading(meta, list, (self.walk, cursor.component), place)
    }

    /// The same of what entry `number` of [`Meta::leading`] leads to, if its node has fired.
    #[inline(always)]
    pub fn lead_from(&mut self, meta: &Meta, number: u32) -> (u32, u32) {
        let leading = meta.leading[number as usize & (MAX_NODES - 1)];
        let node = (leading >> 16) as usize & (MAX_NODES - 1);
        if self.stamp[node] >> 16 < self.below.first {
            return (0, 0);
        }
        self.begin_leading(meta, leading as u16, (self.below.first, u32::MAX), 1 << 63 | u64::from(leading))
    }

    /// Takes note that the place of anchor `anchor` lies inside of the folder, whose path is `len` bytes long: not all that is inside
    /// lies below that place.
    #[inline(always)]
    pub fn has_inside(&mut self, anchor: u32, len: u32) {
        self.below.signature = mix(self.below.signature, 1 << 62 | u64::from(anchor) << 32 | u64::from(len));
    }

    /// Begins with a list of what is under way at `place`: those entries count whose parent has fired, in the walk `since` or a
    /// later one, and early enough to be followed by what is done of the segment at `component`.
    #[inline(always)]
    fn begin_leading(&mut self, meta: &Meta, list: u16, (since, component): (u64, u32), place: u64) -> (u32, u32) {
        if list == LEADS_ANYWHERE {
            self.below.anything = 1;
            self.below.signature = mix(self.below.signature, place);
            return (0, 0);
        }
        (self.below.since, self.below.component, self.below.place) = (since, u64::from(component), place);
        listed(meta, u64::from(list), 0)
    }

    /// Takes in at most [`FIRE_CHUNK`] of the entries of the list that was begun with: from number `from` on, of `count` that begin at
    /// `first` in [`Meta::firing`].
    #[inline(always)]
    pub fn lead(&mut self, meta: &Meta, first: u32, count: u32, from: u32) {
        let mut i = from;
        let mut taken = 0;
        while taken < FIRE_CHUNK {
            if i >= count {
                break;
            }
            let firing = &meta.firing[(first + i) as usize & (MAX_FIRINGS - 1)];
            i += 1;
            taken += 1;
            let parent = self.stamp[firing.parent as usize & (MAX_NODES - 1)];
            if parent >> 16 < self.below.since || (parent & 0xffff) + u64::from(firing.len) > self.below.component {
                continue;
            }
            self.below.signature = mix(self.below.signature, self.below.place ^ u64::from(i) << 24);
            let rule = firing.rule as usize & (MAX_RULES - 1);
            let (word, bit) = (rule / 64, 1 << (rule % 64));
            if firing.flags & FIRES_EXCEPT != 0 {
                self.below.leads_except[word] |= bit;
            } else {
                self.below.leads[word] |= bit;
            }
        }
    }

    /// The same of all of them, in user space.
    pub fn lead_all(&mut self, meta: &Meta, (first, count): (u32, u32)) {
        let mut from = 0;
        while from < count {
            self.lead(meta, first, count, from);
            from += FIRE_CHUNK;
        }
    }

    /// Takes stock of what has fired, once all names are walked.
    #[inline(always)]
    pub fn take_stock(&mut self, meta: &Meta) {
        let mut word = 0;
        while word < RULE_WORDS {
            if word as u32 >= meta.words {
                break;
            }
            let (object, except, weighs) = (self.object[word], self.except[word], meta.weighs[word]);
            self.below.object[word] = object;
            self.below.except[word] = except;
            self.below.signature = mix(mix(self.below.signature, object & weighs), except & weighs);
            if self.below.anything != 0 {
                self.below.leads[word] = u64::MAX;
                self.below.leads_except[word] = u64::MAX;
            } else {
                self.below.leads[word] |= meta.anywhere[word];
                self.below.leads_except[word] |= meta.anywhere_except[word];
            }
            word += 1;
        }
    }

    /// Takes for matched what makes denials likely, so that what is decided then is whether one is possible, or what makes them
    /// unlikely, so that it is whether one is certain.
    #[inline(always)]
    pub fn suppose(&mut self, meta: &Meta, likely: bool) {
        let mut word = 0;
        while word < RULE_WORDS {
            if word as u32 >= meta.words {
                break;
            }
            let perhaps = if likely { meta.denies[word] } else { !meta.denies[word] };
            let below = &self.below;
            self.object[word] = below.object[word] | below.leads[word] & perhaps;
            self.except[word] = below.except[word] | below.leads_except[word] & !perhaps;
            word += 1;
        }
    }
}
