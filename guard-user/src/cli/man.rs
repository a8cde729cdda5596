//! `guard man`: the manual pages, made of the same descriptions as `--help`. For those who package guard.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

/// Writes the manual page guard(1) to standard output, or with --out the pages of all commands into a folder.
#[derive(Args)]
pub struct Man {
    /// Write guard.1, guard-run.1 and so on into DIR, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        // `guard help` has no page of its own: it says what the others say.
        let guard = super::Cli::command().disable_help_subcommand(true);
        let Some(folder) = &self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(guard).render(&mut page)?;
            return super::print(&page);
        };
        let failed = || format!("the manual pages can't be written to {}", folder.display());
        fs::create_dir_all(folder).with_context(failed)?;
        clap_mangen::generate_to(guard, folder).with_context(failed)?;
        Ok(ExitCode::SUCCESS)
    }
}
