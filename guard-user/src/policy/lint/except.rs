//! Exceptions that except nothing, or everything.

use super::Notes;
use super::overlap::{overlap, targets_overlap};
use crate::policy::Problem;
use crate::policy::net::Target;
use crate::policy::pattern::Pattern;
use crate::policy::reach::{covers, covers_target};
use crate::policy::rule::{Kind, Patterns, Policy, Rule, Written};

/// Looks at each rule by itself.
pub fn look(policy: &Policy, notes: &mut Notes) {
    for rule in policy.rules.iter().filter(|rule| rule.has_except()) {
        for written in rule.written.iter().filter(|written| written.is_except()) {
            // One that comes from a list is shared, and may be of use to another rule.
            if written.list.is_none() && !excepts_something(rule, written) {
                notes.warnings.push(
                    Problem::at(written.span.clone(), format!("`{}` excepts nothing", written.text.escape_debug()))
                        .label(format!("nothing that the rule `{}` matches is matched by it", rule.name))
                        .help("remove it, or correct it")
                        .rule(&rule.name),
                );
            }
        }
        if excepts_all(rule) {
            notes.warnings.push(
                Problem::at(rule.span.clone(), format!("the rule `{}` never decides", rule.name))
                    .label("it excepts everything that it matches")
                    .rule(&rule.name),
            );
        }
    }
}

fn excepts_something(rule: &Rule, written: &Written) -> bool {
    let meets = |positive: Option<&[Pattern]>, all: &[Pattern]| {
        positive.is_none_or(|positive| positive.iter().any(|one| all.iter().any(|other| overlap(one, other))))
    };
    match rule.patterns(written) {
        Patterns::Paths(all) => meets(rule.path.as_deref(), &all),
        Patterns::Commands(all) => meets(rule.argv.as_deref(), &all),
        Patterns::Targets(all) => {
            let positive: Option<&[Target]> = rule.to.as_deref();
            positive
                .is_none_or(|positive| positive.iter().any(|one| all.iter().any(|other| targets_overlap(one, other))))
        }
    }
}

fn excepts_all(rule: &Rule) -> bool {
    fn all<T>(positive: Option<&[T]>, except: &[T], covers: fn(&T, &T) -> bool) -> bool {
        positive.is_some_and(|positive| positive.iter().all(|one| except.iter().any(|other| covers(other, one))))
    }
    // What it excepts is of one kind: operations to which that means nothing are decided all the same.
    rule.ops.iter().all(|&op| rule.except_kind.applies(op))
        && match rule.except_kind {
            Kind::Path => all(rule.path.as_deref(), &rule.except, covers),
            Kind::Argv => all(rule.argv.as_deref(), &rule.except, covers),
            Kind::To => all(rule.to.as_deref(), &rule.except_to, covers_target),
        }
}
