//! Denials that this kernel contains and can't prevent.

use guard_common::words::{Action, Op};

use super::Notes;
use crate::kernel::{Abilities, EXEC_BY_WORDS, Hold, OTHER_FAMILIES, Reach, holds, kernel_types};
use crate::policy::net::Target;
use crate::policy::rule::Rule;
use crate::policy::{Problem, Whole};

/// Rules that are named.
const NAMED: usize = 8;

/// Looks at what is denied. It is said once: a policy has many denials, and for all of them it is the same.
pub fn look(whole: &Whole, notes: &mut Notes) {
    let rules: Vec<&Rule> = whole.policy.rules.iter().filter(|rule| rule.action == Action::Deny).collect();
    let abilities = Abilities::of_this_machine(kernel_types().ok().as_ref());
    let holds: Vec<_> = holds(&abilities)
        .into_iter()
        .filter(|hold| hold.reach == Reach::Contained && rules.iter().any(|rule| is_about(rule, hold)))
        .collect();
    let rules: Vec<&Rule> = rules.into_iter().filter(|rule| holds.iter().any(|hold| is_about(rule, hold))).collect();
    let Some(first) = rules.first() else { return };
    let mut names: Vec<String> = rules.iter().take(NAMED).map(|rule| format!("`{}`", rule.name)).collect();
    if rules.len() > NAMED {
        names.push(format!("and {} more", rules.len() - NAMED));
    }
    let how: Vec<String> = holds.iter().map(|hold| format!("{} is {}", hold.what, hold.how)).collect();
    notes.remarks.push(
        Problem::at(first.span.clone(), "on this kernel not all that is denied is prevented")
            .label(format!("in {}", names.join(", ")))
            .note(how.join("\n")),
    );
}

/// Whether the rule is about what `hold` contains: of connections, only those to unix sockets are; of execs, where the
/// kernel asks before, only those that are told apart by their words; of sockets of other families, rules about addresses.
fn is_about(rule: &Rule, hold: &Hold) -> bool {
    let sockets = |targets: &Vec<Target>| targets.iter().any(|target| !matches!(target, Target::Net(_)));
    let addresses = |targets: &Vec<Target>| targets.iter().any(|target| !matches!(target, Target::Unix(_)));
    let words = rule.argv.is_some() || rule.network_stdin;
    rule.ops.contains(&hold.op)
        && (hold.op != Op::Connect || rule.to.as_ref().is_none_or(sockets))
        && (hold.what != EXEC_BY_WORDS || words)
        && (hold.what != OTHER_FAMILIES || rule.to.as_ref().is_none_or(addresses))
}
