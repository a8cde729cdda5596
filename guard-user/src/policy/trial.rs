//! Trying a policy on its cases.

use std::collections::HashSet;

use guard_common::words::Action;

use super::Whole;
use super::cases::{BY_DEFAULT, Case, Cases};
use super::failure::{Failure, Finding, Place, Problem, Severity};
use super::question::Question;
use super::reading::suggest;

/// How a policy did on the cases of one file.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The file.
    pub file: &'a str,
    /// How many cases it has.
    pub cases: usize,
    /// Those in which something else is decided.
    pub failed: Vec<Failed<'a>>,
    /// Numbers of the rules that decided.
    covered: HashSet<u16>,
}

/// A case in which something else is decided than what is expected.
#[derive(Debug)]
pub struct Failed<'a> {
    /// Where it stands.
    pub place: Place,
    /// The case.
    pub case: &'a Case,
    /// What is decided.
    pub action: Action,
    /// The rule that decides, or [`BY_DEFAULT`].
    pub rule: String,
}

impl Whole {
    /// The number of the phase with this name, or of the first; `None` if there is none of that name.
    #[must_use]
    pub fn phase(&self, name: Option<&str>) -> Option<u32> {
        let Some(name) = name else { return Some(0) };
        self.compiled.phases.iter().position(|phase| phase == name).map(|number| number as u32)
    }

    /// Tries the policy on `cases`. Fails if they name a rule that isn't there.
    pub fn test<'a>(&self, cases: &'a Cases) -> Result<Trial<'a>, Failure> {
        let names: Vec<&str> = self.policy.rules.iter().map(|rule| rule.name.as_str()).chain([BY_DEFAULT]).collect();
        let unknown = |case: &Case| {
            let name = case.rule.as_deref().filter(|name| !names.contains(name))?;
            let problem =
                Problem::at(case.rule_span.clone(), format!("the policy has no rule `{}`", name.escape_debug()));
            Some(suggest(problem, name, &names))
        };
        let phases: Vec<&str> = self.compiled.phases.iter().map(String::as_str).collect();
        let no_phase = |case: &Case| {
            let name = case.phase.as_deref().filter(|name| !phases.contains(name))?;
            let problem =
                Problem::at(case.phase_span.clone(), format!("the policy has no phase `{}`", name.escape_debug()));
            Some(suggest(problem, name, &phases))
        };
        let unknown: Vec<Problem> =
            cases.cases.iter().flat_map(|case| [unknown(case), no_phase(case)]).flatten().collect();
        if !unknown.is_empty() {
            return Err(Failure::new(&cases.source, unknown));
        }
        let mut tables = self.compiled.tables();
        let mut covered = HashSet::new();
        let mut failed = Vec::new();
        for case in &cases.cases {
            let phase = self.phase(case.phase.as_deref()).unwrap_or_default();
            let decision = Question { phase, ..case.question.clone() }.decide(&mut tables);
            covered.extend(decision.rule);
            let rule = decision.rule.map_or(BY_DEFAULT, |rule| self.compiled.rules[usize::from(rule)].name.as_str());
            if decision.action != case.expect || case.rule.as_ref().is_some_and(|expected| expected != rule) {
                let place = cases.source.place(case.span.start);
                failed.push(Failed { place, case, action: decision.action, rule: rule.to_owned() });
            }
        }
        Ok(Trial { file: &cases.source.origin, cases: cases.cases.len(), failed, covered })
    }

    /// Warnings about the rules that decided none of the cases.
    #[must_use]
    pub fn uncovered(&self, trials: &[Trial<'_>]) -> Vec<Finding> {
        let covered = |number: u16| trials.iter().any(|trial| trial.covered.contains(&number));
        let warning = |(_, rule): (u16, &super::rule::Rule)| {
            let problem = Problem::at(rule.span.clone(), format!("no case is decided by the rule `{}`", rule.name));
            Finding::new(Severity::Warning, problem.rule(&rule.name), &self.source)
        };
        (0..).zip(&self.policy.rules).filter(|(number, _)| !covered(*number)).map(warning).collect()
    }
}
