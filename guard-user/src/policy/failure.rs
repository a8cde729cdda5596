//! What is to be said about a text: errors, warnings and remarks, each with its place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::render;

/// One thing to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Option<Range<usize>>,
    /// Said beside the place.
    pub label: String,
    /// Further lines: where the matter comes from.
    pub note: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Name of the rule that it is about.
    pub rule: Option<String>,
}

impl Problem {
    /// A problem at `span`.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::whole(message) }
    }

    /// A problem of the text as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: String::new(), note: None, help: None, rule: None }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn rule(mut self, rule: &str) -> Self {
        self.rule = Some(rule.to_owned());
        self
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text is refused.
    Error,
    /// It is accepted, and does not do what it seems to.
    Warning,
    /// It is fine, and there is something to know about it.
    Remark,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Remark => "remark",
        }
    }
}

/// A text, and what it is called in messages.
#[derive(Debug)]
pub struct Source {
    /// What it is called: mostly the file's path.
    pub origin: String,
    /// The text itself.
    pub text: String,
}

/// A place in a text, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character in it.
    pub column: u32,
}

impl Source {
    /// This text, called `origin`.
    #[must_use]
    pub fn new(origin: &str, text: &str) -> Arc<Self> {
        Arc::new(Self { origin: origin.to_owned(), text: text.to_owned() })
    }

    /// The place of byte `at`.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        let (line, text, start) = line_of(&self.text, at);
        Place { line, column: column(text, at.saturating_sub(start)) }
    }
}

/// Something that was found in a text. [`fmt::Display`] prints it for people.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it says.
    pub problem: Problem,
    source: Arc<Source>,
}

impl Finding {
    pub(super) fn new(severity: Severity, problem: Problem, source: &Arc<Source>) -> Self {
        Self { severity, problem, source: Arc::clone(source) }
    }

    /// For people; `colour` is for terminals.
    #[must_use]
    pub fn shown(&self, colour: bool) -> String {
        render::finding(self.severity, &self.source, &self.problem, colour)
    }

    /// Where it begins; nothing where it is about the text as a whole.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.problem.span.as_ref().map(|span| self.source.place(span.start))
    }

    /// For programs.
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        let problem = &self.problem;
        let place = self.place();
        Told {
            file: &self.source.origin,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            end: problem.span.as_ref().map(|span| self.source.place(span.end)),
            severity: self.severity,
            message: &problem.message,
            label: (!problem.label.is_empty()).then_some(&problem.label),
            help: problem.help.as_deref(),
            note: problem.note.as_deref(),
            rule: problem.rule.as_deref(),
        }
    }
}

/// A finding as programs read it. What does not apply is absent.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// The place after its last character.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Place>,
    severity: Severity,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(false))
    }
}

/// A text that is not accepted, with all that is wrong with it. [`fmt::Display`] prints it for people.
#[derive(Clone, Debug)]
pub struct Failure {
    source: Arc<Source>,
    /// All problems, in the order of their places. Never empty.
    pub problems: Vec<Problem>,
}

impl Failure {
    pub(super) fn new(source: &Arc<Source>, mut problems: Vec<Problem>) -> Self {
        sort(&mut problems);
        // An entry of a list is looked at for every rule that names the list, and is wrong only once.
        problems.dedup();
        Self { source: Arc::clone(source), problems }
    }

    /// What the text is called.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.source.origin
    }

    /// The problems as findings.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.problems.iter().map(|problem| Finding::new(Severity::Error, problem.clone(), &self.source))
    }
}

/// Sorts by place; what has none comes last.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.findings().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Number of the line that holds byte `at`, counted from 1, the line, and its first byte.
pub(super) fn line_of(text: &str, at: usize) -> (u32, &str, usize) {
    let at = text.floor_char_boundary(at);
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = before.bytes().filter(|&byte| byte == b'\n').count() as u32 + 1;
    let line = text[start..].lines().next().unwrap_or_default();
    (number, line, start)
}

/// Column of byte `at` of `line`, in characters counted from 1.
pub(super) fn column(line: &str, at: usize) -> u32 {
    line.char_indices().take_while(|(index, _)| *index < at).count() as u32 + 1
}
