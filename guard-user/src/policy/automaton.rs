//! Deterministic automata over bytes, by subset construction.
//!
//! A *program* is what all patterns of an automaton come to: nodes that stand for a set of bytes, a star, a
//! separator or the end of a segment. A state of the automaton is a set of nodes.
//!
//! A floating segment can start at every component, so its start would stand in the set of every state; and
//! one that starts with a star is live all through each component. Both are kept out of the sets, as two
//! implicit parts whose moves are worked out once: so a thousand suffixes cost what their letters cost.

use std::collections::HashMap;
use std::rc::Rc;

use super::bytes::ByteSet;

/// Element of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tok {
    /// One byte of a set.
    Set(ByteSet),
    /// Any number of bytes other than the separator.
    Star,
    /// The separator.
    Sep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Set { set: u32, next: u32 },
    Star { next: u32 },
    Sep { next: u32 },
    End { segment: u32 },
}

/// Bytes that no pattern of a family tells apart.
pub struct Classes {
    /// The class of each byte, from 0.
    pub of: [u8; 256],
    /// How many there are.
    pub count: usize,
    /// The separator's, which is its alone.
    separator: Option<usize>,
    /// Number of each set.
    sets: HashMap<ByteSet, u32>,
    /// Classes of each set, by its number.
    members: Vec<Vec<u16>>,
}

impl Classes {
    /// The classes that `sets` and the separator make.
    pub fn new(separator: Option<u8>, sets: impl IntoIterator<Item = ByteSet>) -> Self {
        let mut numbers = HashMap::new();
        let mut all = Vec::new();
        let own = separator.map(ByteSet::one);
        for set in own.into_iter().chain(sets) {
            numbers.entry(set).or_insert_with(|| {
                all.push(set);
                all.len() as u32 - 1
            });
        }
        // Refine one partition by each set in turn.
        let mut of = [0u8; 256];
        let mut count = 1usize;
        for set in &all {
            let mut split: Vec<[Option<u8>; 2]> = vec![[None; 2]; count];
            let mut next = 0usize;
            let mut refined = [0u8; 256];
            for byte in 0..=u8::MAX {
                let slot = &mut split[usize::from(of[usize::from(byte)])][usize::from(set.contains(byte))];
                refined[usize::from(byte)] = *slot.get_or_insert_with(|| {
                    next += 1;
                    (next - 1) as u8
                });
            }
            of = refined;
            count = next;
        }
        let members = all
            .iter()
            .map(|set| {
                let mut classes: Vec<u16> = (0..=u8::MAX)
                    .filter(|&byte| set.contains(byte))
                    .map(|byte| u16::from(of[usize::from(byte)]))
                    .collect();
                classes.sort_unstable();
                classes.dedup();
                classes
            })
            .collect();
        let separator = separator.map(|byte| usize::from(of[usize::from(byte)]));
        Self { of, count, separator, sets: numbers, members }
    }
}

/// The patterns of one automaton, as a program.
pub struct Program<'a> {
    classes: &'a Classes,
    nodes: Vec<Node>,
    /// Segment each node belongs to.
    segment: Vec<u32>,
    /// Nodes by what they are: equal ends of one segment's sequences are one.
    index: HashMap<Node, u32>,
}

/// Where an automaton starts.
pub enum Start {
    /// At the beginning only; one set of nodes for each anchor.
    Anchored(Vec<Vec<u32>>),
    /// At every component.
    Floating(Vec<u32>),
}

/// An automaton. State 0 is dead.
pub struct Dfa {
    /// Next states: for each state, one for each class.
    pub next: Vec<u16>,
    /// Segments that end in each state, in order.
    pub ends: Vec<Rc<[u32]>>,
    /// Start states: one for each anchor, or one for all.
    pub starts: Vec<u16>,
    /// Segments under way in each state in which a component begins, and how many of their components are still to come;
    /// none in other states, and none that may begin anywhere.
    pub under_way: Vec<Vec<(u32, usize)>>,
}

/// The automaton would be too large. Holds how often each segment stood in a state.
pub struct TooLarge {
    /// Segment and weight, heaviest first.
    pub weights: Vec<(u32, usize)>,
}

/// Moves out of a set of nodes.
struct Moves {
    by_class: Vec<Vec<u32>>,
    ends: Vec<u32>,
}

/// Node moves that a construction may take before it is given up: some seconds.
const MAX_WORK: usize = 200_000_000;

impl<'a> Program<'a> {
    pub fn new(classes: &'a Classes) -> Self {
        Self { classes, nodes: Vec::new(), segment: Vec::new(), index: HashMap::new() }
    }

    /// Adds one sequence of `segment`; the node it starts with.
    pub fn add(&mut self, sequence: &[Tok], segment: u32) -> u32 {
        let mut next = self.node(Node::End { segment }, segment);
        for tok in sequence.iter().rev() {
            let node = match tok {
                Tok::Set(set) => Node::Set { set: self.classes.sets[set], next },
                Tok::Star => Node::Star { next },
                Tok::Sep => Node::Sep { next },
            };
            next = self.node(node, segment);
        }
        next
    }

    fn node(&mut self, node: Node, segment: u32) -> u32 {
        *self.index.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.segment.push(segment);
            self.nodes.len() as u32 - 1
        })
    }

    /// Adds `node` to a set, with what a star lets through.
    fn reach(&self, mut node: u32, set: &mut Vec<u32>) {
        set.push(node);
        while let Node::Star { next } = self.nodes[node as usize] {
            node = next;
            set.push(node);
        }
    }

    /// Adds what each of `from` moves to, by class; the number of moves.
    fn step(&self, from: &[u32], moves: &mut [Vec<u32>], ends: &mut Vec<u32>) -> usize {
        let mut work = 0;
        for &node in from {
            match self.nodes[node as usize] {
                Node::Set { set, next } => {
                    let members = &self.classes.members[set as usize];
                    work += members.len();
                    for &class in members {
                        self.reach(next, &mut moves[usize::from(class)]);
                    }
                }
                Node::Star { .. } => {
                    work += moves.len();
                    for (class, set) in moves.iter_mut().enumerate() {
                        if Some(class) != self.classes.separator {
                            self.reach(node, set);
                        }
                    }
                }
                Node::Sep { next } => {
                    if let Some(separator) = self.classes.separator {
                        work += 1;
                        self.reach(next, &mut moves[separator]);
                    }
                }
                Node::End { segment } => ends.push(segment),
            }
        }
        work
    }

    fn moves(&self, from: &[u32]) -> Moves {
        let mut moves = Moves { by_class: vec![Vec::new(); self.classes.count], ends: Vec::new() };
        self.step(from, &mut moves.by_class, &mut moves.ends);
        moves
    }

    /// The automaton, of at most `max_states` states, the dead one included.
    pub fn determinize(&self, start: &Start, max_states: usize) -> Result<Dfa, TooLarge> {
        let classes = self.classes.count;
        let floating = matches!(start, Start::Floating(_));
        let (mut always, mut at_start) = (Vec::new(), Vec::new());
        if let Start::Floating(nodes) = start {
            for &node in nodes {
                match self.nodes[node as usize] {
                    Node::Star { next } => self.reach(next, &mut always),
                    _ => self.reach(node, &mut at_start),
                }
            }
        }
        let (always, at_start) = (self.moves(&always), self.moves(&at_start));

        // A key is 1 where a component starts, else 0, and the nodes in order.
        let mut keys: Vec<Rc<[u32]>> = vec![Rc::from([u32::MAX])];
        let mut numbers: HashMap<Rc<[u32]>, u16> = HashMap::new();
        let mut dfa =
            Dfa { next: vec![0; classes], ends: vec![Rc::from([])], starts: Vec::new(), under_way: Vec::new() };
        let mut intern = |key: &[u32], keys: &mut Vec<Rc<[u32]>>| -> u16 {
            if let Some(&number) = numbers.get(key) {
                return number;
            }
            let number = keys.len().min(usize::from(u16::MAX)) as u16;
            let key: Rc<[u32]> = Rc::from(key);
            keys.push(Rc::clone(&key));
            numbers.insert(key, number);
            number
        };
        match start {
            Start::Anchored(sets) => {
                for nodes in sets {
                    let mut key = vec![0];
                    for &node in nodes {
                        self.reach(node, &mut key);
                    }
                    let number = if key.len() == 1 { 0 } else { intern(tidy(&mut key), &mut keys) };
                    dfa.starts.push(number);
                }
            }
            Start::Floating(_) => dfa.starts.push(intern(&[1], &mut keys)),
        }

        let mut next: Vec<Vec<u32>> = vec![Vec::new(); classes];
        let mut work = 0;
        let mut state = 1;
        while let Some(key) = keys.get(state).cloned() {
            state += 1;
            let mut ends = Vec::new();
            for (class, set) in next.iter_mut().enumerate() {
                set.clear();
                set.push(u32::from(floating && Some(class) == self.classes.separator));
            }
            work += self.step(&key[1..], &mut next, &mut ends);
            let implicit = [(floating, &always), (key[0] == 1, &at_start)];
            for (_, part) in implicit.into_iter().filter(|(live, _)| *live) {
                ends.extend(&part.ends);
                for (set, moves) in next.iter_mut().zip(&part.by_class) {
                    work += moves.len();
                    set.extend(moves);
                }
            }
            for set in &mut next {
                let number = if set.len() == 1 && !floating { 0 } else { intern(tidy(set), &mut keys) };
                dfa.next.push(number);
            }
            ends.sort_unstable();
            ends.dedup();
            dfa.ends.push(Rc::from(ends));
            if keys.len() > max_states || work > MAX_WORK {
                return Err(self.too_large(&keys));
            }
        }
        dfa.under_way = self.under_way(&dfa, &keys);
        Ok(dfa)
    }

    /// See [`Dfa::under_way`].
    fn under_way(&self, dfa: &Dfa, keys: &[Rc<[u32]>]) -> Vec<Vec<(u32, usize)>> {
        let mut begins = vec![false; keys.len()];
        let after_separator = dfa.next.chunks(self.classes.count).filter_map(|row| row.get(self.classes.separator?));
        for &state in dfa.starts.iter().chain(after_separator) {
            begins[usize::from(state)] = true;
        }
        let under_way = |(state, key): (usize, &Rc<[u32]>)| {
            let nodes = if begins[state] && state > 0 { &key[1..] } else { &[] };
            let mut segments: Vec<(u32, usize)> =
                nodes.iter().map(|&node| (self.segment[node as usize], self.to_come(node))).collect();
            segments.sort_unstable();
            segments.dedup();
            segments
        };
        keys.iter().enumerate().map(under_way).collect()
    }

    /// Components that are still to come from the beginning of one, where `node` stands.
    fn to_come(&self, mut node: u32) -> usize {
        let mut components = 1;
        loop {
            node = match self.nodes[node as usize] {
                Node::Set { next, .. } | Node::Star { next } => next,
                Node::Sep { next } => {
                    components += 1;
                    next
                }
                Node::End { .. } => return components,
            };
        }
    }

    fn too_large(&self, keys: &[Rc<[u32]>]) -> TooLarge {
        let mut weights: HashMap<u32, usize> = HashMap::new();
        for key in &keys[1..] {
            for &node in &key[1..] {
                *weights.entry(self.segment[node as usize]).or_default() += 1;
            }
        }
        let mut weights: Vec<(u32, usize)> = weights.into_iter().collect();
        weights.sort_by_key(|&(segment, weight)| (std::cmp::Reverse(weight), segment));
        TooLarge { weights }
    }
}

/// A key with its nodes in order, each once. Its first element stays where it is.
fn tidy(key: &mut Vec<u32>) -> &[u32] {
    let flag = key[0];
    key[1..].sort_unstable();
    // The flag may equal a node's number: keep it out of the way of `dedup`.
    key[0] = u32::MAX;
    key.dedup();
    key[0] = flag;
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Vec<Tok> {
        text.bytes()
            .map(|byte| match byte {
                b'/' => Tok::Sep,
                b'*' => Tok::Star,
                byte => Tok::Set(ByteSet::one(byte)),
            })
            .collect()
    }

    fn classes(segments: &[Vec<Tok>]) -> Classes {
        let sets = segments.iter().flatten().filter_map(|tok| match tok {
            Tok::Set(set) => Some(*set),
            _ => None,
        });
        Classes::new(Some(b'/'), sets)
    }

    #[test]
    fn the_separator_has_a_class_of_its_own() {
        let classes = Classes::new(Some(b'/'), [ByteSet::range(b'a', b'f'), ByteSet::range(b'c', b'z')]);
        assert_eq!(classes.count, 5);
        let of = |byte: u8| classes.of[usize::from(byte)];
        assert_eq!(of(b'a'), of(b'b'));
        assert_ne!(of(b'a'), of(b'c'));
        assert_ne!(of(b'/'), of(b'.'));
    }

    #[test]
    fn every_byte_can_be_a_class_of_its_own() {
        let classes = Classes::new(None, (0..=u8::MAX).map(ByteSet::one));
        assert_eq!(classes.count, 256);
    }

    #[test]
    fn suffixes_add_up() {
        let segments: Vec<Vec<Tok>> = (0..300).map(|n| literal(&format!("*.x{n}"))).collect();
        let classes = classes(&segments);
        let mut program = Program::new(&classes);
        let starts = segments.iter().enumerate().map(|(n, toks)| program.add(toks, n as u32)).collect();
        let dfa = program.determinize(&Start::Floating(starts), 2000).ok().expect("small enough");
        assert!(dfa.ends.len() < 400, "{} states", dfa.ends.len());
    }

    #[test]
    fn what_is_too_large_is_named() {
        let mut segments: Vec<Vec<Tok>> = ('a'..='q').map(|c| literal(&format!("*{c}*"))).collect();
        segments.push(literal("zz"));
        let classes = classes(&segments);
        let mut program = Program::new(&classes);
        let starts = segments.iter().enumerate().map(|(n, toks)| program.add(toks, n as u32)).collect();
        let Err(too_large) = program.determinize(&Start::Floating(starts), 1000) else { panic!("it is too large") };
        assert!(too_large.weights[0].0 < 17);
    }
}
