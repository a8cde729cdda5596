//! `guard policy`: what one does with policies before they are in force, which needs neither root nor the kernel's help; and having a
//! daemon read its own anew.

mod asked;
mod check;
mod explain;
mod import;
mod learn;
mod output;
mod reload;
mod schema;
mod screen;
mod test;

use std::process::ExitCode;

use clap::Subcommand;
use guard_common::words::{Action, Op, Scope};

use crate::policy::OPS;

/// Exit code when what was looked at is not as it should be.
const NOT_GOOD: u8 = 1;
/// Exit code for a wrong use; clap's own.
const MISUSED: u8 = 2;

#[derive(Subcommand)]
pub enum Policy {
    Check(check::Check),
    Explain(explain::Explain),
    Test(test::Test),
    Import(import::Import),
    Learn(learn::Learn),
    Schema(schema::Schema),
    Reload(reload::Reload),
}

impl Policy {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(),
            Self::Explain(explain) => explain.run(),
            Self::Test(test) => test.run(),
            Self::Import(import) => import.run(),
            Self::Learn(learn) => learn.run(),
            Self::Schema(schema) => schema.run(),
            Self::Reload(reload) => reload.run().await,
        }
    }
}

/// Reads an operation's word.
fn op(word: &str) -> Result<Op, String> {
    let found = OPS.into_iter().find(|op| op.word() == word);
    found.ok_or_else(|| format!("expected {}", one_of(&OPS.map(Op::word))))
}

/// Reads an action's word.
fn action(word: &str) -> Result<Action, String> {
    let words: Vec<_> = Action::ALL.iter().map(|action| action.word()).collect();
    Action::from_word(word).ok_or_else(|| format!("expected {}", one_of(&words)))
}

/// Reads a scope's word.
fn scope(word: &str) -> Result<Scope, String> {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.word()).collect();
    Scope::from_word(word).ok_or_else(|| format!("expected {}", one_of(&words)))
}

/// a, b or c.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}
