//! Prometheus with its promtool, for the tests of metrics: out of Debian's package into the target folder. Nothing is
//! installed, so no service starts, and nothing is left elsewhere on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{host, say, setup, workspace};

/// What the tests call.
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// Gets it where it isn't yet; the folder of both programs.
pub fn install() -> Result<PathBuf> {
    let there = workspace::target()?.join("prometheus");
    let complete = |folder: &Path| PROGRAMS.iter().all(|name| folder.join(name).is_file());
    if complete(&there) {
        return Ok(there);
    }
    let on_path = host::program(PROGRAMS[0]).and_then(|path| path.parent().map(Path::to_owned));
    if let Some(folder) = on_path.filter(|folder| complete(folder)) {
        return Ok(folder);
    }
    if host::program("apt-get").is_none() {
        bail!(
            "prometheus and promtool are not installed, and the tests of metrics need them.\n    on Debian they are taken out \
             of the package prometheus; elsewhere: put both on the path"
        );
    }
    say::timed("getting prometheus from Debian's package (20 MB)", || {
        let part = there.with_extension("part");
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| part.display().to_string())?;
        }
        fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
        // Without lists there is nothing to be found; they take root.
        if download(&part).is_err() && host::is_root() {
            setup::update()?;
        }
        download(&part)?;
        for file in fs::read_dir(&part)?.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                workspace::ensure_runs(unpack.arg("-x").arg(file).arg(part.join("files")))?;
            }
        }
        let whole = part.join("whole");
        fs::create_dir(&whole)?;
        for name in PROGRAMS {
            fs::rename(part.join("files/usr/bin").join(name), whole.join(name))
                .with_context(|| format!("the package has no {name}"))?;
        }
        // Under its own name only when it is whole.
        fs::rename(&whole, &there).with_context(|| there.display().to_string())?;
        fs::remove_dir_all(&part).with_context(|| part.display().to_string())
    })?;
    Ok(there)
}

/// Has apt download the package, unless that is done.
fn download(into: &Path) -> Result<()> {
    if fs::read_dir(into)?.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"))
    {
        return Ok(());
    }
    let mut apt = Command::new("apt-get");
    // Whom it would otherwise download as can't write here.
    apt.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "prometheus"]);
    let output = apt.current_dir(into).stdin(Stdio::null()).output().context("cannot run apt-get")?;
    if !output.status.success() {
        bail!("apt-get finds no package prometheus: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
