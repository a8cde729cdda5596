//! What is wrong with a policy, told the way rustc tells it.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the policy's text.
    pub span: Option<Range<usize>>,
    /// Said beside the place.
    pub label: String,
    /// Further lines: where the matter comes from.
    pub note: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `span`.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span), label: String::new(), note: None, help: None }
    }

    /// A problem of the policy as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: String::new(), note: None, help: None }
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
}

/// A policy that is not accepted, with all that is wrong with it. [`fmt::Display`] prints it for people.
#[derive(Clone, Debug)]
pub struct Failure {
    origin: String,
    text: String,
    /// All problems, in the order of their places. Never empty.
    pub problems: Vec<Problem>,
}

impl Failure {
    pub(super) fn new(origin: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        // An entry of a list is looked at for every rule that names the list, and is wrong only once.
        problems.dedup();
        Self { origin: origin.to_owned(), text: text.to_owned(), problems }
    }

    /// Line and column of a problem, both counted from 1.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> Option<(u32, u32)> {
        let span = problem.span.as_ref()?;
        let (number, line, start) = line_of(&self.text, span.start);
        Some((number, column(line, span.start - start)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            render(f, "error", &self.origin, &self.text, problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// A remark on a policy that is accepted.
#[derive(Clone, Debug)]
pub struct Warning {
    rendered: String,
    /// What it says.
    pub problem: Problem,
}

impl Warning {
    pub(super) fn new(origin: &str, text: &str, problem: Problem) -> Self {
        struct Rendered<'a>(&'a str, &'a str, &'a Problem);
        impl fmt::Display for Rendered<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                render(f, "warning", self.0, self.1, self.2)
            }
        }
        Self { rendered: Rendered(origin, text, &problem).to_string(), problem }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

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
fn column(line: &str, at: usize) -> u32 {
    line.char_indices().take_while(|(index, _)| *index < at).count() as u32 + 1
}

fn render(f: &mut fmt::Formatter<'_>, level: &str, origin: &str, text: &str, problem: &Problem) -> fmt::Result {
    writeln!(f, "{level}: {}", problem.message)?;
    let mut margin = 1;
    if let Some(span) = &problem.span {
        let (number, line, start) = line_of(text, span.start);
        let shown: String = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let first = column(line, span.start - start) as usize;
        let last = column(line, span.end.saturating_sub(start).min(line.len())) as usize;
        margin = number.to_string().len();
        // The marks stand under the place also where the line is indented with tabs.
        let indent: String = line.chars().take(first - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marks = "^".repeat(last.saturating_sub(first).max(1));
        writeln!(f, "{:margin$}--> {origin}:{number}:{first}", "")?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{number} | {shown}")?;
        writeln!(f, "{}", format!("{:margin$} | {indent}{marks} {}", "", problem.label).trim_end())?;
    } else {
        writeln!(f, "{:margin$}--> {origin}", "")?;
        if !problem.label.is_empty() {
            writeln!(f, "{:margin$} = {}", "", problem.label)?;
        }
    }
    for (word, said) in [("note", &problem.note), ("help", &problem.help)] {
        if let Some(said) = said {
            writeln!(f, "{:margin$} = {word}: {said}", "")?;
        }
    }
    Ok(())
}
