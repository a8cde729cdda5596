//! Deciding in user space, with the tables and the walk that the kernel has.

use std::net::IpAddr;

use guard_common::below::{BROUGHT, Inside, MOVED, bit};
use guard_common::table::{
    Automaton, Classes, FAMILY_ARGV, FAMILY_NET, FAMILY_PATH, MAX_AUTOMATA, NO_WORD, NODE_HOME, NODE_REPO, NODE_ROOT,
    RULE_WORDS,
};
use guard_common::walk::{
    ARGV_PIECE, ARGV_PIECES, FACT_ARGV_UNKNOWN, FACT_OBJECT_UNKNOWN, INTO_ARGV, INTO_OBJECT, INTO_TO, MAX_TEXT,
    NO_RULE, Walk, Who, about, action, decide, holding, skip_root, walk_on, walk_text,
};
use guard_common::words::{Action, Op, Scope};

use super::compile::Compiled;
use super::net;

/// What an operation is attempted on.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A true path.
    Path(&'a [u8]),
    /// A unix socket: its path, or its abstract name with `@` in front.
    Socket(&'a [u8]),
    /// An address.
    Address {
        /// The host's.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// A program and its command line.
    Command {
        /// The executable's true path.
        path: &'a [u8],
        /// The words, each ended by NUL.
        argv: &'a [u8],
    },
    /// It could not be found out.
    Unknown,
}

/// Where the places that patterns can be anchored in are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The session's repository, without `/` at its end.
    pub repo: Option<&'a [u8]>,
    /// The user's home.
    pub home: Option<&'a [u8]>,
}

/// What was decided, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rule that decided, or none where the default did.
    pub rule: Option<u16>,
    /// What is to be done.
    pub action: Action,
    /// Every rule that matched, in order: the first is [`Self::rule`].
    pub matched: Vec<u16>,
}

/// A compiled policy with the working memory that deciding takes.
pub struct Tables<'a> {
    compiled: &'a Compiled,
    walk: Box<Walk>,
    who: Who,
}

impl Compiled {
    /// What decides by this policy.
    #[must_use]
    pub fn tables(&self) -> Tables<'_> {
        // SAFETY: a walk is integers, for which zero is a value, and 0 is the number of no walk.
        let walk = unsafe { Box::<Walk>::new_zeroed().assume_init() };
        Tables { compiled: self, walk, who: Who::default() }
    }
}

impl<'a> Tables<'a> {
    /// The policy that decides.
    #[must_use]
    pub fn policy(&self) -> &'a Compiled {
        self.compiled
    }
}

impl Tables<'_> {
    /// What follows is attempted by a process that runs `exe`; before, by one that no rule's `by` names.
    pub fn run_by(&mut self, exe: &[u8], places: &Places<'_>) {
        self.who.classes = self.classes_of(exe, places).unwrap_or(0);
        self.who.facts = 0;
    }

    /// What follows is attempted in the phase with this number, counted from 0; before, in the first.
    pub fn in_phase(&mut self, phase: u32) {
        self.who.phase = phase;
    }

    /// The classes of the executable `exe`, as the kernel keeps them with each process; `None` where the path is
    /// too long to tell.
    pub fn classes_of(&mut self, exe: &[u8], places: &Places<'_>) -> Option<Classes> {
        let word = self.compiled.meta().class_word;
        if self.collect(&Object::Path(exe), places) != 0 {
            return None;
        }
        Some(if word == NO_WORD { 0 } else { self.walk.matches.object[word as usize] })
    }

    /// The last phase that a command begins, if it is a marker of one.
    pub fn phase_begun_by(&mut self, path: &[u8], argv: &[u8]) -> Option<u32> {
        let word = self.compiled.meta().marker_word;
        self.collect(&Object::Command { path, argv }, &Places::default());
        let marked = if word == NO_WORD { 0 } else { self.walk.matches.argv[word as usize] };
        marked.checked_ilog2()
    }

    /// Decides on `op`, attempted in `scope` on `object`. `facts` are the walk's `FACT_*` bits.
    pub fn decide(&mut self, op: Op, scope: Scope, object: &Object<'_>, places: &Places<'_>, facts: u32) -> Decision {
        let meta = self.compiled.meta();
        let facts = facts | self.collect(object, places);
        let (op, scope) = (op as u32, scope as u32);
        let who = self.who;
        let rule = decide(meta, &self.walk.matches, op, scope, facts, |word| about(meta, &who, word));
        let number = action(meta, rule, op, scope);
        let mut matched = Vec::new();
        for word in 0..(meta.words as usize).min(RULE_WORDS) {
            let mut holds = holding(meta, &self.walk.matches, op, scope, facts, word) & about(meta, &who, word);
            while holds != 0 {
                matched.push((word * 64) as u16 + holds.trailing_zeros() as u16);
                holds &= holds - 1;
            }
        }
        Decision {
            rule: (rule != NO_RULE).then_some(rule as u16),
            action: Action::from_number(number).unwrap_or(Action::Deny),
            matched,
        }
    }

    /// What is denied inside of `folder`, as the programs see it when a folder is moved; `None` where the path is too long.
    pub fn inside(&mut self, folder: &[u8], scope: Scope, places: &Places<'_>) -> Option<Inside> {
        let meta = self.compiled.meta();
        if folder.len() >= MAX_TEXT {
            return None;
        }
        self.walk.matches.clear(meta);
        self.walk.matches.begin_below(meta);
        let whole = [folder.strip_suffix(b"/").unwrap_or(folder), b"/"].concat();
        let end = whole.len() as u32;
        self.below(NODE_ROOT, &whole, 1);
        let anchors = meta.family[FAMILY_PATH].anchors;
        for (node, place) in [(NODE_REPO, places.repo), (NODE_HOME, places.home)] {
            let Some(place) = place.filter(|place| !place.is_empty() && anchors & (1 << node) != 0) else { continue };
            let place = [place, b"/"].concat();
            if whole.starts_with(&place) {
                self.below(node, &whole, place.len() as u32);
            } else if place.starts_with(&whole) {
                self.walk.matches.has_inside(u32::from(node), end);
                self.below(node, &whole, end);
            }
        }
        for number in 0..meta.leading_nodes {
            let list = self.walk.matches.lead_from(meta, number);
            self.walk.matches.lead_all(meta, list);
        }
        self.walk.matches.take_stock(meta);
        let mut denied = |likely| {
            self.walk.matches.suppose(meta, likely);
            self.denied(scope)
        };
        let (all, some) = (denied(false), denied(true));
        Some(Inside { all, some, signature: self.walk.matches.below.signature })
    }

    /// Walks a folder's path from byte `from` on, and takes in what is under way where it ends.
    fn below(&mut self, anchor: u16, whole: &[u8], from: u32) {
        let meta = self.compiled.meta();
        for into in [INTO_OBJECT, INTO_TO] {
            self.piece(FAMILY_PATH, Some((anchor, into, from)), whole, true);
            for number in 0..MAX_AUTOMATA as u32 {
                let block = meta.family[FAMILY_PATH].block[number as usize];
                let automaton = Automaton::of(&self.compiled.blocks[block as usize]);
                let Walk { cursor, matches, .. } = &mut *self.walk;
                let list = matches.lead_on(meta, automaton, number, cursor);
                matches.lead_all(meta, list);
            }
        }
    }

    /// Operations that are denied by what was collected, a bit each.
    fn denied(&self, scope: Scope) -> u32 {
        let meta = self.compiled.meta();
        let denies = |op: &&Op| {
            let rule =
                decide(meta, &self.walk.matches, **op as u32, scope as u32, 0, |word| about(meta, &self.who, word));
            action(meta, rule, **op as u32, scope as u32) >= Action::Deny as u8
        };
        Op::ALL
            .iter()
            .filter(|&&op| bit(op) & (MOVED | BROUGHT) != 0)
            .filter(denies)
            .fold(0, |all, &op| all | bit(op))
    }

    /// What follows is attempted by `who`.
    pub fn judge_as(&mut self, who: Who) {
        self.who = who;
    }

    /// Whether reading or writing the file at `path` could be refused to somebody, by a rule that means such files and does
    /// not only take them along with all around them.
    pub fn protects(&mut self, path: &[u8], places: &Places<'_>) -> bool {
        if self.collect(&Object::Path(path), places) != 0 {
            return false;
        }
        let attempts =
            [Op::Read, Op::Write].into_iter().flat_map(|op| Scope::ALL.iter().map(move |&scope| (op, scope)));
        attempts.into_iter().any(|(op, scope)| self.refused_to_somebody(op, scope, path, places))
    }

    /// Whether a rule denies what was collected before one allows it to everybody.
    fn refused_to_somebody(&self, op: Op, scope: Scope, path: &[u8], places: &Places<'_>) -> bool {
        let meta = self.compiled.meta();
        for word in 0..(meta.words as usize).min(RULE_WORDS) {
            let mut holds = holding(meta, &self.walk.matches, op as u32, scope as u32, 0, word);
            let phases = meta.phase.iter().take(meta.phases as usize).fold(u64::MAX, |all, phase| all & phase[word]);
            let for_all = !meta.by[word] & phases;
            while holds != 0 {
                let bit = holds & holds.wrapping_neg();
                let number = word * 64 + holds.trailing_zeros() as usize;
                let denies = meta.denies[word] & bit != 0;
                if denies && !self.compiled.protected.sweeps(number, path, places) {
                    return true;
                }
                if !denies && for_all & bit != 0 {
                    return false;
                }
                holds &= !bit;
            }
        }
        false
    }

    /// Whether something may lie in `folder` that the policy [protects](Self::protects).
    pub fn may_protect_inside(&mut self, folder: &[u8], places: &Places<'_>) -> bool {
        let wanted = bit(Op::Read) | bit(Op::Write);
        self.compiled.protected.floats
            || Scope::ALL.iter().any(|&scope| {
                self.inside(folder, scope, places).is_some_and(|inside| (inside.all | inside.some) & wanted != 0)
            })
    }

    /// The agent whose executable `exe` is.
    pub fn agent_of(&mut self, exe: &[u8], places: &Places<'_>) -> Option<u8> {
        self.enrols(exe, Scope::Harness, places)
    }

    /// Whether all of the control group at `path` is guarded.
    pub fn guards_group(&mut self, path: &[u8]) -> bool {
        self.enrols(path, Scope::Tool, &Places::default()).is_some()
    }

    fn enrols(&mut self, path: &[u8], scope: Scope, places: &Places<'_>) -> Option<u8> {
        let meta = self.compiled.meta();
        if self.collect(&Object::Path(path), places) != 0 {
            return None;
        }
        let (op, scope) = (Op::Enrol as u32, scope as u32);
        let rule = decide(meta, &self.walk.matches, op, scope, 0, |_| u64::MAX);
        (rule != NO_RULE).then(|| action(meta, rule, op, scope))
    }

    /// Collects the rules whose patterns match `object`; the facts that come to light.
    fn collect(&mut self, object: &Object<'_>, places: &Places<'_>) -> u32 {
        self.walk.matches.clear(self.compiled.meta());
        match *object {
            Object::Path(path) => self.path(path, INTO_OBJECT, places),
            Object::Socket(path) => self.path(path, INTO_TO, places),
            Object::Address { ip, port } => {
                self.text(FAMILY_NET, NODE_ROOT, INTO_OBJECT, &net::text(ip, port), 0);
                0
            }
            Object::Command { path, argv } => self.path(path, INTO_OBJECT, places) | self.command(path, argv),
            Object::Unknown => FACT_OBJECT_UNKNOWN | FACT_ARGV_UNKNOWN,
        }
    }

    fn path(&mut self, path: &[u8], into: u32, places: &Places<'_>) -> u32 {
        let Some(&first) = path.first() else { return FACT_OBJECT_UNKNOWN };
        if path.len() > MAX_TEXT {
            return FACT_OBJECT_UNKNOWN;
        }
        self.text(FAMILY_PATH, NODE_ROOT, into, path, skip_root(FAMILY_PATH as u32, first));
        let anchors = self.compiled.meta().family[FAMILY_PATH].anchors;
        for (node, place) in [(NODE_REPO, places.repo), (NODE_HOME, places.home)] {
            let Some(place) = place.filter(|place| !place.is_empty()) else { continue };
            if anchors & (1 << node) != 0 && path.strip_prefix(place).is_some_and(|rest| rest.first() == Some(&b'/'))
            {
                self.text(FAMILY_PATH, node, into, path, place.len() as u32 + 1);
            }
        }
        0
    }

    /// Walks a command line under the executable's true name, and under the name it was called by.
    fn command(&mut self, path: &[u8], argv: &[u8]) -> u32 {
        let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
        let first_end = argv.iter().position(|&byte| byte == 0).unwrap_or(argv.len());
        let (called, rest) = argv.split_at(first_end);
        let (true_name, called) = (base_name(path), base_name(called));
        let mut facts = 0;
        for (number, name) in [true_name, called].into_iter().enumerate() {
            if number > 0 && (name == true_name || argv.is_empty()) {
                continue;
            }
            let words = [name, rest].concat();
            let mut pieces = words.chunks(ARGV_PIECE as usize).take(ARGV_PIECES as usize).peekable();
            let Some(first) = pieces.next() else { continue };
            if words.len() > (ARGV_PIECE * ARGV_PIECES) as usize {
                facts |= FACT_ARGV_UNKNOWN;
            }
            self.piece(FAMILY_ARGV, Some((NODE_ROOT, INTO_ARGV, 0)), first, pieces.peek().is_some());
            while let Some(piece) = pieces.next() {
                self.piece(FAMILY_ARGV, None, piece, pieces.peek().is_some());
            }
        }
        facts
    }

    fn text(&mut self, family: usize, anchor: u16, into: u32, text: &[u8], from: u32) {
        self.piece(family, Some((anchor, into, from)), text, false);
    }

    /// Begins a walk with an anchor, a set and the first byte, or goes on with the last one.
    fn piece(&mut self, family: usize, begins: Option<(u16, u32, u32)>, text: &[u8], more: bool) {
        let compiled = self.compiled;
        let meta = compiled.meta();
        let entry = &meta.family[family];
        let automata: [&Automaton; MAX_AUTOMATA] =
            std::array::from_fn(|index| Automaton::of(&compiled.blocks[entry.block[index] as usize]));
        self.walk.text[..text.len()].copy_from_slice(text);
        let end = text.len() as u32;
        match begins {
            Some((anchor, into, from)) => {
                let begin = (u32::from(anchor), into);
                walk_text(meta, automata, &mut self.walk, family as u32, begin, from..end, more);
            }
            None => walk_on(meta, automata, &mut self.walk, 0..end, more),
        }
    }
}

/// What follows the last `/`.
fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
