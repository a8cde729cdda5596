//! `guard completions`: the script by which a shell completes guard's commands, options and files.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Where the script goes, shell by shell.
const PLACES: &str = "\
The packages install them; by hand:
  bash  guard completions bash > ~/.local/share/bash-completion/completions/guard
  zsh   guard completions zsh > _guard, in a folder of $fpath
  fish  guard completions fish > ~/.config/fish/completions/guard.fish";

/// Print what makes a shell complete guard's commands.
#[derive(Args)]
#[command(after_help = PLACES)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "guard", &mut script);
        super::print(&script)
    }
}
