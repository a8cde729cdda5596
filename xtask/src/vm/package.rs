//! Debian packages that are unpacked beside what is built, where they can't be installed beside what is installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::kernels::{empty, folder};
use crate::{say, workspace};

/// Unpacks a package, of about this size, with everything that it would have brought along.
pub fn unpack(package: &str, into: &Path, size: &str) -> Result<()> {
    say::timed(&format!("getting {package} ({size})"), || {
        let work = folder()?.join("packages");
        empty(&work)?;
        fs::create_dir(work.join("partial"))?;
        let mut download = Command::new("apt-get");
        download.args(["-y", "-q", "--no-install-recommends", "--download-only", "--reinstall"]);
        download.args(["-o", "APT::Sandbox::User=root", "-o"]);
        download.arg(format!("Dir::Cache::archives={}", work.display())).args(["install", package]);
        workspace::ensure_runs(download.stdout(Stdio::null()))?;
        // Under its own name only when it is whole.
        let part = into.with_extension("part");
        empty(&part)?;
        for entry in fs::read_dir(&work).with_context(|| work.display().to_string())? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                workspace::ensure_runs(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&part))?;
            }
        }
        fs::rename(&part, into).with_context(|| format!("{package} could not be put in place"))?;
        fs::remove_dir_all(&work).with_context(|| work.display().to_string())
    })
}
