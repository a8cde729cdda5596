//! `guard policy explain`: what a policy decides on one operation, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use guard_common::words::Action;
use serde::Serialize;

use super::asked::Asked;
use super::screen::Screen;
use super::{MISUSED, NOT_GOOD, action};
use crate::cli::in_use;
use crate::policy::{Because, Explanation, Match, Question, Source, named, read};

/// Say what a policy decides on an operation, and why.
///
/// Says which rule of a policy decides on an operation, which pattern of it matched, and which other rules match: from
/// the very tables that the kernel gets. Nothing is carried out.
///
/// Exits with 0 whatever is decided, with 1 if the policy has errors or --expect is not met, with 2 if it is used in a
/// wrong way.
#[derive(Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Explain {
    /// The policy, a file or one that guard ships by name; without one, what `guard daemon` would use
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    /// Tell too of the rules about the operation that do not match, and why
    #[arg(long)]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 if something else is decided
    #[arg(long, value_name = "ACTION", value_parser = action)]
    expect: Option<Action>,
}

const EXAMPLES: &str = "Examples:
  guard policy explain --op read --path .env
  guard policy explain policy.toml --op connect --to 10.0.0.1:443 --scope harness
  guard policy explain policy.toml --op exec --stdin network -- sh -s";

/// An answer as programs read it.
#[derive(Serialize)]
struct Told<'a> {
    op: &'static str,
    object: String,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a String>,
    #[serde(flatten)]
    explanation: &'a Explanation,
    notes: &'a [String],
}

impl Explain {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut screen = Screen::new();
        let read =
            self.file.as_deref().map_or_else(in_use, named).and_then(|source| Ok((read(source.clone())?, source)));
        let (whole, source) = match read {
            Ok(read) => read,
            Err(failure) => {
                eprintln!("{failure}");
                return Ok(ExitCode::from(NOT_GOOD));
            }
        };
        let (question, notes) = match self.asked.question(&whole) {
            Ok(asked) => asked,
            Err(misuse) => {
                eprintln!("error: {misuse}\n\nFor more information, try '--help'.");
                return Ok(ExitCode::from(MISUSED));
            }
        };
        let explanation = whole.explain(&question, self.all);
        if self.json {
            screen.json(&Told {
                op: question.op.word(),
                object: question.thing.to_string(),
                scope: question.scope.word(),
                repo: question.repo.as_deref(),
                home: question.home.as_deref(),
                exe: question.exe.as_deref(),
                phase: whole.compiled.phases.get(question.phase as usize),
                explanation: &explanation,
                notes: &notes,
            })?;
        } else {
            show(&mut screen, &source, &question, &notes, &explanation);
        }
        let as_expected = self.expect.is_none_or(|expected| expected.word() == explanation.action);
        screen.done(if as_expected { ExitCode::SUCCESS } else { ExitCode::from(NOT_GOOD) })
    }
}

/// The answer for people.
fn show(screen: &mut Screen, source: &Source, question: &Question, notes: &[String], explanation: &Explanation) {
    let origin = &source.origin;
    screen.line(&format!("{} of {}", question.op.word(), question.thing));
    let place = |name: &str, place: &Option<String>| {
        place.as_ref().map_or_else(|| format!("no {name}"), |place| format!("{name} {place}"))
    };
    let (repo, home) = (place("repo", &question.repo), place("home", &question.home));
    let exe = question.exe.as_ref().map(|exe| format!(", by {exe}")).unwrap_or_default();
    screen.line(&format!("  scope {}, {repo}, {home}{exe}", question.scope.word()));
    for note in notes {
        screen.line(&format!("  note: {note}"));
    }
    let [decided, others @ ..] = &explanation.matched[..] else {
        screen.line(&format!("{}, by default: no rule matches", explanation.action));
        passed(screen, origin, explanation);
        return;
    };
    let reason = decided.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    screen.line(&format!("{}, by the rule `{}`{reason}", explanation.action, decided.rule));
    matched(screen, origin, decided);
    if !others.is_empty() {
        screen.line("these match too, and would decide in this order if those before them were not there:");
    }
    for other in others {
        screen.line(&format!("{}, by the rule `{}`", other.action, other.rule));
        matched(screen, origin, other);
    }
    passed(screen, origin, explanation);
}

/// Where a rule that matches stands, and its patterns that match.
fn matched(screen: &mut Screen, origin: &str, rule: &Match) {
    screen.line(&format!("  at {origin}:{}", rule.line));
    for because in &rule.patterns {
        screen.line(&format!("  {}", pattern(origin, because)));
    }
}

/// The rules that do not match.
fn passed(screen: &mut Screen, origin: &str, explanation: &Explanation) {
    if !explanation.passed.is_empty() {
        screen.line("these are about the operation too, and do not match:");
    }
    for rule in &explanation.passed {
        let missed: Vec<&str> = rule
            .missed
            .iter()
            .map(|&key| match key {
                "by" => "the process runs none of `by`",
                "phase" => "it is another phase",
                "except" => "it is excepted",
                "stdin" => "standard input brings nothing from the network",
                "argv" => "no pattern of `argv` matches",
                "to" => "no pattern of `to` matches",
                _ => "no pattern of `path` matches",
            })
            .collect();
        screen.line(&format!("  `{}` at {origin}:{}: {}", rule.rule, rule.line, missed.join(", ")));
        for because in &rule.excepted {
            screen.line(&format!("    {}", pattern(origin, because)));
        }
    }
}

fn pattern(origin: &str, because: &Because) -> String {
    let list = because.list.as_ref().map(|list| format!(", in the list `{list}`")).unwrap_or_default();
    format!("{} `{}` at {origin}:{}{list}", because.key, because.pattern, because.line)
}
