//! What these tools print: on standard output, in colour where that is a terminal.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::logs::colours;
use crate::policy::Finding;

/// Collects what is to be printed, and prints it at once.
pub struct Screen {
    colour: bool,
    text: String,
}

impl Screen {
    pub fn new() -> Self {
        Self { colour: colours(&io::stdout()), text: String::new() }
    }

    /// A line.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A finding, with an empty line after it.
    pub fn finding(&mut self, finding: &Finding) {
        self.line(&finding.shown(self.colour));
    }

    /// A value, as JSON that people can read too.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value).context("there is no JSON for it")?;
        self.line(&text);
        Ok(())
    }

    /// Prints; `code` is passed on. A reader that has gone, as `head` goes, is no failure.
    pub fn done(self, code: ExitCode) -> anyhow::Result<ExitCode> {
        match io::stdout().write_all(self.text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("standard output can't be written to")
            }
            _ => Ok(code),
        }
    }
}

/// So many of something.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
