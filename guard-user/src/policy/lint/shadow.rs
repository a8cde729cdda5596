//! Patterns and rules that earlier rules leave nothing to decide.

use guard_common::words::{Op, Scope};

use super::Notes;
use crate::policy::Problem;
use crate::policy::net::Target;
use crate::policy::pattern::Pattern;
use crate::policy::reach::{Extent, comparable, takes, unreachable};
use crate::policy::reading::list;
use crate::policy::rule::{Kind, Patterns, Policy, Rule, Written};

/// Looks at each rule with those before it.
pub fn look(policy: &Policy, notes: &mut Notes) {
    // One that a single rule leaves nothing is an error already.
    if !comparable(policy) || !unreachable(policy).is_empty() {
        return;
    }
    for (number, rule) in policy.rules.iter().enumerate() {
        let shadow = Shadow { rule, earlier: &policy.rules[..number] };
        let entries: Vec<(&Written, Vec<&str>)> = rule
            .written
            .iter()
            .filter(|written| written.is_about_object())
            .filter_map(|written| Some((written, shadow.over_entry(written)?)))
            .collect();
        if let Some(names) = shadow.over_rule() {
            notes.warnings.push(
                Problem::at(rule.span.clone(), format!("the rule `{}` never decides", rule.name))
                    .label(format!("together, {} before it match everything that it does", list(&names)))
                    .help("put it before them, or remove it")
                    .rule(&rule.name),
            );
            continue;
        }
        for (written, names) in entries {
            let matches = if names.len() == 1 { "matches" } else { "together match" };
            let mut problem = Problem::at(
                written.span.clone(),
                format!("`{}` never decides in the rule `{}`", written.text.escape_debug(), rule.name),
            )
            .label(format!("{} before it {matches} all of it", list(&names)))
            .help("remove it, or put the rule before")
            .rule(&rule.name);
            problem.note = written.list.as_ref().map(|list| format!("in the list `{list}`"));
            notes.warnings.push(problem);
        }
    }
}

/// A rule and those before it.
struct Shadow<'a> {
    rule: &'a Rule,
    earlier: &'a [Rule],
}

/// One pattern of one kind.
enum One<'a> {
    Path(&'a [Pattern]),
    Argv(&'a [Pattern]),
    To(&'a [Target]),
}

impl<'a> Shadow<'a> {
    /// The rules that leave nothing of an entry to decide, if they do.
    fn over_entry(&self, written: &Written) -> Option<Vec<&'a str>> {
        let patterns = self.rule.patterns(written);
        let (kind, ones) = match &patterns {
            // Where everything matches it is no condition any more.
            Patterns::Paths(all) if self.rule.path.is_some() => (Kind::Path, ones(all, One::Path)),
            Patterns::Commands(all) if self.rule.argv.is_some() => (Kind::Argv, ones(all, One::Argv)),
            Patterns::Targets(all) if self.rule.to.is_some() => (Kind::To, ones(all, One::To)),
            _ => return None,
        };
        let mut names = Vec::new();
        for &op in self.rule.ops.iter().filter(|op| kind.applies(**op)) {
            for one in &ones {
                self.over(op, Some(one), &mut names)?;
            }
        }
        (!names.is_empty()).then_some(names)
    }

    /// The rules that together leave nothing of the whole rule to decide, if they do.
    fn over_rule(&self) -> Option<Vec<&'a str>> {
        let mut names = Vec::new();
        for &op in &self.rule.ops {
            let mut so_far = names.clone();
            if self.over(op, None, &mut so_far).is_none() {
                so_far.clone_from(&names);
                self.over_each(op, &mut so_far)?;
            }
            names = so_far;
        }
        Some(names)
    }

    /// Whether for one of the conditions each of its patterns is taken.
    fn over_each(&self, op: Op, names: &mut Vec<&'a str>) -> Option<()> {
        let rule = self.rule;
        let conditions = [
            rule.path.as_deref().map(|all| (Kind::Path, ones(all, One::Path))),
            rule.argv.as_deref().map(|all| (Kind::Argv, ones(all, One::Argv))),
            rule.to.as_deref().map(|all| (Kind::To, ones(all, One::To))),
        ];
        conditions.into_iter().flatten().filter(|(kind, _)| kind.applies(op)).find_map(|(_, ones)| {
            let mut so_far = names.clone();
            ones.iter().try_for_each(|one| self.over(op, Some(one), &mut so_far))?;
            *names = so_far;
            Some(())
        })
    }

    /// Adds the rules that take `op` from the rule, or of one of its patterns, in each of its scopes.
    fn over(&self, op: Op, one: Option<&One<'_>>, names: &mut Vec<&'a str>) -> Option<()> {
        for &scope in Scope::ALL.iter().filter(|scope| self.rule.in_scope(**scope)) {
            let mut part = Extent { scope: Some(scope), ..Extent::whole(self.rule) };
            match one {
                Some(One::Path(pattern)) => part.path = Some(pattern),
                Some(One::Argv(pattern)) => part.argv = Some(pattern),
                Some(One::To(target)) => part.to = Some(target),
                None => {}
            }
            let by = self.earlier.iter().find(|earlier| takes(earlier, &part, op))?;
            if !names.contains(&by.name.as_str()) {
                names.push(&by.name);
            }
        }
        Some(())
    }
}

/// Each of `all` by itself.
fn ones<'a, T>(all: &'a [T], one: fn(&'a [T]) -> One<'a>) -> Vec<One<'a>> {
    all.chunks(1).map(one).collect()
}
