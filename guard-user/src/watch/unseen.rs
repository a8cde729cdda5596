//! What a policy denies and this kernel does not show: whoever starts guard has to know.

use anyhow::bail;
use guard_common::words::Op;

use crate::kernel::{Abilities, blind};
use crate::policy::Compiled;

/// Rules that are named.
const NAMED: usize = 5;

/// The operations that `policy` denies and guard does not see, in words.
///
/// # Errors
/// If there are some, unless that is wanted: to `degrade`.
pub(super) fn check(policy: &Compiled, abilities: &Abilities, degrade: bool) -> anyhow::Result<Vec<&'static str>> {
    // What guard forbids for its own sake is no promise of the policy's.
    let denials = |op| policy.denials_of(op).filter(|rule| !rule.is_own());
    let refuses = |op: &Op| denials(*op).next().is_some() || policy.refuses_by_default(*op);
    let ops: Vec<Op> = blind(abilities).into_iter().filter(refuses).collect();
    let words: Vec<&'static str> = ops.iter().map(|op| op.word()).collect();
    if words.is_empty() || degrade {
        return Ok(words);
    }
    let mut rules: Vec<String> = ops.iter().flat_map(|&op| denials(op)).map(|rule| quoted(&rule.name)).collect();
    rules.sort();
    rules.dedup();
    let more = rules.len().saturating_sub(NAMED);
    rules.truncate(NAMED);
    let by = match (&rules[..], more) {
        ([], _) => "by default".to_owned(),
        (rules, 0) => format!("by {}", rules.join(", ")),
        (rules, more) => format!("by {} and {more} more", rules.join(", ")),
    };
    let what: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    bail!(
        "the policy denies what guard does not see on this kernel: {}, {by}.\n\
         guard doctor says why, and what would lift it. With --degrade guard starts all the same: then nothing of this \
         is prevented or recorded",
        what.join(", ")
    )
}

fn quoted(word: &str) -> String {
    format!("`{word}`")
}
