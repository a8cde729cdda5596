//! `guard show-notices`: shows notifications on a user's desktop, for the guard that has started it.

use std::process::ExitCode;

use clap::Args;

use crate::alert::helper;

/// Becomes a user and shows, on their desktop, what comes on standard input. guard starts it by itself.
#[derive(Args)]
pub struct Notices {
    /// The user's id
    #[arg(long, value_name = "UID")]
    uid: u32,
}

impl Notices {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        helper::run(self.uid)
    }
}
