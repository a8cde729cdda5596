//! `cargo xtask bench`: builds, then hands over to the program that measures.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{build, host, workspace};

#[derive(Args)]
pub struct Options {
    /// Whatever the bench program takes: `--rounds N`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        host::is_root(),
        "the bench loads programs into the kernel, which takes root:\n    sudo --preserve-env=PATH,HOME cargo xtask bench"
    );
    build::build()?;
    let mut cargo = workspace::cargo(["bench", "--quiet"]);
    // `cargo bench` builds in release, and knows no such option.
    cargo.args(workspace::SELECTION.iter().filter(|option| **option != "--release"));
    cargo.args(["--bench", "guard-bench", "--"]).args(&options.args);
    cargo.env("GUARD_BIN", workspace::guard()?);
    workspace::status(&mut cargo).map(workspace::code)
}
