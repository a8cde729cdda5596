//! `guard completions`: the script by which a shell completes guard's commands, options and files.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Prints the script that makes a shell complete guard's commands, options and files. Packages install it; by hand:
///   bash  guard completions bash > ~/.local/share/bash-completion/completions/guard
///   zsh   guard completions zsh > a folder of $fpath/_guard
///   fish  guard completions fish > ~/.config/fish/completions/guard.fish
#[derive(Args)]
#[command(verbatim_doc_comment)]
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
