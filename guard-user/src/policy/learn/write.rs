//! The learned policy's text.

use guard_common::words::{Action, Op, Scope};

use super::fold::Entries;
use super::{Learner, Seen, base};
use crate::policy::draft::{Draft, Entry, comment};

/// What stays denied is listed up to here.
const MAX_DENIED: usize = 200;
/// Operations in the order of their rules.
const ORDER: [Op; 5] = [Op::Exec, Op::Read, Op::Write, Op::Connect, Op::Send];

/// The policy of all that was learned.
pub fn policy(learner: &Learner<'_>) -> String {
    let mut text = comment(&format!("Learned by guard from {} events. What was seen is allowed;", learner.events));
    text += &comment("all else is denied, as far as anything of its kind was seen. Read it before you use it.");
    if learner.lost > 0 {
        let what =
            format!("{} events had been lost when these were recorded: what they told is missing.", learner.lost);
        text += &comment(&what);
    }
    if learner.garbage > 0 {
        text += &comment(&format!("{} lines were no events.", learner.garbage));
    }
    text += "\n";
    text += &base::text();
    let seen: Vec<(Op, &Entries)> = ORDER.iter().filter_map(|op| Some((*op, learner.patterns.get(op)?))).collect();
    for (op, entries) in &seen {
        for draft in rules(*op, entries) {
            text += "\n";
            text += &draft.text();
        }
    }
    if !seen.is_empty() {
        text += "\n[default]\n";
        for (op, _) in &seen {
            text += op.word();
            text += " = \"deny\"\n";
        }
    }
    text + &denied(learner)
}

/// The rules for one operation: for both scopes, and for each that some patterns were only seen in.
fn rules(op: Op, entries: &Entries) -> Vec<Draft> {
    let scopes = [None, Some(Scope::Harness), Some(Scope::Tool)];
    scopes.into_iter().filter_map(|scope| rule(op, scope, entries)).collect()
}

fn rule(op: Op, scope: Option<Scope>, entries: &Entries) -> Option<Draft> {
    let mine: Vec<(&String, &Seen)> = entries.iter().filter(|(_, seen)| only(seen) == scope).collect();
    if mine.is_empty() {
        return None;
    }
    let key = if matches!(op, Op::Connect | Op::Send) { "to" } else { "path" };
    let entries = mine.into_iter().map(|(pattern, seen)| Entry::new(pattern.clone(), said(pattern, seen))).collect();
    Some(Draft {
        name: ["learned", op.word()].into_iter().chain(scope.map(Scope::word)).collect::<Vec<_>>().join("-"),
        comments: Vec::new(),
        on: vec![op],
        lists: vec![(key, entries)],
        scope,
        action: Action::Allow,
        reason: None,
    })
}

/// The scope that a pattern was seen in, where that is one.
fn only(seen: &Seen) -> Option<Scope> {
    match seen.scopes {
        [true, true] => None,
        scopes => Scope::ALL.iter().copied().find(|&scope| scopes[scope as usize]),
    }
}

/// How often, and what for example.
fn said(pattern: &str, seen: &Seen) -> String {
    let times = if seen.count == 1 { "once".to_owned() } else { format!("{} times", seen.count) };
    if pattern == seen.example { times } else { format!("{times}, such as {}", seen.example) }
}

/// What was seen and stays denied.
fn denied(learner: &Learner<'_>) -> String {
    let mut text = String::new();
    if learner.denied.is_empty() {
        return text;
    }
    text += "\n# Seen, still denied:\n";
    for ((op, what, why), count) in learner.denied.iter().take(MAX_DENIED) {
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        text += &comment(&format!("- {op} {what} ({times}): {why}"));
    }
    if learner.denied.len() > MAX_DENIED {
        text += &comment(&format!("- and {} more", learner.denied.len() - MAX_DENIED));
    }
    text
}
