//! `guard policy check`: errors and warnings, for people and for programs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::NOT_GOOD;
use crate::cli::in_use;
use crate::policy::load;

/// Says what is wrong with policies: errors, for which they would be refused, and warnings. Exits with 0 if there is no
/// error, and else with 1.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Check {
    /// The policies; without one, what `guard daemon` would use: /etc/guard/policy.toml, or else the policy that guard
    /// ships
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Check {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let policies =
            if self.files.is_empty() { vec![in_use()] } else { self.files.iter().map(|file| load(file)).collect() };
        let mut good = true;
        for policy in policies {
            match policy {
                Ok(compiled) => compiled.warnings.iter().for_each(|warning| eprintln!("{warning}")),
                Err(failure) => {
                    good = false;
                    eprintln!("{failure}");
                }
            }
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(NOT_GOOD) })
    }
}
