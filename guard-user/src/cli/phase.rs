//! `guard phase NAME`: the command that begins a phase of the session it is run in.

use std::process::ExitCode;

use clap::Args;

/// Begins a phase of the session that this command is run in.
///
/// The kernel recognises the command by its words, in a guarded session whose policy has the phase: a session goes
/// forward only, and a phase it is in or past begins nothing. Anywhere else the command does nothing.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Phase {
    /// The phase, by its name in the policy
    name: String,
}

impl Phase {
    /// Does it: all that there was to do is done, for the kernel saw the exec.
    pub fn run(self) -> ExitCode {
        eprintln!("guard: in a guarded session whose policy has it, the phase `{}` has begun", self.name);
        ExitCode::SUCCESS
    }
}
