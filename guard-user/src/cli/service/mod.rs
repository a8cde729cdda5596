//! `guard service`: the daemon as a service of systemd.

mod install;
mod made;
mod parts;
mod status;
mod systemd;
mod uninstall;

pub use parts::SPOOL;

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use tokio::runtime::Runtime;

#[derive(Subcommand)]
pub enum Service {
    Install(install::Install),
    Uninstall(uninstall::Uninstall),
    Status(status::Status),
}

impl Service {
    /// Does it.
    pub fn run(self, runtime: &Runtime) -> anyhow::Result<ExitCode> {
        match self {
            Self::Install(install) => install.run(),
            Self::Uninstall(uninstall) => uninstall.run(),
            Self::Status(status) => runtime.block_on(status.run()),
        }
    }
}

/// Fails for whoever may not change the system.
fn require_root(task: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root may {task} a service: sudo guard service {task}");
    }
    Ok(())
}
