//! systemd, asked and told through systemctl.

use std::collections::HashMap;
use std::process::{Command, Output};

use anyhow::{Context as _, bail};

use super::parts::UNIT;

/// How systemctl is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Systemd {
    /// It runs this machine.
    Running,
    /// It will: only its files are changed, for the next boot.
    Offline,
}

impl Systemd {
    /// The one to be used. `offline`: the user has said that none runs here.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(offline: bool, task: &str) -> anyhow::Result<Self> {
        let systemctl = Command::new("systemctl").arg("--version").output();
        if !systemctl.is_ok_and(|output| output.status.success()) {
            bail!(
                "this machine has no systemctl: guard service is for systemd. Under another init system have it run \
                 `guard daemon`, as root, and start it anew when it ends"
            );
        }
        match (offline, sd_notify::booted()?) {
            (true, _) => Ok(Self::Offline),
            (false, true) => Ok(Self::Running),
            (false, false) => bail!(
                "systemd does not run this machine (there is no /run/systemd/system). In an image that is yet to boot: \
                 guard service {task} --offline"
            ),
        }
    }

    /// Makes the unit known, has it start at boot, and where systemd runs, starts it now or anew; back when it enforces.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn enable(self) -> anyhow::Result<()> {
        if self == Self::Offline {
            return run(&["--root=/", "--quiet", "enable", UNIT]);
        }
        run(&["daemon-reload"])?;
        run(&["--quiet", "enable", UNIT])?;
        run(&["restart", UNIT]).with_context(|| {
            format!("it was installed, and does not start; why: journalctl --unit={UNIT} --lines=20")
        })
    }

    /// Stops the unit, and has it start no more.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn disable(self) -> anyhow::Result<()> {
        match self {
            Self::Offline => run(&["--root=/", "--quiet", "disable", UNIT]),
            Self::Running => run(&["--quiet", "disable", "--now", UNIT]),
        }
    }

    /// The unit's file is gone.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn forget(self) -> anyhow::Result<()> {
        if self == Self::Running {
            run(&["daemon-reload"])?;
            // Only where it has failed is there something to forget.
            let _never_failed = output(&["reset-failed", UNIT]);
        }
        Ok(())
    }
}

/// What systemd says of the unit, by property; nothing where systemd does not run this machine.
pub fn properties() -> Option<HashMap<String, String>> {
    const ASKED: &str = "--property=LoadState,UnitFileState,ActiveState,SubState,Result,NRestarts";
    if !sd_notify::booted().unwrap_or(false) {
        return None;
    }
    let shown = output(&["show", UNIT, ASKED]).ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&shown.stdout);
    Some(
        text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect(),
    )
}

fn output(args: &[&str]) -> anyhow::Result<Output> {
    Command::new("systemctl").args(args).output().context("systemctl can't be run")
}

fn run(args: &[&str]) -> anyhow::Result<()> {
    let output = output(args)?;
    if !output.status.success() {
        bail!("systemctl {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
