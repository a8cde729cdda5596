//! Policies: what people write, and what the kernel gets of it.
//!
//! A policy's way: text -> [`syntax`] (what it says, all that is wrong with it) -> [`reach`] (rules that
//! could never decide) -> [`compile`] (automata and tables). [`Tables`] decides by the result in user space,
//! with the same walk over the same tables as the programs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

mod addresses;
mod ahead;
mod argv;
mod automaton;
mod bytes;
pub mod cases;
mod compile;
mod draft;
mod explain;
mod failure;
mod family;
mod glob;
mod group;
pub mod import;
pub mod learn;
mod lint;
mod net;
mod own;
mod pattern;
mod protected;
pub mod question;
mod reach;
mod reading;
mod render;
mod rule;
pub mod schema;
mod shipped;
mod syntax;
mod tables;
mod trial;

pub use compile::{AgentInfo, Compiled, RuleInfo, Size};
pub use draft::{Draft, Entry};
pub use explain::{Because, Explanation, Match, Passed};
pub use failure::{Failure, Finding, Problem, Severity, Source, Told};
pub use glob::escaped;
pub use import::Imported;
pub use net::reached;
pub use own::Own;
pub use question::{Question, Thing};
pub use rule::OPS;
pub use shipped::{SHIPPED, default_text, named, shipped};
pub use tables::{Decision, Object, Places, Tables};
pub use trial::{Failed, Trial};

/// A policy in both its forms: as it was written, and as the kernel gets it.
#[derive(Debug)]
pub struct Whole {
    /// What was written.
    pub source: Arc<Source>,
    policy: rule::Policy,
    /// What the kernel gets.
    pub compiled: Compiled,
}

/// The text at `path`.
pub fn source(path: &Path) -> Result<Arc<Source>, Failure> {
    let origin = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        Failure::new(&Source::new(&origin, ""), vec![Problem::whole(format!("the file cannot be read: {error}"))])
    })?;
    String::from_utf8(bytes).map(|text| Source::new(&origin, &text)).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let source = Source::new(&origin, &String::from_utf8_lossy(error.as_bytes()));
        Failure::new(&source, vec![Problem::at(valid..valid + 1, "the file is not UTF-8 text").label("here")])
    })
}

/// Reads and compiles the policy at `path`.
pub fn load(path: &Path) -> Result<Compiled, Failure> {
    Ok(read(source(path)?)?.compiled)
}

/// Compiles the policy `text`; `origin` names it in messages.
pub fn compile(origin: &str, text: &str) -> Result<Compiled, Failure> {
    Ok(read(Source::new(origin, text))?.compiled)
}

/// Reads and compiles the policy in `source`.
pub fn read(source: Arc<Source>) -> Result<Whole, Failure> {
    read_with(source, &[])
}

/// A policy that a whole machine can be guarded by: one that names an agent, or control groups.
///
/// # Errors
/// If it names none: nothing would ever be guarded.
pub fn with_agents(whole: Whole) -> Result<Whole, Failure> {
    if whole.compiled.agents.is_empty() && whole.compiled.groups.is_empty() {
        let problem = Problem::whole("the policy names no agent: nothing would ever be guarded")
            .help("add for example `[agent.codex]` with `exe = [\"**/codex\"]`");
        return Err(Failure::new(&whole.source, vec![problem]));
    }
    Ok(whole)
}

/// Reads and compiles the policy in `source`, with the rules of `imports` before its own. Imports that only deny can
/// only forbid more than the policy does.
pub fn read_with(source: Arc<Source>, imports: &[Imported]) -> Result<Whole, Failure> {
    let started = Instant::now();
    let fail = |problems| Failure::new(&source, problems);
    let syntax::Read { mut policy, mut problems, warnings } = syntax::read(&source.text);
    for (rule, earlier) in reach::unreachable(&policy) {
        problems.push(
            Problem::at(rule.span.clone(), format!("the rule `{}` can never decide", rule.name))
                .label(format!("the rule `{}` before it matches everything that this one does", earlier.name))
                .help(format!("put it before `{}`, or remove it", earlier.name))
                .rule(&rule.name),
        );
    }
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let line = |at: usize| source.place(at).line;
    let mut lines: Vec<u32> = policy.rules.iter().map(|rule| line(rule.span.start)).collect();
    for imported in imports {
        let rules = syntax::read(&imported.text(false)).policy.rules;
        // They stand on no line of this policy.
        lines.splice(0..0, rules.iter().map(|_| 0));
        policy.rules.splice(0..0, rules);
    }
    let agent_lines: Vec<u32> = policy.agents.iter().map(|agent| line(agent.span.start)).collect();
    let mut compiled = compile::compile(&policy, &lines, &agent_lines, started).map_err(fail)?;
    let warning = |problem| Finding::new(Severity::Warning, problem, &source);
    compiled.warnings = warnings.into_iter().map(warning).collect();
    Ok(Whole { source, policy, compiled })
}
