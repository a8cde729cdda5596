//! The family of network addresses: one automaton over the 18 bytes of address and port.
//!
//! The kernel reads the rules straight from the state that the last byte leads to, so what is excepted is
//! taken out of the lists here.

use std::collections::HashMap;

use guard_common::table::{CELLS, FIRES_RULE_AT_END, Firing, MAX_LIST_LEN, NODE_ROOT};

use super::automaton::{Classes, Program, Start, Tok};
use super::family::{Built, Excess, Family};
use super::net::Net;

/// Collects the addresses of rules.
#[derive(Default)]
pub struct Builder {
    entries: Vec<Entry>,
}

struct Entry {
    rule: u16,
    except: bool,
    net: Net,
}

impl Builder {
    /// Adds a block of addresses to `rule`, or to what is excepted from it.
    pub fn add(&mut self, net: Net, rule: u16, except: bool) {
        self.entries.push(Entry { rule, except, net });
    }

    /// The automaton.
    pub fn build(self) -> Result<Family, Excess> {
        let sequences: Vec<_> = self.entries.iter().map(|entry| (entry, entry.net.sequences())).collect();
        let classes = Classes::new(None, sequences.iter().flat_map(|(_, all)| all.iter().flatten().copied()));
        if self.entries.is_empty() {
            return Ok(Family {
                classes,
                automata: Vec::new(),
                anchors: 0,
                leading: Vec::new(),
                anywhere: Vec::new(),
            });
        }
        let limit = (CELLS / (classes.count + 1)).min(usize::from(u16::MAX));
        // A segment is a rule's addresses, or its exceptions: then ends that are alike are one.
        let mut segments: Vec<(u16, bool)> = Vec::new();
        let mut numbers: HashMap<(u16, bool), u32> = HashMap::new();
        let mut program = Program::new(&classes);
        let mut starts = Vec::new();
        for (entry, all) in &sequences {
            let key = (entry.rule, entry.except);
            let number = *numbers.entry(key).or_insert_with(|| {
                segments.push(key);
                segments.len() as u32 - 1
            });
            for sequence in all {
                starts.push(program.add(&sequence.map(Tok::Set), number));
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let dfa = program.determinize(&Start::Anchored(vec![starts]), limit).map_err(|too_large| {
            let rules = too_large.weights.iter().map(|&(segment, _)| segments[segment as usize].0).collect();
            let what = format!("the addresses need more than {limit} states");
            Excess { what, help: "name larger networks, or put what has one action into one rule", rules }
        })?;
        let lists: Vec<Vec<Firing>> = dfa.ends.iter().map(|ends| list(ends, &segments)).collect();
        if let Some(list) = lists.iter().find(|list| list.len() > MAX_LIST_LEN) {
            let rules = list.iter().map(|firing| firing.rule).collect();
            let what = format!("more than {MAX_LIST_LEN} rules name one address");
            return Err(Excess { what, help: "put what has one action into one rule", rules });
        }
        let built = Built { looks: "addresses", dfa, lists, leads: Vec::new() };
        Ok(Family {
            classes,
            automata: vec![built],
            anchors: 1 << NODE_ROOT,
            leading: Vec::new(),
            anywhere: Vec::new(),
        })
    }
}

/// The firings of a state in which `ends` end: rules in order, without those that except the address.
fn list(ends: &[u32], segments: &[(u16, bool)]) -> Vec<Firing> {
    let named = |except| ends.iter().map(|&end| segments[end as usize]).filter(move |entry| entry.1 == except);
    let excepted: Vec<u16> = named(true).map(|(rule, _)| rule).collect();
    let mut rules: Vec<u16> = named(false).map(|(rule, _)| rule).filter(|rule| !excepted.contains(rule)).collect();
    rules.sort_unstable();
    rules
        .into_iter()
        .map(|rule| Firing { parent: NODE_ROOT, node: 0, rule, len: 1, flags: FIRES_RULE_AT_END })
        .collect()
}
