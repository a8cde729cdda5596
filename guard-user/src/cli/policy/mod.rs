//! `guard policy`: what one does with policies before they are in force. Needs neither root nor the kernel's help.

mod check;
mod screen;

use std::process::ExitCode;

use clap::Subcommand;

/// Exit code when what was looked at is not as it should be; 2 is clap's own for a wrong use.
const NOT_GOOD: u8 = 1;

#[derive(Subcommand)]
pub enum Policy {
    /// Say what is wrong with policies, and what in them will surprise
    Check(check::Check),
}

impl Policy {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(),
        }
    }
}
