//! Findings for people, told the way rustc tells them.

use std::fmt::{self, Write as _};

use super::failure::{Problem, Severity, Source, column, line_of};

const BOLD: &str = "\x1b[1m";
const BLUE: &str = "\x1b[1;34m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
const OFF: &str = "\x1b[0m";

/// Puts colours on, or doesn't.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn on(self, style: &'static str, text: impl fmt::Display) -> String {
        if self.0 { format!("{style}{text}{OFF}") } else { text.to_string() }
    }
}

/// A finding with the line that it is about.
pub fn finding(severity: Severity, source: &Source, problem: &Problem, colour: bool) -> String {
    let mut text = String::new();
    // Strings take everything.
    write_finding(&mut text, severity, source, problem, Paint(colour)).unwrap_or_default();
    text
}

fn write_finding(
    f: &mut String,
    severity: Severity,
    source: &Source,
    problem: &Problem,
    paint: Paint,
) -> fmt::Result {
    let style = match severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Remark => CYAN,
    };
    let (bar, arrow, equals) = (paint.on(BLUE, '|'), paint.on(BLUE, "-->"), paint.on(BLUE, '='));
    let origin = &source.origin;
    writeln!(f, "{}{}", paint.on(style, severity.word()), paint.on(BOLD, format_args!(": {}", problem.message)))?;
    let mut margin = 1;
    if let Some(span) = &problem.span {
        let (number, line, start) = line_of(&source.text, span.start);
        let shown: String = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let first = column(line, span.start - start) as usize;
        let last = column(line, span.end.saturating_sub(start).min(line.len())) as usize;
        margin = number.to_string().len();
        // The marks stand under the place also where the line is indented with tabs.
        let indent: String = line.chars().take(first - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marks = "^".repeat(last.saturating_sub(first).max(1));
        let marks = paint.on(style, format!("{marks} {}", problem.label).trim_end());
        writeln!(f, "{:margin$}{arrow} {origin}:{number}:{first}", "")?;
        writeln!(f, "{:margin$} {bar}", "")?;
        writeln!(f, "{} {bar} {shown}", paint.on(BLUE, number))?;
        writeln!(f, "{:margin$} {bar} {indent}{marks}", "")?;
    } else {
        writeln!(f, "{:margin$}{arrow} {origin}", "")?;
        if !problem.label.is_empty() {
            writeln!(f, "{:margin$} {equals} {}", "", problem.label)?;
        }
    }
    for (word, said) in [("note", &problem.note), ("help", &problem.help)] {
        for line in said.iter().flat_map(|said| said.lines()) {
            writeln!(f, "{:margin$} {equals} {}: {line}", "", paint.on(BOLD, word))?;
        }
    }
    Ok(())
}
