//! Why a policy decides as it does, from the very tables that the kernel gets.

use std::time::Instant;

use guard_common::words::{Action, Op};
use serde::Serialize;

use super::compile::compile;
use super::question::{Question, Thing};
use super::rule::{Kind, Patterns, Policy, Rule, Written};
use super::{RuleInfo, Whole};

/// The answer to a question, with what led to it.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// What is done.
    pub action: &'static str,
    /// Rules that match, in order. The first decides; where there is none, the default does.
    pub matched: Vec<Match>,
    /// Rules about the operation in this scope that do not match.
    pub passed: Vec<Passed>,
}

/// A rule that matches.
#[derive(Debug, Serialize)]
pub struct Match {
    /// Its name.
    pub rule: String,
    /// The line it stands on.
    pub line: u32,
    /// What it does.
    pub action: &'static str,
    /// Why, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The patterns that match.
    pub patterns: Vec<Because>,
}

/// A rule that does not match.
#[derive(Debug, Serialize)]
pub struct Passed {
    /// Its name.
    pub rule: String,
    /// The line it stands on.
    pub line: u32,
    /// The conditions that are not met: keys of the rule.
    pub missed: Vec<&'static str>,
    /// The exceptions that match.
    pub excepted: Vec<Because>,
}

/// A pattern that matches.
#[derive(Clone, Debug, Serialize)]
pub struct Because {
    /// The condition that it stands in.
    pub key: &'static str,
    /// As it was written.
    pub pattern: String,
    /// The line it stands on.
    pub line: u32,
    /// The list it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
}

/// Patterns that are asked about at once; so many can always share tables.
const TOGETHER: usize = 32;

impl Whole {
    /// Answers `question`; `all` tells of the rules too that do not match.
    #[must_use]
    pub fn explain(&self, question: &Question, all: bool) -> Explanation {
        let decision = question.decide(&mut self.compiled.tables());
        let matched = decision.matched.iter().filter_map(|&number| self.rule(number)).map(|(info, rule)| Match {
            rule: info.name.clone(),
            line: info.line,
            action: info.action.word(),
            reason: info.reason.clone(),
            patterns: [self.which(rule, Written::is_about_object, question), self.by(rule, question)].concat(),
        });
        let others = (0..self.policy.rules.len() as u16).filter(|number| all && !decision.matched.contains(number));
        let passed = others.filter_map(|number| self.rule(number)).filter_map(|(info, rule)| {
            let is_about = rule.ops.contains(&question.op) && rule.in_scope(question.scope);
            is_about.then(|| self.passed(info, rule, question))
        });
        Explanation { action: decision.action.word(), matched: matched.collect(), passed: passed.collect() }
    }

    /// Why a rule about the operation does not match.
    fn passed(&self, info: &RuleInfo, rule: &Rule, question: &Question) -> Passed {
        let met = self.which(rule, Written::is_about_object, question);
        let excepted = self.which(rule, Written::is_except, question);
        let who = rule.by.is_some() && self.by(rule, question).is_empty();
        let when = rule.phases.is_some_and(|phases| phases & 1 << question.phase == 0);
        let missed = [
            ("path", rule.path.is_some() && Kind::Path.applies(question.op)),
            ("argv", rule.argv.is_some() && Kind::Argv.applies(question.op)),
            ("to", rule.to.is_some() && Kind::To.applies(question.op)),
        ]
        .into_iter()
        // What only excepts has no patterns of its own to be missed.
        .filter(|(key, needed)| *needed && rule.written.iter().any(|written| written.key == *key))
        .map(|(key, _)| key)
        .filter(|key| !met.iter().any(|because| because.key == *key));
        let by = who.then_some("by");
        let phase = when.then_some("phase");
        let stdin = (rule.network_stdin && !question.network_stdin).then_some("stdin");
        let except = (!excepted.is_empty()).then_some("except");
        Passed {
            rule: info.name.clone(),
            line: info.line,
            missed: missed.chain(by).chain(phase).chain(stdin).chain(except).collect(),
            excepted,
        }
    }

    fn rule(&self, number: u16) -> Option<(&RuleInfo, &Rule)> {
        Some((self.compiled.rules.get(usize::from(number))?, self.policy.rules.get(usize::from(number))?))
    }

    /// The entries of `by` that the process's executable matches: as if it were a file that is read.
    fn by(&self, rule: &Rule, question: &Question) -> Vec<Because> {
        let file = question.exe.clone().unwrap_or_default();
        let question = Question { op: Op::Read, thing: Thing::File(file), ..question.clone() };
        self.which(rule, |written| written.key == "by", &question)
    }

    /// Which of some entries of a rule match: each is asked by itself, as a rule of its own.
    fn which(&self, rule: &Rule, some: impl Fn(&Written) -> bool, question: &Question) -> Vec<Because> {
        let question = Question { exe: None, phase: 0, ..question.clone() };
        let written: Vec<&Written> = rule.written.iter().filter(|written| some(written)).collect();
        let mut found = Vec::new();
        for some in written.chunks(TOGETHER) {
            let rules = some.iter().map(|written| alone(rule, written, question.op)).collect();
            let policy = Policy { rules, ..Policy::default() };
            let lines = vec![0; some.len()];
            // What fits as a part of a policy fits without the rest of it.
            let Ok(compiled) = compile(&policy, &lines, &[], Instant::now()) else { continue };
            let decision = question.decide(&mut compiled.tables());
            for &number in &decision.matched {
                let written = some[usize::from(number)];
                found.push(Because {
                    key: written.key,
                    pattern: written.text.clone(),
                    line: self.source.place(written.span.start).line,
                    list: written.list.clone(),
                });
            }
        }
        found
    }
}

/// A rule that has one entry of `rule` as its only condition.
fn alone(rule: &Rule, written: &Written, op: Op) -> Rule {
    let mut alone = Rule {
        name: String::new(),
        span: written.span.clone(),
        ops: vec![op],
        scope: None,
        by: None,
        phases: None,
        path: None,
        argv: None,
        to: None,
        network_stdin: false,
        except_kind: Kind::Path,
        except: Vec::new(),
        except_to: Vec::new(),
        written: Vec::new(),
        action: Action::Log,
        reason: None,
    };
    let kind = match rule.patterns(written) {
        Patterns::Paths(all) => {
            alone.path = Some(all);
            Kind::Path
        }
        Patterns::Commands(all) => {
            alone.argv = Some(all);
            Kind::Argv
        }
        Patterns::Targets(all) => {
            alone.to = Some(all);
            Kind::To
        }
    };
    // An entry that means nothing to the operation is a rule about nothing.
    alone.ops.retain(|&op| kind.applies(op));
    alone
}
