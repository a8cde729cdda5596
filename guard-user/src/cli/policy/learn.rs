//! `guard policy learn`: from recorded events to a policy.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::output;
use crate::policy::compile;
use crate::policy::learn::{Learner, Places, default_policy};

/// Propose a policy that allows what was seen, and little else.
///
/// Proposes the smallest sensible policy that would have allowed what events tell of, and prints it. Paths are made
/// general: `{repo}/**`, `/usr/lib/**`, wildcards for random names. What the default policy denies is never allowed, but
/// listed at the policy's end.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Learn {
    /// Events, as guard has written them; can be given more than once; - is standard input
    #[arg(long, value_name = "EVENTS", required = true)]
    from: Vec<PathBuf>,
    /// The repository of all sessions, whatever the events say
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The home of all sessions, whatever the events say
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Write to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Learn {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let default = default_policy().map_err(|failure| anyhow::anyhow!("{failure}"))?;
        let known = Places { repo: place(self.repo.as_deref())?, home: place(self.home.as_deref())? };
        let mut learner = Learner::new(&default, known);
        for from in &self.from {
            let unreadable = || format!("{} cannot be read", from.display());
            if from.as_os_str() == "-" {
                learner.read(io::stdin().lock()).with_context(unreadable)?;
            } else {
                let file = File::open(from).with_context(unreadable)?;
                learner.read(BufReader::new(file)).with_context(unreadable)?;
            }
        }
        let (events, garbage) = learner.counts();
        if garbage > 0 {
            eprintln!("guard: {garbage} lines are no events, and were passed over");
        }
        if events == 0 {
            bail!("there is nothing to learn from: no line is an event");
        }
        let policy = learner.policy();
        // Whatever is printed can be used.
        compile("the learned policy", &policy).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        output::write(self.output.as_deref(), &policy)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A place as events and patterns have it: absolute, without a slash at its end. It need not be on this machine.
fn place(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    match path.to_str() {
        Some(text) if text.starts_with('/') => Ok(Some(text.trim_end_matches('/').to_owned())),
        _ => bail!("{} is not an absolute path", path.display()),
    }
}
