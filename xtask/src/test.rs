//! `cargo xtask test`: makes sure of all that the tests need, then runs them as `cargo test` does.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{build, codex, host, say, workspace};

#[derive(Args)]
pub struct Options {
    /// Whatever `cargo test` takes: a part of a test's name, `--test NAME`, `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    if !host::is_root() {
        say::note("most tests load programs into the kernel and will fail without root:");
        say::note("sudo --preserve-env=PATH,HOME cargo xtask test");
    }
    build::build()?;
    let codex = codex::install()?;
    let mut cargo = workspace::cargo(["test"]);
    cargo.args(workspace::SELECTION).args(&options.args);
    cargo.env("GUARD_BIN", workspace::guard()?).env("GUARD_CODEX_DIR", codex);
    // A test's failure is its own message; nothing to add.
    workspace::status(&mut cargo).map(workspace::code)
}
