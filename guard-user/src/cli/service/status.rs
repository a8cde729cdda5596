//! `guard service status`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::parts::UNIT;
use super::systemd;
use crate::control::types::{Sessions, Status as Answer};
use crate::control::{self, Http};

/// The daemon answers, and carries nothing out.
const AUDIT: u8 = 1;
/// No daemon answers; as systemctl status has it.
const NONE: u8 = 3;

/// Say whether the daemon runs and enforces, by which policy, and over how many sessions.
#[derive(Args)]
#[command(after_help = "Exit code: 0 where it enforces, 1 where it runs in audit mode, 3 where no daemon answers.")]
pub struct Status {
    /// Unix socket of the daemon's control API
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
}

impl Status {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        line("unit", &unit());
        let (status, sessions) = match ask(&self.socket).await {
            Ok(answers) => answers,
            Err(error) => {
                line("daemon", &format!("{error:#}"));
                line("enforcing", "no");
                return Ok(ExitCode::from(NONE));
            }
        };
        line("daemon", &format!("process {}, guard {}, since {}", status.pid, status.build.version, status.started));
        let enforces = status.mode == "enforce";
        let by = status.backends.join(", ");
        line(
            "enforcing",
            &if enforces { format!("yes, by {by}") } else { format!("no: mode {}, by {by}", status.mode) },
        );
        let policy = &status.policy;
        let groups = if policy.cgroups.is_empty() {
            String::new()
        } else {
            format!(", cgroups {}", policy.cgroups.join(", "))
        };
        line(
            "policy",
            &format!(
                "{}, rules {}, agents {}{groups}, since {}",
                policy.origin,
                policy.rules,
                policy.agents.join(", "),
                policy.since
            ),
        );
        if let Some(why) = status.machine.as_ref().and_then(|machine| machine.reloads.last_failure.as_deref()) {
            // All of it is in the log.
            line("refused", &format!("a newer policy: {}", why.lines().next().unwrap_or_default()));
        }
        let whose = if status.access == "own" { " of yours; root sees all" } else { "" };
        let switched = sessions.sessions.iter().filter(|session| session.mode != status.mode).count();
        let other = if enforces { "audit" } else { "enforce" };
        let switched = if switched > 0 { format!(", {switched} of them switched to {other}") } else { String::new() };
        line("sessions", &format!("{}{switched}{whose}", sessions.sessions.len()));
        Ok(if enforces { ExitCode::SUCCESS } else { ExitCode::from(AUDIT) })
    }
}

async fn ask(socket: &Path) -> anyhow::Result<(Answer, Sessions)> {
    let mut daemon = Http::connect(socket).await?;
    Ok((daemon.get("/v1/status").await?, daemon.get("/v1/sessions").await?))
}

/// What systemd says of the unit, in words.
fn unit() -> String {
    let Some(found) = systemd::properties() else {
        return "none: systemd does not run this machine".to_owned();
    };
    let of = |key: &str| found.get(key).map_or("unknown", String::as_str);
    if of("LoadState") == "not-found" {
        return format!("{UNIT} is not installed: sudo guard service install");
    }
    let mut parts =
        vec![UNIT.to_owned(), of("UnitFileState").to_owned(), format!("{} ({})", of("ActiveState"), of("SubState"))];
    if !["success", "unknown"].contains(&of("Result")) {
        parts.push(format!("last result {}", of("Result")));
    }
    if !["0", "unknown"].contains(&of("NRestarts")) {
        parts.push(format!("started anew {} times", of("NRestarts")));
    }
    parts.join(", ")
}

fn line(name: &str, text: &str) {
    println!("{name:<10}{text}");
}
