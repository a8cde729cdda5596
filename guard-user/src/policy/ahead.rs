//! What a place in a pattern leads to: the rules that may match something further below.
//!
//! [`guard_common::below`] says what this is for. Of the rules that a place leads to, only the first that asks for the same
//! operations of the same processes has to be told: where it decides, the later ones don't.

use std::collections::{BTreeMap, HashMap};

use guard_common::table::{FIRES_EXCEPT, FIRES_NODE, Firing, MAX_LIST_LEN, NODE_ROOT};

/// What a rule is to things that are moved: rules with the same number ask for the same. None for those that don't matter.
pub type Weight = Option<usize>;

/// What a place leads to, as firings that are yet to come: the parent that must have fired, how many components of the
/// segment are done, the rule, and whether it is an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// These.
    To(Vec<Firing>),
    /// More than a list holds.
    Anywhere,
}

impl Leads {
    /// Whether it leads nowhere.
    pub fn is_nowhere(&self) -> bool {
        matches!(self, Self::To(firings) if firings.is_empty())
    }
}

/// What is found at the end of patterns: what the rules ask for and whether they except, and the first such rule.
type Found = BTreeMap<(usize, bool), u16>;

/// What segments and nodes lead to.
pub struct Ahead {
    /// By segment: for each parent and length, what is found when it has ended, there or further below.
    segments: Vec<Vec<(u16, u8, Found)>>,
    nodes: HashMap<u16, Found>,
}

impl Ahead {
    /// Of a family's segments, by their firings and whether they may begin anywhere below their parent.
    pub fn of<'a>(segments: impl Iterator<Item = (&'a [Firing], bool)>, weights: &[Weight]) -> Self {
        let segments: Vec<(&[Firing], bool)> = segments.collect();
        let mut by_parent: HashMap<u16, Vec<Firing>> = HashMap::new();
        for firing in segments.iter().filter(|(_, floating)| *floating).flat_map(|(firings, _)| *firings) {
            by_parent.entry(firing.parent).or_default().push(*firing);
        }
        let mut nodes = HashMap::new();
        for &parent in by_parent.keys() {
            node(parent, &by_parent, weights, &mut nodes);
        }
        let of_firing = |firing: &Firing| {
            let mut found = own(*firing, weights);
            if firing.flags & FIRES_NODE != 0 {
                found = merged(found, nodes.get(&firing.node));
            }
            (firing.parent, firing.len, found)
        };
        let segments = segments.iter().map(|(firings, _)| firings.iter().map(of_firing).collect()).collect();
        Self { segments, nodes }
    }

    /// What a state leads to in which these segments are under way, with how many components still to come.
    pub fn of_state(&self, under_way: &[(u32, usize)]) -> Leads {
        let mut merged: BTreeMap<(u16, u8), Found> = BTreeMap::new();
        for &(segment, to_come) in under_way {
            for (parent, len, found) in &self.segments[segment as usize] {
                let done = usize::from(*len).saturating_sub(to_come) as u8;
                merge(merged.entry((*parent, done)).or_default(), found);
            }
        }
        let firings: Vec<Firing> =
            merged.iter().flat_map(|((parent, done), found)| firings(*parent, *done, found)).collect();
        if firings.len() > MAX_LIST_LEN { Leads::Anywhere } else { Leads::To(firings) }
    }

    /// The nodes below which a segment may begin anywhere.
    pub fn leading(&self) -> Vec<(u16, Leads)> {
        let leads = |node: u16| {
            let firings = firings(node, 0, &self.nodes[&node]);
            if firings.len() > MAX_LIST_LEN { Leads::Anywhere } else { Leads::To(firings) }
        };
        let mut leading: Vec<(u16, Leads)> = self
            .nodes
            .keys()
            .filter(|node| **node != NODE_ROOT)
            .map(|&node| (node, leads(node)))
            .filter(|(_, leads)| !leads.is_nowhere())
            .collect();
        leading.sort_by_key(|(node, _)| *node);
        leading
    }

    /// What may begin anywhere at all leads to.
    pub fn anywhere(&self) -> Vec<Firing> {
        self.nodes.get(&NODE_ROOT).map(|found| firings(NODE_ROOT, 0, found)).unwrap_or_default()
    }
}

/// What a firing finds itself.
fn own(firing: Firing, weights: &[Weight]) -> Found {
    let weight = weights.get(usize::from(firing.rule)).copied().flatten();
    let matches = firing.flags & !FIRES_NODE != 0;
    let found = weight.filter(|_| matches).map(|kind| ((kind, firing.flags & FIRES_EXCEPT != 0), firing.rule));
    found.into_iter().collect()
}

/// What is found below a node, and below those that come after it.
fn node(
    number: u16,
    by_parent: &HashMap<u16, Vec<Firing>>,
    weights: &[Weight],
    nodes: &mut HashMap<u16, Found>,
) -> Found {
    if let Some(found) = nodes.get(&number) {
        return found.clone();
    }
    let mut all = Found::new();
    for firing in by_parent.get(&number).into_iter().flatten() {
        merge(&mut all, &own(*firing, weights));
        if firing.flags & FIRES_NODE != 0 {
            merge(&mut all, &node(firing.node, by_parent, weights, nodes));
        }
    }
    nodes.insert(number, all.clone());
    all
}

/// Takes in what else is found: of rules that ask for the same, the first.
fn merge(into: &mut Found, more: &Found) {
    for (&what, &rule) in more {
        let first = into.entry(what).or_insert(rule);
        *first = rule.min(*first);
    }
}

/// Both together.
fn merged(mut one: Found, other: Option<&Found>) -> Found {
    if let Some(other) = other {
        merge(&mut one, other);
    }
    one
}

/// What is found behind a parent, with so much of the segment done, as firings.
fn firings(parent: u16, done: u8, found: &Found) -> Vec<Firing> {
    let firing = |(&(_, excepts), &rule): (&(usize, bool), &u16)| Firing {
        parent,
        node: 0,
        rule,
        len: done,
        flags: if excepts { FIRES_EXCEPT } else { 0 },
    };
    found.iter().map(firing).collect()
}
