//! What people wrote for others to obey becomes rules that the kernel enforces.

mod agents;
mod command;
mod file;
mod ignore;
mod prefix;
mod shape;
mod starlark;

use std::collections::HashMap;
use std::fmt;

pub use agents::agents_md;
pub use file::{Symlinks, read};
pub use ignore::{Anchor, MAX_BYTES, codexignore};
pub use prefix::{Choices, codex_rules};

use super::draft::{Draft, comment};
use super::{reach, syntax};

/// What came of an import.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The rules, in their order.
    pub drafts: Vec<Draft>,
    /// Rules that stand behind all others.
    pub last: Vec<Draft>,
    /// What did not become a rule, or not quite.
    pub notes: Vec<Note>,
}

/// A remark on a line that was imported, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file, where the importer names it.
    pub file: String,
    /// The line, counted from 1; none for a remark on rules that came of it all.
    pub line: Option<usize>,
    /// What stands there.
    pub subject: String,
    /// What became of it.
    pub what: String,
}

impl Note {
    fn new(line: usize, subject: &str, what: impl Into<String>) -> Self {
        Self { file: String::new(), line: Some(line), subject: subject.to_owned(), what: what.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (false, Some(line)) => write!(f, "{}:{line}: ", self.file)?,
            (true, Some(line)) => write!(f, "line {line}: ")?,
            (_, None) => {}
        }
        write!(f, "`{}` {}", self.subject, self.what)
    }
}

/// Why nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line and column, counted from 1, where there is a place.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Refusal {
    fn whole(what: impl Into<String>) -> Self {
        Self { place: None, what: what.into() }
    }

    fn at(line: usize, what: impl Into<String>) -> Self {
        Self { place: Some((line, 1)), what: what.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.what),
            None => write!(f, "{}", self.what),
        }
    }
}

impl std::error::Error for Refusal {}

/// The first lines of every policy that guard writes.
const HEADER: &str = "version = 1\n";

impl Imported {
    /// The rules as text; a policy of their own, unless they are to be put into one.
    #[must_use]
    pub fn text(&self, fragment: bool) -> String {
        let rules: Vec<String> = self.drafts.iter().map(Draft::text).collect();
        let mut parts = if fragment { Vec::new() } else { vec![HEADER.to_owned()] };
        parts.extend(rules);
        if !self.notes.is_empty() {
            let notes: String = self.notes.iter().map(|note| comment(&note.to_string())).collect();
            parts.push(format!("# Remarks:\n{notes}"));
        }
        parts.join("\n")
    }

    /// Adds what came of the file that `file` names.
    pub fn add(&mut self, file: &str, other: Self) {
        let from = |mut draft: Draft| {
            draft.comments.insert(0, format!("From {file}"));
            draft
        };
        self.drafts.extend(other.drafts.into_iter().map(from));
        self.last.extend(other.last.into_iter().map(from));
        self.notes.extend(other.notes.into_iter().map(|note| Note { file: file.to_owned(), ..note }));
    }

    /// Puts what denies before what logs, and that before what allows, and leaves out what could never decide.
    ///
    /// # Errors
    /// If the rules are none that a policy can have.
    pub fn finish(mut self) -> Result<Self, Refusal> {
        self.drafts.sort_by_key(|draft| std::cmp::Reverse(draft.action));
        self.drafts.append(&mut self.last);
        prune(self.drafts, self.notes)
    }
}

/// Leaves out rules that could never decide, because an earlier one takes all that they match: a policy with such a rule
/// is refused.
///
/// # Errors
/// If the rules are none that a policy can have.
pub fn prune(drafts: Vec<Draft>, mut notes: Vec<Note>) -> Result<Imported, Refusal> {
    let text = Imported { drafts: drafts.clone(), ..Imported::default() }.text(false);
    let read = syntax::read(&text);
    if let Some(problem) = read.problems.first() {
        return Err(Refusal::whole(format!("guard has no rule for it: {} ({})", problem.message, problem.label)));
    }
    let taken: HashMap<&str, &str> = reach::unreachable(&read.policy)
        .into_iter()
        .map(|(rule, earlier)| (rule.name.as_str(), earlier.name.as_str()))
        .collect();
    let (spared, drafts): (Vec<Draft>, Vec<Draft>) =
        drafts.into_iter().partition(|draft| taken.contains_key(draft.name.as_str()));
    notes.extend(spared.into_iter().map(|draft| {
        let what = format!("is left out: `{}` decides on all that it would", taken[draft.name.as_str()]);
        Note { file: String::new(), line: None, subject: draft.name, what }
    }));
    Ok(Imported { drafts, notes, ..Imported::default() })
}
