//! `guard policy import`: what was written for agents to obey becomes rules that the kernel enforces.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use guard_common::words::Action;

use super::output;
use crate::policy::compile;
use crate::policy::import::{
    Anchor, Choices, Imported, MAX_BYTES, Refusal, Symlinks, agents_md, codex_rules, codexignore, read,
};

/// Make rules of what was written for agents to obey: .codexignore, AGENTS.md, Codex's own rules.
///
/// Makes rules of files that people wrote for agents to obey, and prints them as a policy. Beside each stands which line
/// it came from. What could not be made a rule is told on standard error, and at the policy's end.
///
/// Exits with 0 if there are rules, with 125 if a file can't be read, or holds what guard must not guess at.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Import {
    /// Deny reading and writing what FILE lists, as git would understand it, in the session's repository
    #[arg(long, value_name = "FILE")]
    codexignore: Option<PathBuf>,
    /// Take the lists of disallowed and allowed commands in FILE; can be given more than once
    #[arg(long, value_name = "FILE")]
    agents_md: Vec<PathBuf>,
    /// Take the prefix rules of FILE, or of all *.rules files in the folder; can be given more than once
    #[arg(long, value_name = "PATH")]
    codex_rules: Vec<PathBuf>,
    /// Take what the repository DIR has of all these: .codexignore, AGENTS.md and .codex/rules
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// What is done about commands that Codex's rules would ask a person about
    #[arg(long, value_name = "ACTION", default_value = "log")]
    prompt: Prompt,
    /// Make rules also of what Codex's rules allow; they weaken whatever policy stands behind them
    #[arg(long)]
    with_allow: bool,
    /// Deny every command that an AGENTS.md does not allow, where it has a list of allowed ones
    #[arg(long)]
    only_allowed: bool,
    /// Print rules only, to be put into a policy
    #[arg(long)]
    fragment: bool,
    /// Write to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is done about commands that Codex would ask about.
#[derive(Clone, Copy, ValueEnum)]
enum Prompt {
    Deny,
    Log,
}

impl Import {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let sources = self.sources()?;
        let mut all = Imported::default();
        let mut names = HashSet::new();
        for source in &sources {
            let file = source.path.display().to_string();
            let imported = self.import(source, &mut names).map_err(|refusal| told(&file, &refusal))?;
            all.add(&file, imported);
        }
        let all = all.finish().map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        for note in &all.notes {
            eprintln!("guard: {note}");
        }
        if all.drafts.is_empty() {
            bail!("there is nothing to import: no pattern and no list of commands was found");
        }
        // Whatever is printed can be used.
        compile("the imported policy", &all.text(false)).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        output::write(self.output.as_deref(), &all.text(self.fragment))?;
        Ok(ExitCode::SUCCESS)
    }

    /// All that is to be read.
    fn sources(&self) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        let mut add = |kind, path: PathBuf| sources.push(Source { kind, path });
        self.codexignore.iter().for_each(|file| add(Kind::Ignore, file.clone()));
        self.agents_md.iter().for_each(|file| add(Kind::Agents, file.clone()));
        for path in &self.codex_rules {
            rule_files(path)?.into_iter().for_each(|file| add(Kind::Rules, file));
        }
        if let Some(repo) = &self.repo {
            let there = |name: &str| Some(repo.join(name)).filter(|path| path.exists());
            for (kind, name) in [(Kind::Ignore, ".codexignore"), (Kind::Agents, "AGENTS.md")] {
                if let Some(file) = there(name) {
                    add(kind, file);
                }
            }
            if let Some(folder) = there(".codex/rules") {
                rule_files(&folder)?.into_iter().for_each(|file| add(Kind::Rules, file));
            }
            if sources.is_empty() {
                bail!("{} has no .codexignore, no AGENTS.md and no .codex/rules", repo.display());
            }
        }
        if sources.is_empty() {
            bail!("nothing to import: name a file with --codexignore, --agents-md or --codex-rules, or a --repo");
        }
        if sources.iter().filter(|source| source.kind == Kind::Ignore).count() > 1 {
            bail!("there can be one .codexignore: leave out --codexignore or --repo");
        }
        Ok(sources)
    }

    fn import(&self, source: &Source, names: &mut HashSet<String>) -> Result<Imported, Refusal> {
        let bytes = read(&source.path, MAX_BYTES, Symlinks::Followed)?;
        let text = String::from_utf8_lossy(&bytes);
        match source.kind {
            Kind::Ignore => codexignore(&bytes, Anchor::Repo),
            Kind::Agents => Ok(agents_md(&text, &fresh("agents", names), self.only_allowed)),
            Kind::Rules => {
                let prompt = match self.prompt {
                    Prompt::Deny => Action::Deny,
                    Prompt::Log => Action::Log,
                };
                let stem = source.path.file_stem().map(OsStr::to_string_lossy).unwrap_or_default();
                let name = fresh(&format!("codex-{}", rule_name(&stem)), names);
                codex_rules(&text, &name, Choices { prompt, allow: self.with_allow })
            }
        }
    }
}

/// What kind of file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ignore,
    Agents,
    Rules,
}

/// A file to read.
struct Source {
    kind: Kind,
    path: PathBuf,
}

/// The rule files that a path stands for, in the order of their names.
fn rule_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = || format!("{} cannot be read", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(unreadable)? {
        let file = entry.with_context(unreadable)?.path();
        if file.extension() == Some(OsStr::new("rules")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{} has no *.rules files", path.display());
    }
    Ok(files)
}

/// A text as a part of rules' names.
fn rule_name(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(fit).collect()
}

/// A beginning of rules' names that no other file has.
fn fresh(name: &str, taken: &mut HashSet<String>) -> String {
    let names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-file{number}")));
    let name = names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A refusal with its place.
fn told(file: &str, refusal: &Refusal) -> anyhow::Error {
    let between = if refusal.place.is_some() { ":" } else { ": " };
    anyhow::anyhow!("{file}{between}{refusal}")
}
