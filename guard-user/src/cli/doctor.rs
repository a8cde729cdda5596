//! `guard doctor`: what guard can do on this machine.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::doctor::{Report, State, examine};
use crate::logs::colours;

/// Exit code where guard can't run here.
const CANNOT_RUN: u8 = 1;

/// Say what guard can do on this machine, and what would lift its limits.
///
/// Says what guard can do on this machine: for each operation whether it is prevented, contained or not seen where it is
/// denied, what is missing, and what would lift that. Exit code 1 where guard can't run at all.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Does it.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let report = examine();
        let text = if self.json {
            serde_json::to_string_pretty(&report).context("there is no JSON for it")? + "\n"
        } else {
            shown(&report, colours(&io::stdout()))
        };
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(error).context("standard output can't be written to");
            }
            _ => {}
        }
        Ok(if report.runs { ExitCode::SUCCESS } else { ExitCode::from(CANNOT_RUN) })
    }
}

fn shown(report: &Report, colour: bool) -> String {
    let paint = |text: &str, code: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut text = format!("Linux {}\n\n", report.kernel);
    for check in &report.checks {
        let (mark, code) = match check.state {
            State::Good => ("good", "32"),
            State::Less => ("less", "33"),
            State::Missing => ("missing", "1;31"),
        };
        let (mark, name) = (paint(&format!("{mark:<8}"), code), format!("{:<30}", check.name));
        text += &[&mark, " ", &name, " ", &check.found, "\n"].concat();
        if let Some(remedy) = &check.remedy {
            text += &[" ".repeat(40).as_str(), "to do: ", remedy, "\n"].concat();
        }
    }
    text += "\nWhat becomes of an operation that a policy denies:\n";
    for operation in &report.operations {
        let code = match operation.reach {
            "prevented" => "32",
            "contained" => "33",
            _ => "1;31",
        };
        let reach = paint(&format!("{:<10}", operation.reach), code);
        let by = operation.backend.map(|backend| format!("by {backend}")).unwrap_or_default();
        text += &[&reach, " ", &format!("{by:<9}"), " ", operation.what, "\n"].concat();
    }
    text += if report.runs { "\nguard runs here.\n" } else { "\nguard can't run here.\n" };
    text
}
