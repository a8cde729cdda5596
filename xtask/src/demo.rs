//! `cargo xtask demo`: makes sure of all that the demo needs, then hands over to it.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{build, codex, host, workspace};

#[derive(Args)]
pub struct Options {
    /// Leave guard out, to see what it is there for.
    #[arg(long)]
    unguarded: bool,
    /// Keep the folder that the demo works in.
    #[arg(long)]
    keep: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        host::is_root(),
        "the demo loads programs into the kernel, which takes root:\n    sudo --preserve-env=PATH,HOME cargo xtask demo"
    );
    build::build()?;
    let codex = codex::install()?;
    let mut demo = Command::new(workspace::target()?.join("release/guard-demo"));
    demo.arg("--policy").arg(workspace::root().join("policies/default.toml"));
    demo.args(options.keep.then_some("--keep")).args(options.unguarded.then_some("--unguarded"));
    demo.env("GUARD_BIN", workspace::guard()?).env("GUARD_CODEX_DIR", codex).current_dir(workspace::root());
    workspace::status(&mut demo).map(workspace::code)
}
