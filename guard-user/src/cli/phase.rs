//! `guard phase`: where sessions are, and sending one on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use hyper::Method;

use crate::control::types::{PhaseChange, Phases, Session, Sessions};
use crate::control::{self, Http};

/// Begin a phase of the session this command is run in, or of another; say where sessions are.
///
/// In a guarded session whose policy has the phase, the kernel recognises `guard phase NAME` by these words. That takes no
/// daemon, and no connection, which the policy may deny. A session goes forward only: a phase that it is in or past begins
/// nothing. Anywhere else the command does nothing.
///
/// With --session, root sends any session into a phase, through the daemon's control API. Without a name, the policy's phases and
/// where each session is are listed.
#[derive(Args)]
pub struct Phase {
    /// The phase, by its name in the policy
    name: Option<String>,
    /// The session to send there, by its id or its end: `guard phase` lists them. Takes root, and no guarded session
    #[arg(long, value_name = "ID", requires = "name")]
    session: Option<String>,
    /// Unix socket of the daemon's control API
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
}

impl Phase {
    /// Does it.
    ///
    /// # Errors
    /// What the daemon says instead.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match (self.name, self.session) {
            (None, _) => list(&self.socket).await?,
            (Some(name), Some(session)) => send(&self.socket, &session, name).await?,
            // All that there was to do is done, for the kernel saw the exec.
            (Some(name), None) => {
                eprintln!("guard: in a guarded session whose policy has it, the phase `{name}` has begun");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Lists the phases and the sessions.
async fn list(socket: &Path) -> anyhow::Result<()> {
    let mut daemon = Http::connect(socket).await?;
    let phases: Phases = daemon.get("/v1/phase").await?;
    if phases.phases.is_empty() {
        println!("the policy has no phases");
        return Ok(());
    }
    println!("phases: {}", phases.phases.join(", "));
    for (id, phase) in &phases.sessions {
        println!("session {id}: {phase}");
    }
    Ok(())
}

/// Sends a session into a phase.
async fn send(socket: &Path, session: &str, phase: String) -> anyhow::Result<()> {
    let mut daemon = Http::connect(socket).await?;
    let Sessions { sessions } = daemon.get("/v1/sessions").await?;
    let meant: Vec<&Session> = sessions
        .iter()
        .filter(|one| one.id.ends_with(session) || one.agent_sessions.iter().any(|id| id.ends_with(session)))
        .collect();
    let session = match meant[..] {
        [one] => one.id.clone(),
        [] => bail!("there is no session {}; `guard phase` lists them", session.escape_debug()),
        _ => bail!("{} sessions end with {}; `guard phase` lists them", meant.len(), session.escape_debug()),
    };
    let body = serde_json::to_vec(&PhaseChange { session, phase })?;
    let begun: PhaseChange = daemon.ask(Method::POST, "/v1/phase", body.into()).await?;
    eprintln!("guard: the session {} is in the phase `{}`", begun.session, begun.phase);
    Ok(())
}
