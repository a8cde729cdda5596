//! The compiled policy as it lies in kernel memory.
//!
//! A policy is a few *blocks* of [`BLOCK_BYTES`] each, the entries of one inner array map: block 0 is the
//! [`Meta`] block, every further block one [`Automaton`]. A policy is replaced by filling a new inner map
//! and switching one number, so a program run sees one policy from start to end.
//!
//! # How patterns become tables
//!
//! Every pattern is a sequence of components divided by a separator byte (`/` in paths, NUL between the
//! words of a command line). A glob is cut at its `**` into *segments*, runs of neighbouring components.
//! The automata of a family recognise all segments at once; which segments end at a component is read
//! from the automaton's state where that component ends. A segment that ends *fires*, if the segment
//! before it in its glob (its *parent node*) fired early enough. A glob matches when its last segment fires
//! at the end of the text, or anywhere before it if the glob ends in `**`. So the states of a family add
//! up with the number of rules instead of multiplying, and the cost of a walk is the length of the text.
//!
//! Blocks are plain old data; every index read from them is masked before its use, so no content of a
//! block, however wrong, can make a walk read outside of it.

use crate::words::OP_ROWS;

/// Layout version; user space and programs refuse each other when they differ.
pub const VERSION: u32 = 6;
/// Size of a block in bytes. Below the 4 MiB that 5.10 allows for a map value.
pub const BLOCK_BYTES: usize = 2 << 20;
/// Rules a policy can have.
pub const MAX_RULES: usize = 2048;
/// 64-bit words of a set of rules.
pub const RULE_WORDS: usize = MAX_RULES / 64;
/// Chain nodes: anchors, and segments after which a `**` and another segment follow.
pub const MAX_NODES: usize = 4096;
/// Automata of one family, stepped side by side.
pub const MAX_AUTOMATA: usize = 4;
/// 16-bit cells of an automaton block.
pub const CELLS: usize = BLOCK_BYTES / 2;
/// Distinct lists of firings.
pub const MAX_LISTS: usize = 32768;
/// Firings of all lists together.
pub const MAX_FIRINGS: usize = 131_072;
/// Firings of one list.
pub const MAX_LIST_LEN: usize = 64;
/// Blocks of a policy.
pub const MAX_BLOCKS: usize = 1 + FAMILIES * MAX_AUTOMATA;

/// Rows of [`Meta::family`]; a power of two, so that an index can be masked.
pub const FAMILY_ROWS: usize = 4;
/// Number of families.
pub const FAMILIES: usize = 3;
/// Family of true paths, separated by `/`.
pub const FAMILY_PATH: usize = 0;
/// Family of command lines, separated by NUL.
pub const FAMILY_ARGV: usize = 1;
/// Family of network addresses: 16 bytes of address (IPv4 mapped), 2 of port, no separator.
pub const FAMILY_NET: usize = 2;

/// Node that has always fired: patterns that start at the beginning of the text, or anywhere.
pub const NODE_ROOT: u16 = 0;
/// Node that has fired in the walk below the session's repository.
pub const NODE_REPO: u16 = 1;
/// Node that has fired in the walk below the user's home.
pub const NODE_HOME: u16 = 2;
/// First node that compiled patterns may use.
pub const NODE_FIRST_FREE: u16 = 8;
/// Number of anchors; an anchor's number is also its node.
pub const ANCHORS: usize = 4;

/// One automaton: rows of [`Family::stride`] cells. Cell 0 of a row is the number of the list of firings
/// of that state (0: none); the cell of byte class `c` (counted from 1) is the next state. State 0 is dead.
#[repr(C)]
pub struct Automaton {
    /// The rows, one after the other.
    pub cells: [u16; CELLS],
}

/// What a family's automata share.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Family {
    /// Automata in use, at most [`MAX_AUTOMATA`].
    pub automata: u32,
    /// Cells a row has: byte classes plus one.
    pub stride: u32,
    /// The separator byte, or [`NO_SEPARATOR`].
    pub separator: u32,
    /// Bit `1 << anchor`: patterns with that anchor exist, so the walk from it is worth its cost.
    pub anchors: u32,
    /// Block of each automaton.
    pub block: [u32; MAX_AUTOMATA],
    /// First of the cells of each automaton, a cell a state, that hold the number of the list of what is under way in
    /// that state where a component begins: see [`crate::below`]. 0 where there are none.
    pub leads: [u32; MAX_AUTOMATA],
    /// State in which each automaton starts, by anchor. 0 where nothing starts.
    pub start: [[u16; MAX_AUTOMATA]; ANCHORS],
    /// Byte class of each byte, counted from 1.
    pub class: [u8; 256],
}

/// Number of a list of [`crate::below`] that would be too long: whatever is denied may be denied there.
pub const LEADS_ANYWHERE: u16 = u16::MAX;

/// Separator of a family whose texts have one component only.
pub const NO_SEPARATOR: u32 = 256;

/// What happens when a segment ends at a component.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Firing {
    /// Node that must have fired at or before the segment's start.
    pub parent: u16,
    /// Node that fires (only where [`FIRES_NODE`] is set).
    pub node: u16,
    /// Rule that matches (only where a `FIRES_RULE_*` bit is set).
    pub rule: u16,
    /// Components of the segment, at least 1.
    pub len: u8,
    /// `FIRES_*` bits.
    pub flags: u8,
}

/// [`Firing::node`] fires.
pub const FIRES_NODE: u8 = 1;
/// [`Firing::rule`] matches if the segment's last component is the text's last.
pub const FIRES_RULE_AT_END: u8 = 2;
/// [`Firing::rule`] matches if more components follow.
pub const FIRES_RULE_BELOW: u8 = 4;
/// The match is of an `except` pattern.
pub const FIRES_EXCEPT: u8 = 8;
/// The pattern stands in the rule's `to`, not in its `path`: it counts only when the object is a socket's
/// path.
pub const FIRES_TO: u8 = 16;

/// Condition a rule can depend on, index into [`Meta::needs`].
pub const NEED_OBJECT: usize = 0;
/// The rule has `argv` patterns.
pub const NEED_ARGV: usize = 1;
/// The rule wants standard input to be a pipe that brings data from the network.
pub const NEED_NETWORK_STDIN: usize = 2;
/// Number of conditions on the object.
pub const NEEDS: usize = 4;

/// Classes of executables that rules can tell apart (`by`): the bits of a [`Classes`].
pub const MAX_CLASSES: usize = 64;
/// Phases that a session can go through; a power of two, so that an index can be masked.
pub const MAX_PHASES: usize = 8;

/// Which classes an executable is of, a bit each.
pub type Classes = u64;

/// [`Meta::class_word`] and [`Meta::marker_word`] where there are no such pseudo rules.
pub const NO_WORD: u32 = u32::MAX;

/// [`Meta::own_rule`] of a policy that has none.
pub const NO_OWN_RULE: u32 = u32::MAX;

/// A set of rules.
pub type RuleSet = [u64; RULE_WORDS];

/// Actions and facts about a policy, block 0.
#[repr(C)]
pub struct Meta {
    /// [`VERSION`].
    pub version: u32,
    /// Number of this policy, counted up by every load; events carry it.
    pub generation: u32,
    /// [`crate::words::Mode`].
    pub mode: u32,
    /// Rules, pseudo rules of the agents included.
    pub rules: u32,
    /// Words of a rule set that are in use.
    pub words: u32,
    /// Word of a rule set in which each bit is the pseudo rule of a class of executables, or [`NO_WORD`].
    pub class_word: u32,
    /// Word of a rule set in which each bit is the pseudo rule of a phase's marker commands, or [`NO_WORD`].
    pub marker_word: u32,
    /// Phases that sessions go through, at least 1.
    pub phases: u32,
    /// Not 0: some rule asks where standard input comes from, so what pipes carry is to be followed.
    pub follows_pipes: u32,
    /// Entries of [`Self::leading`] in use.
    pub leading_nodes: u32,
    /// The rule that protects the maps guard enforces by, or [`NO_OWN_RULE`].
    pub own_rule: u32,
    /// So many of the first rules are those that guard protects itself by.
    pub own_rules: u32,
    /// Families, by number.
    pub family: [Family; FAMILY_ROWS],
    /// Rules that apply to an operation in a scope, whatever the object.
    pub applies: [[RuleSet; 2]; OP_ROWS],
    /// For each operation and scope: rules whose condition (`NEED_*`) must be met. A rule without the
    /// bit matches every object as far as that condition goes.
    pub needs: [[RuleSet; NEEDS]; OP_ROWS],
    /// Rules that deny or kill: they match an object that could not be resolved.
    pub denies: RuleSet,
    /// Rules that deny, and those that come before one that does and could decide in its place.
    pub weighs: RuleSet,
    /// Of those, the ones that may match something inside of any folder; see [`crate::below`].
    pub anywhere: RuleSet,
    /// The ones from which something inside of any folder may be excepted.
    pub anywhere_except: RuleSet,
    /// Rules whose `to` names internet addresses, or everything.
    pub net: RuleSet,
    /// Rules that ask for a class of executables.
    pub by: RuleSet,
    /// Of those, the ones that ask for each class.
    pub class: [RuleSet; MAX_CLASSES],
    /// Rules that hold in each phase, those that ask for none included.
    pub phase: [RuleSet; MAX_PHASES],
    /// [`crate::words::Action`] of each rule; of an agent's pseudo rule, the agent's number.
    pub action: [u8; MAX_RULES],
    /// Action where no rule matches, by operation and scope.
    pub default: [[u8; 2]; OP_ROWS],
    /// Lists: offset of the first firing in the upper 24 bits, count in the lower 8.
    pub list: [u32; MAX_LISTS],
    /// All lists' firings.
    pub firing: [Firing; MAX_FIRINGS],
    /// Nodes behind which a pattern goes on, wherever below: the node in the upper 16 bits, the number of the list of what
    /// it leads to in the lower.
    pub leading: [u32; MAX_NODES],
}

/// A block of memory that holds a [`Meta`] or an [`Automaton`].
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Block {
    /// The bytes.
    pub bytes: [u8; BLOCK_BYTES],
}

/// A block as the kernel's map declares it: not a structure, because 6.1 finds a map whose value is a
/// structure, as its types say, different from one that was made without types.
pub type Words = [u64; BLOCK_BYTES / 8];

impl Block {
    /// The same memory, seen as a block.
    #[inline(always)]
    #[must_use]
    pub fn of(words: &Words) -> &Self {
        // SAFETY: same size and alignment, and both are plain bytes.
        unsafe { &*core::ptr::from_ref(words).cast() }
    }
}

const _: () = assert!(size_of::<Automaton>() == BLOCK_BYTES);
const _: () = assert!(size_of::<Meta>() <= BLOCK_BYTES);
const _: () = assert!(MAX_LISTS.is_power_of_two() && MAX_FIRINGS.is_power_of_two() && MAX_NODES.is_power_of_two());

// SAFETY: plain bytes, no padding, no pointers.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Block {}

impl Meta {
    /// The block's bytes, read as the meta block they hold.
    #[inline(always)]
    #[must_use]
    pub fn of(block: &Block) -> &Self {
        // SAFETY: a block is aligned to 8 and at least as large, and every bit pattern is a valid Meta, which
        // is made of integers only.
        unsafe { &*core::ptr::from_ref(block).cast() }
    }

    /// The same, for filling it in.
    #[must_use]
    pub fn of_mut(block: &mut Block) -> &mut Self {
        // SAFETY: as in `of`; the borrow is unique.
        unsafe { &mut *core::ptr::from_mut(block).cast() }
    }
}

impl Automaton {
    /// The block's bytes, read as the automaton they hold.
    #[inline(always)]
    #[must_use]
    pub fn of(block: &Block) -> &Self {
        // SAFETY: same size, weaker alignment, and every bit pattern is a valid array of u16.
        unsafe { &*core::ptr::from_ref(block).cast() }
    }

    /// The same, for filling it in.
    #[must_use]
    pub fn of_mut(block: &mut Block) -> &mut Self {
        // SAFETY: as in `of`; the borrow is unique.
        unsafe { &mut *core::ptr::from_mut(block).cast() }
    }
}
