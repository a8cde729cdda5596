//! `guard service install`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use nix::unistd::Group;

use super::made::{Made, Outcome, RECORD};
use super::parts::{self, EVENTS, PACKAGED, PROGRAM, ROTATED, UNIT, Wanted};
use super::systemd::Systemd;
use crate::control::GROUP;

/// Install the daemon as a systemd service that starts before anybody logs in, and start it.
///
/// Makes the unit, the group whose members may read the control API, the rotation of the events' file, and a policy in
/// /etc/guard where there is none; then starts the daemon, and has it start at boot.
#[derive(Args)]
#[command(
    after_help = "Again, with a newer guard, it upgrades: the policy stays as it is. What it makes is noted in \
    /var/lib/guard/service.json, and `guard service uninstall` removes just that."
)]
pub struct Install {
    /// Only make the files, for systemd to find at the next boot: for images, where no systemd runs yet
    #[arg(long)]
    offline: bool,
}

impl Install {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        super::require_root("install")?;
        let systemd = Systemd::find(self.offline, "install")?;
        if let Some(unit) = PACKAGED.iter().find(|unit| Path::new(unit).exists()) {
            bail!("a package has installed guard already, its unit is {unit}: systemctl enable --now {UNIT}");
        }
        let mut made = Made::read()?.unwrap_or_default();
        let (program, copy) = program()?;
        let rotates = Path::new(ROTATED).is_dir();
        let files: Vec<_> = copy.into_iter().chain(parts::files(&program, rotates)?).collect();
        // Before anything is changed.
        for file in files.iter().filter(|file| !file.configuration && file.path.exists()) {
            if !made.has_file(&file.path) {
                bail!(
                    "{} is there, and guard service has not made it (that would be in {RECORD}). Move it away first{}",
                    file.path.display(),
                    if file.path == Path::new(PROGRAM) { ", or call it: it installs itself" } else { "" }
                );
            }
        }
        if Group::from_name(GROUP).context("groups can't be looked up")?.is_none() {
            made.group(GROUP)?;
            call("groupadd", &["--system", GROUP])?;
            println!("made    group {GROUP}, whose members may read the control API");
        }
        for file in &files {
            match made.file(file)? {
                Outcome::Written => println!("made    {}", file.path.display()),
                Outcome::Kept => println!("kept    {}, which was there", file.path.display()),
            }
        }
        if !rotates {
            println!("note    there is no logrotate here: nobody rotates {EVENTS}/events.jsonl");
        }
        systemd.enable()?;
        println!(
            "{}",
            if self.offline {
                "enabled guard.service, from the next boot on"
            } else {
                "started guard.service: it enforces, now and from every boot on"
            }
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the unit is to find guard, and the copy that has to be made for that.
fn program() -> anyhow::Result<(PathBuf, Option<Wanted>)> {
    let this = std::env::current_exe().and_then(fs::canonicalize).context("guard can't find its own file")?;
    if parts::stays(&this) {
        return Ok((this, None));
    }
    let content = fs::read(&this).with_context(|| this.display().to_string())?;
    let path = PathBuf::from(PROGRAM);
    Ok((path.clone(), Some(Wanted { path, content, mode: 0o755, configuration: false })))
}

/// Runs a program of the system that says by itself what is wrong.
pub fn call(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("{program} can't be run"))?;
    if !output.status.success() {
        bail!("{program} {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
