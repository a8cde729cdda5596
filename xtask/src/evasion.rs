//! `cargo xtask evasion`: builds, then hands over to the program that tries the ways out.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{build, codex, host, workspace};

#[derive(Args)]
pub struct Options {
    /// Put what was found into docs/threat-model.md.
    #[arg(long)]
    write: bool,
    /// A line of JSON for each way.
    #[arg(long)]
    json: bool,
    /// Only these ways, without a look at the page.
    #[arg(conflicts_with = "write")]
    names: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        host::is_root(),
        "the ways are tried as root, under kernel programs:\n    sudo --preserve-env=PATH,HOME cargo xtask evasion"
    );
    build::build()?;
    codex::programs()?;
    let mut evasion = Command::new(workspace::target()?.join("release/guard-evasion"));
    evasion.args(options.json.then_some("--json")).args(options.write.then_some("--write")).args(&options.names);
    if options.names.is_empty() {
        evasion.arg("--page").arg(workspace::root().join("docs/threat-model.md"));
    }
    evasion.env("GUARD_BIN", workspace::guard()?).current_dir(workspace::root());
    workspace::status(&mut evasion).map(workspace::code)
}
