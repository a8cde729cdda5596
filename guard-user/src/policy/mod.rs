//! Policies: what people write, and what the kernel gets of it.
//!
//! A policy's way: text -> [`syntax`] (what it says, all that is wrong with it) -> [`reach`] (rules that
//! could never decide) -> [`compile`] (automata and tables). [`Tables`] decides by the result in user space,
//! with the same walk over the same tables as the programs.

use std::fs;
use std::path::Path;
use std::time::Instant;

mod addresses;
mod argv;
mod automaton;
mod bytes;
mod compile;
mod failure;
mod family;
mod glob;
mod net;
mod pattern;
mod reach;
mod rule;
mod syntax;
mod tables;

pub use compile::{AgentInfo, Compiled, RuleInfo, Size};
pub use failure::{Failure, Problem, Warning};
pub use rule::OPS;
pub use tables::{Decision, Object, Places, Tables};

/// The policy that is used where none is given.
#[must_use]
pub fn default_text() -> &'static str {
    include_str!("../../../policies/default.toml")
}

/// Reads and compiles the policy at `path`.
pub fn load(path: &Path) -> Result<Compiled, Failure> {
    let origin = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        Failure::new(&origin, "", vec![Problem::whole(format!("the policy cannot be read: {error}"))])
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => compile(&origin, &text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let problem = Problem::at(valid..valid + 1, "the policy is not UTF-8 text").label("here");
            Err(Failure::new(&origin, &text, vec![problem]))
        }
    }
}

/// Compiles the policy `text`; `origin` names it in messages.
pub fn compile(origin: &str, text: &str) -> Result<Compiled, Failure> {
    let started = Instant::now();
    let fail = |problems| Failure::new(origin, text, problems);
    let syntax::Read { policy, mut problems, warnings } = syntax::read(text);
    for (rule, earlier) in reach::unreachable(&policy) {
        problems.push(
            Problem::at(rule.span.clone(), format!("the rule `{}` can never decide", rule.name))
                .label(format!("the rule `{}` before it matches everything that this one does", earlier.name))
                .help(format!("put it before `{}`, or remove it", earlier.name)),
        );
    }
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let line = |at: usize| failure::line_of(text, at).0;
    let lines: Vec<u32> = policy.rules.iter().map(|rule| line(rule.span.start)).collect();
    let agent_lines: Vec<u32> = policy.agents.iter().map(|agent| line(agent.span.start)).collect();
    let mut compiled = compile::compile(&policy, &lines, &agent_lines, started).map_err(fail)?;
    compiled.warnings = warnings.into_iter().map(|problem| Warning::new(origin, text, problem)).collect();
    Ok(compiled)
}
