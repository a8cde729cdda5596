//! A family of patterns as tables: segments, the nodes that chain them, and what each fires.
//!
//! Segments go into automata by what they look like, for some looks multiply when they share one: anchored
//! with floating, and stars in one place with stars in another. Literals and suffixes add up, together too,
//! so they move in together where the others need the room.

use std::collections::HashMap;

use guard_common::table::{
    ANCHORS, CELLS, FIRES_EXCEPT, FIRES_NODE, FIRES_RULE_AT_END, FIRES_RULE_BELOW, FIRES_TO, Firing, MAX_AUTOMATA,
    MAX_LIST_LEN, MAX_NODES, NODE_FIRST_FREE,
};

use super::ahead::{Ahead, Leads, Weight};
use super::automaton::{Classes, Dfa, Program, Start, Tok, TooLarge};
use super::pattern::{Part, Pattern, Tail, Token};

/// Largest set of bytes that still counts as a letter: `[ch]` does, `?` does not.
const LETTER: usize = 16;

/// A run of components between two `**`.
struct Segment {
    toks: Vec<Tok>,
    floating: bool,
    /// Bit `1 << anchor`: it stands at the beginning of patterns with that anchor.
    anchors: u8,
    firings: Vec<Firing>,
    rules: Vec<u16>,
}

/// Collects the patterns of one family.
pub struct Builder {
    separator: u8,
    segments: Vec<Segment>,
    index: HashMap<(bool, Vec<Tok>), usize>,
    nodes: HashMap<(u16, usize), u16>,
    anchors: u32,
}

/// One automaton and what its segments look like.
pub struct Built {
    /// For people.
    pub looks: &'static str,
    pub dfa: Dfa,
    /// Firings of each of its states.
    pub lists: Vec<Vec<Firing>>,
    /// What each of its states leads to where a component begins; see [`super::ahead`].
    pub leads: Vec<Leads>,
}

/// The automata of a family, and the classes that they share.
pub struct Family {
    pub classes: Classes,
    pub automata: Vec<Built>,
    /// Anchors that patterns have, as bits.
    pub anchors: u32,
    /// Nodes behind which a pattern goes on, and what they lead to.
    pub leading: Vec<(u16, Leads)>,
    /// What may begin anywhere leads to.
    pub anywhere: Vec<Firing>,
}

/// A family that does not fit, with rules that bring it about, worst first.
pub struct Excess {
    pub what: String,
    pub help: &'static str,
    pub rules: Vec<u16>,
}

/// Flags that make firings with one parent and rule different matches.
const DISTINCT: u8 = FIRES_EXCEPT | FIRES_TO;

impl Builder {
    pub fn new(separator: u8) -> Self {
        Self { separator, segments: Vec::new(), index: HashMap::new(), nodes: HashMap::new(), anchors: 0 }
    }

    /// Adds a pattern of `rule`; `flags` are of [`DISTINCT`].
    pub fn add(&mut self, pattern: &Pattern, rule: u16, flags: u8) {
        self.anchors |= 1 << pattern.anchor;
        let ends = match pattern.tail {
            Tail::End => FIRES_RULE_AT_END,
            Tail::Below => FIRES_RULE_BELOW,
            Tail::Any => FIRES_RULE_AT_END | FIRES_RULE_BELOW,
        };
        if pattern.parts.is_empty() {
            // Everything below the anchor: any first component, whether or not more follow.
            let segment = self.segment(vec![Tok::Star], false, pattern.anchor, rule);
            let firing = Firing {
                parent: pattern.anchor,
                node: 0,
                rule,
                len: 1,
                flags: FIRES_RULE_AT_END | FIRES_RULE_BELOW | flags,
            };
            self.fire(segment, firing);
            return;
        }
        let mut parent = pattern.anchor;
        let mut runs = pattern.parts.split(|part| *part == Part::Deep).enumerate().peekable();
        while let Some((number, run)) = runs.next() {
            if run.is_empty() {
                continue;
            }
            let len = run.len() as u8;
            let segment = self.segment(toks(run), number > 0, pattern.anchor, rule);
            if runs.peek().is_none() {
                self.fire(segment, Firing { parent, node: 0, rule, len, flags: ends | flags });
            } else {
                let next = self.nodes.len() + usize::from(NODE_FIRST_FREE);
                // Past the last node the family is refused; until then any number will do.
                let node = *self.nodes.entry((parent, segment)).or_insert(next.min(MAX_NODES) as u16);
                self.fire(segment, Firing { parent, node, rule: 0, len, flags: FIRES_NODE });
                parent = node;
            }
        }
    }

    /// The number of a segment, entered where it is new.
    fn segment(&mut self, toks: Vec<Tok>, floating: bool, anchor: u16, rule: u16) -> usize {
        let key = (floating, toks);
        let number = self.index.get(&key).copied().unwrap_or_else(|| {
            let toks = key.1.clone();
            self.segments.push(Segment { toks, floating, anchors: 0, firings: Vec::new(), rules: Vec::new() });
            self.index.insert(key, self.segments.len() - 1);
            self.segments.len() - 1
        });
        let segment = &mut self.segments[number];
        if !floating {
            segment.anchors |= 1 << anchor;
        }
        if segment.rules.last() != Some(&rule) {
            segment.rules.push(rule);
        }
        number
    }

    /// Adds a firing to a segment, or to one of its firings that takes it in.
    fn fire(&mut self, segment: usize, firing: Firing) {
        let firings = &mut self.segments[segment].firings;
        let same = |other: &&mut Firing| {
            let match_alike = other.flags & FIRES_NODE == 0
                && firing.flags & FIRES_NODE == 0
                && other.rule == firing.rule
                && (other.flags ^ firing.flags) & DISTINCT == 0;
            let node_alike = other.flags == FIRES_NODE && firing.flags == FIRES_NODE && other.node == firing.node;
            other.parent == firing.parent && (match_alike || node_alike)
        };
        match firings.iter_mut().find(same) {
            Some(other) => other.flags |= firing.flags,
            None => firings.push(firing),
        }
    }

    /// The automata. `weights` says of each rule what it is to things inside of folders; where there are none, nothing
    /// leads anywhere.
    pub fn build(mut self, weights: &[Weight]) -> Result<Family, Excess> {
        if self.nodes.len() + usize::from(NODE_FIRST_FREE) > MAX_NODES {
            let mut rules: Vec<u16> = self.segments.iter().flat_map(|segment| segment.rules.clone()).collect();
            rules.sort_unstable();
            rules.dedup();
            let free = MAX_NODES - usize::from(NODE_FIRST_FREE);
            let what = format!("more than {free} different beginnings before a `**`");
            return Err(Excess { what, help: "begin patterns alike, as with `/srv/*/**/x`", rules });
        }
        let ahead = Ahead::of(self.segments.iter().map(|segment| (&segment.firings[..], segment.floating)), weights);
        for segment in &mut self.segments {
            merge_nodes(&mut segment.firings);
        }
        let sets = self.segments.iter().flat_map(|segment| &segment.toks).filter_map(|tok| match tok {
            Tok::Set(set) => Some(*set),
            Tok::Star | Tok::Sep => None,
        });
        let classes = Classes::new(Some(self.separator), sets);
        // A cell for each class, one for what ends in the state, and one for what is under way.
        let limit = (CELLS / (classes.count + 2)).min(usize::from(u16::MAX));
        let mut automata = self.automata(&classes, limit)?;
        if !weights.is_empty() {
            for built in &mut automata {
                built.leads = built.dfa.under_way.iter().map(|under_way| ahead.of_state(under_way)).collect();
            }
        }
        Ok(Family { classes, automata, anchors: self.anchors, leading: ahead.leading(), anywhere: ahead.anywhere() })
    }

    /// Builds an automaton for each look, dividing those that are too large while there is room.
    fn automata(&self, classes: &Classes, limit: usize) -> Result<Vec<Built>, Excess> {
        let mut groups: Vec<(&'static str, Vec<u32>)> =
            [LOOKS_ANCHORED, LOOKS_LITERAL, LOOKS_SUFFIX, LOOKS_OTHER].map(|looks| (looks, Vec::new())).into();
        for (number, segment) in self.segments.iter().enumerate() {
            let looks = segment.looks();
            groups.iter_mut().filter(|(name, _)| *name == looks).for_each(|(_, group)| group.push(number as u32));
        }
        groups.retain(|(_, group)| !group.is_empty());
        let mut built = Vec::new();
        let mut merged = false;
        while let Some((looks, group)) = groups.pop() {
            match self.automaton(classes, &group, limit) {
                Ok(dfa) => built.push(self.fired(looks, dfa)?),
                Err(too_large) => {
                    if group.len() > 1 && built.len() + groups.len() + 2 <= MAX_AUTOMATA {
                        groups.extend(self.divide(looks, group));
                    } else if !merged && merge_literals(&mut groups) {
                        merged = true;
                        groups.push((looks, group));
                    } else {
                        return Err(self.excess(looks, limit, &too_large));
                    }
                }
            }
        }
        built.reverse();
        Ok(built)
    }

    /// Halves a group, keeping alike segments together.
    fn divide(&self, looks: &'static str, mut group: Vec<u32>) -> [(&'static str, Vec<u32>); 2] {
        group.sort_by_key(|&number| {
            let toks = &self.segments[number as usize].toks;
            let stars = toks.iter().filter(|tok| **tok == Tok::Star).count();
            (stars, toks.first() == Some(&Tok::Star), number)
        });
        let half = group.split_off(group.len() / 2);
        [(looks, group), (looks, half)]
    }

    fn automaton(&self, classes: &Classes, group: &[u32], limit: usize) -> Result<Dfa, TooLarge> {
        let mut program = Program::new(classes);
        let mut floating = Vec::new();
        let mut anchored = vec![Vec::new(); ANCHORS];
        for &number in group {
            let segment = &self.segments[number as usize];
            let start = program.add(&segment.toks, number);
            if segment.floating {
                floating.push(start);
            }
            for (anchor, starts) in anchored.iter_mut().enumerate() {
                if segment.anchors & (1 << anchor) != 0 {
                    starts.push(start);
                }
            }
        }
        let start = if floating.is_empty() { Start::Anchored(anchored) } else { Start::Floating(floating) };
        program.determinize(&start, limit)
    }

    /// An automaton with what each of its states fires.
    fn fired(&self, looks: &'static str, dfa: Dfa) -> Result<Built, Excess> {
        let firings_of = |ends: &[u32]| -> Vec<Firing> {
            ends.iter().flat_map(|&segment| self.segments[segment as usize].firings.iter().copied()).collect()
        };
        let lists: Vec<Vec<Firing>> = dfa.ends.iter().map(|ends| firings_of(ends)).collect();
        if let Some(state) = lists.iter().position(|list| list.len() > MAX_LIST_LEN) {
            let mut rules: Vec<u16> =
                dfa.ends[state].iter().flat_map(|&segment| self.segments[segment as usize].rules.clone()).collect();
            rules.sort_unstable();
            rules.dedup();
            let what = format!("more than {MAX_LIST_LEN} patterns end with a component that one name can match");
            let help = "let one pattern stand for many, as `/srv/*/**/*.key` does for one for each folder";
            return Err(Excess { what, help, rules });
        }
        Ok(Built { looks, dfa, lists, leads: Vec::new() })
    }

    fn excess(&self, looks: &str, limit: usize, too_large: &TooLarge) -> Excess {
        let mut rules = Vec::new();
        for (segment, _) in &too_large.weights {
            for rule in &self.segments[*segment as usize].rules {
                if !rules.contains(rule) {
                    rules.push(*rule);
                }
            }
        }
        let what = format!("the patterns that are {looks} need more than {limit} states");
        Excess { what, help: "use fewer `*` in the middle of names in these rules", rules }
    }
}

const LOOKS_ANCHORED: &str = "anchored";
const LOOKS_LITERAL: &str = "plain names";
const LOOKS_SUFFIX: &str = "name endings";
const LOOKS_OTHER: &str = "names with a `*` or `?` inside";

impl Segment {
    fn looks(&self) -> &'static str {
        let letters = |toks: &[Tok]| {
            toks.iter().all(|tok| match tok {
                Tok::Set(set) => set.len() <= LETTER,
                Tok::Star => false,
                Tok::Sep => true,
            })
        };
        match &self.toks[..] {
            _ if !self.floating => LOOKS_ANCHORED,
            toks if letters(toks) => LOOKS_LITERAL,
            [Tok::Star, rest @ ..] if !rest.is_empty() && letters(rest) && !rest.contains(&Tok::Sep) => LOOKS_SUFFIX,
            _ => LOOKS_OTHER,
        }
    }
}

/// Lets literals and suffixes share an automaton; false where they do not stand apart.
fn merge_literals(groups: &mut Vec<(&'static str, Vec<u32>)>) -> bool {
    let Some(suffix) = groups.iter().position(|(looks, _)| *looks == LOOKS_SUFFIX) else { return false };
    let Some(literal) = groups.iter().position(|(looks, _)| *looks == LOOKS_LITERAL) else { return false };
    let suffixes = std::mem::take(&mut groups[suffix].1);
    groups[literal].1.extend(suffixes);
    groups.remove(suffix);
    true
}

/// Lets a firing that is a match also fire its node, where both have the same parent.
fn merge_nodes(firings: &mut Vec<Firing>) {
    let (nodes, mut rest): (Vec<Firing>, Vec<Firing>) = firings.iter().partition(|firing| firing.flags == FIRES_NODE);
    for node in nodes {
        match rest.iter_mut().find(|other| other.parent == node.parent && other.flags & FIRES_NODE == 0) {
            Some(other) => {
                other.node = node.node;
                other.flags |= FIRES_NODE;
            }
            None => rest.push(node),
        }
    }
    *firings = rest;
}

/// The components of a segment as one sequence.
fn toks(run: &[Part]) -> Vec<Tok> {
    let mut toks = Vec::new();
    for (number, part) in run.iter().enumerate() {
        if number > 0 {
            toks.push(Tok::Sep);
        }
        if let Part::Component(tokens) = part {
            toks.extend(tokens.iter().map(|token| match token {
                Token::Set(set) => Tok::Set(*set),
                Token::Star => Tok::Star,
            }));
        }
    }
    toks
}
