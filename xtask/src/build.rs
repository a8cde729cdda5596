//! `cargo xtask build`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{say, setup, workspace};

#[derive(Args)]
pub struct Options {
    /// An optimised build. It always is; here because everybody types it.
    #[arg(long)]
    release: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let Options { release: _ } = options;
    build()?;
    say::step(&format!("built {}", workspace::guard()?.display()));
    Ok(ExitCode::SUCCESS)
}

/// Sets up, and builds every program of the workspace.
pub fn build() -> Result<()> {
    setup::run(false)?;
    say::timed("building guard (a few minutes the first time)", || {
        let mut cargo = workspace::cargo(["build", "--bins"]);
        workspace::ensure_runs(cargo.args(workspace::SELECTION))
    })
}
