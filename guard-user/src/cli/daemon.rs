//! `guard daemon`: every agent on the machine, until it is stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Common;
use super::changes::Changes;
use super::screen::Screen;
use crate::kernel;
use crate::watch::{Watch, ticks};

/// Guards every agent that the policy names, those that run already among them, until SIGTERM or Ctrl-C.
/// A change of the policy's file, or SIGHUP, puts the policy in force anew, at once and whole: a bad one changes nothing
/// and is reported.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Daemon {
    #[command(flatten)]
    common: Common,
    /// Unix socket of the control API (not served yet: giving one is an error)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Tell of verdicts as lines of JSON instead of sentences
    #[arg(long)]
    json: bool,
}

impl Daemon {
    /// Does it.
    ///
    /// # Errors
    /// Whatever keeps guard from guarding.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(socket) = &self.socket {
            anyhow::bail!("--socket {}: this version of guard does not serve the control API yet", socket.display());
        }
        let policy = self.common.load_policy()?;
        kernel::check_requirements()?;
        if policy.compiled.agents.is_empty() {
            anyhow::bail!(
                "the policy names no agent: nothing would ever be guarded. Add for example\n\n[agent.codex]\nexe = [\"**/codex\"]"
            );
        }
        let names: Vec<_> = policy.compiled.agents.iter().map(|agent| agent.name.clone()).collect();
        let screen = Screen::new(self.json);
        let sink = self.common.sink()?;
        let settings = self.common.settings(true);
        let mut watch = Watch::load(&settings, policy, self.common.audit, sink, |event| screen.show(event))?;
        let (mut terminate, mut interrupt, mut hangup) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        watch.attach()?;
        let running = watch.seed()?;
        eprintln!(
            "guard: guarding {} on this machine, mode {}, by {}; {running} processes were running already",
            names.join(", "),
            watch.mode().word(),
            watch.backends()
        );
        let mut changes = self.common.policy_file().map(|path| Changes::of(&path)).transpose()?;
        let mut tick = ticks();
        loop {
            tokio::select! {
                result = watch.step() => result?,
                _ = tick.tick() => watch.tick(),
                _ = hangup.recv() => {
                    // Before the reload, so that a change after it is noticed.
                    changes.as_mut().map(Changes::read_anew);
                    self.reload(&mut watch);
                }
                () = next(&mut changes) => self.reload(&mut watch),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        watch.tick();
        screen.summary(watch.totals(), watch.mode() == guard_common::words::Mode::Audit);
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the policy anew and puts it in force; the old one stays where that fails.
    fn reload(&self, watch: &mut Watch<'_>) {
        match self.common.load_policy().and_then(|policy| watch.reload(policy)) {
            Ok(()) => eprintln!("guard: the policy was read anew, mode {}", watch.mode().word()),
            Err(error) => eprintln!("guard: the policy that was in force stays:\n{error:#}"),
        }
    }
}

/// The next change of the policy's file, if it is read from one.
async fn next(changes: &mut Option<Changes>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}
