//! `guard policy reload`: has a daemon read its policy anew, and says what has come of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::NOT_GOOD;
use crate::control::{self, Http};

/// Have the daemon read its policy anew, and say whether it is in force.
///
/// A daemon reads its policy anew by itself when the file has changed. This says what has come of it: the policy is in force, at
/// once and whole, or it is refused, with all that is wrong with it, and the one that was in force stays. Takes root, and no
/// guarded session.
///
/// Exits with 0 if the policy is in force, with 1 if it is not, with 2 if it is used in a wrong way.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Reload {
    /// Unix socket of the daemon's control API
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
}

impl Reload {
    /// Does it.
    ///
    /// # Errors
    /// What the daemon says instead.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let result = Http::connect(&self.socket).await?.reload().await?;
        if !result.text.is_empty() {
            eprintln!("{}", result.text);
        }
        if !result.accepted {
            eprintln!("guard: the policy is refused; the one that was in force stays");
            return Ok(ExitCode::from(NOT_GOOD));
        }
        eprintln!("guard: the policy was read anew, and is in force");
        Ok(ExitCode::SUCCESS)
    }
}
