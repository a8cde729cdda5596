//! `guard policy schema`: what editors want to know of the format.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::screen::Screen;
use crate::policy::schema;

/// Print the JSON schema of policies, for editors.
///
/// Or that of the cases that test them. Editors complete and check by it.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Schema {
    /// Of what
    #[arg(value_enum, default_value_t = Of::Policy)]
    of: Of,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    Policy,
    Cases,
}

impl Schema {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut screen = Screen::new();
        screen.json(&match self.of {
            Of::Policy => schema::policy(),
            Of::Cases => schema::cases(),
        })?;
        screen.done(ExitCode::SUCCESS)
    }
}
