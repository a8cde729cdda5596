//! `guard policy test`: a policy's own tests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::NOT_GOOD;
use super::screen::{Screen, counted};
use crate::policy::cases;
use crate::policy::{Failed, Failure, Finding, Told, Trial, Whole, named, read, source};

/// Try a policy on cases that say what is to be decided.
///
/// Tries a policy on cases: each says what is attempted, and what is to be decided, by which rule. Nothing is carried
/// out, and nothing of this machine matters, so it is the same everywhere.
///
/// Exits with 0 if all is decided as expected, with 1 if not, or if there is an error in the policy or the cases, with
/// 2 if it is used in a wrong way.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Test {
    /// The policy, a file or one that guard ships by name
    #[arg(value_name = "FILE")]
    policy: PathBuf,
    /// The files with the cases
    #[arg(value_name = "CASES", required = true)]
    cases: Vec<PathBuf>,
    /// Warn about rules that decide none of the cases
    #[arg(long)]
    coverage: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    cases: usize,
    failed: Vec<ToldFailed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncovered: Option<Vec<Told<'a>>>,
}

/// A failed case as programs read it.
#[derive(Serialize)]
struct ToldFailed<'a> {
    file: &'a str,
    line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    op: &'static str,
    object: String,
    scope: &'static str,
    expected: Verdict<'a>,
    decided: Verdict<'a>,
}

/// What is decided, and by which rule.
#[derive(Serialize)]
struct Verdict<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

impl Test {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut screen = Screen::new();
        let whole = match named(&self.policy).and_then(read) {
            Ok(whole) => whole,
            Err(failure) => return self.refuse(screen, failure.findings()),
        };
        let read: Vec<_> = self.cases.iter().map(|file| source(file).and_then(cases::read)).collect();
        let trials: Vec<_> = read.iter().map(|cases| whole.test(cases.as_ref().map_err(Clone::clone)?)).collect();
        let failures: Vec<&Failure> = trials.iter().filter_map(|trial| trial.as_ref().err()).collect();
        if !failures.is_empty() {
            return self.refuse(screen, failures.into_iter().flat_map(Failure::findings));
        }
        let trials: Vec<Trial<'_>> = trials.into_iter().flatten().collect();
        let uncovered = self.coverage.then(|| whole.uncovered(&trials));
        if self.json {
            screen.json(&told(&trials, uncovered.as_deref()))?;
        } else {
            show(&mut screen, &whole, &trials, uncovered.as_deref());
        }
        let good = trials.iter().all(|trial| trial.failed.is_empty());
        screen.done(if good { ExitCode::SUCCESS } else { ExitCode::from(NOT_GOOD) })
    }

    /// Says what is wrong with the policy or the cases.
    fn refuse(&self, mut screen: Screen, findings: impl Iterator<Item = Finding>) -> anyhow::Result<ExitCode> {
        let findings: Vec<Finding> = findings.collect();
        if self.json {
            screen.json(&findings.iter().map(Finding::told).collect::<Vec<_>>())?;
        } else {
            for finding in &findings {
                screen.finding(finding);
            }
        }
        screen.done(ExitCode::from(NOT_GOOD))
    }
}

/// The result for people.
fn show(screen: &mut Screen, whole: &Whole, trials: &[Trial<'_>], uncovered: Option<&[Finding]>) {
    for finding in uncovered.unwrap_or_default() {
        screen.finding(finding);
    }
    for trial in trials {
        for failed in &trial.failed {
            screen.line(&sentence(trial.file, failed));
        }
    }
    let cases: usize = trials.iter().map(|trial| trial.cases).sum();
    let failed: usize = trials.iter().map(|trial| trial.failed.len()).sum();
    let failed = if failed == 0 { "none failed".to_owned() } else { format!("{failed} failed") };
    let covered = uncovered.map(|uncovered| {
        let rules = whole.compiled.rules.iter().filter(|rule| !rule.agent).count();
        format!(", {} of {} covered", rules - uncovered.len(), counted(rules, "rule"))
    });
    screen.line(&format!("{}, {failed}{}", counted(cases, "case"), covered.unwrap_or_default()));
}

/// A failed case in one line.
fn sentence(file: &str, failed: &Failed<'_>) -> String {
    let Failed { place, case, action, rule } = failed;
    let name = case.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let expected = case.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    format!(
        "{file}:{}: {name}{} of {} in scope {}: expected {}{expected}, decided {} by {rule}",
        place.line,
        case.question.op.word(),
        case.question.thing,
        case.question.scope.word(),
        case.expect.word(),
        action.word(),
    )
}

fn told<'a>(trials: &'a [Trial<'a>], uncovered: Option<&'a [Finding]>) -> Outcome<'a> {
    let failed = trials.iter().flat_map(|trial| {
        trial.failed.iter().map(|failed| ToldFailed {
            file: trial.file,
            line: failed.place.line,
            name: failed.case.name.as_deref(),
            op: failed.case.question.op.word(),
            object: failed.case.question.thing.to_string(),
            scope: failed.case.question.scope.word(),
            expected: Verdict { action: failed.case.expect.word(), rule: failed.case.rule.as_deref() },
            decided: Verdict { action: failed.action.word(), rule: Some(&failed.rule) },
        })
    });
    Outcome {
        cases: trials.iter().map(|trial| trial.cases).sum(),
        failed: failed.collect(),
        uncovered: uncovered.map(|findings| findings.iter().map(Finding::told).collect()),
    }
}
