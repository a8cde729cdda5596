//! The real Codex CLI, from npm, into the target folder: nothing of it is left elsewhere on the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{host, say, setup, workspace};

/// The version the tests were written for.
const VERSION: &str = include_str!("../../tests/support/codex-version.txt").trim_ascii();

/// What the demo and the tests call beside Codex, and the Debian packages these are in.
const PROGRAMS: [(&str, &str); 13] = [
    ("git", "git"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("bash", "bash"),
    ("setsid", "util-linux"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("sudo", "sudo"),
    ("wget", "wget"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("ssh", "openssh-client"),
    ("tmux", "tmux"),
];

/// Installs Codex where it isn't yet, with the programs around it, and says where.
pub fn install() -> Result<PathBuf> {
    let folder = folder()?;
    programs()?;
    if !installed(&folder) {
        say::timed(
            &format!("installing the Codex CLI {VERSION} from npm into {} (400 MB)", folder.display()),
            || {
                fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&folder);
                workspace::ensure_runs(npm.arg(format!("@openai/codex@{VERSION}")))
            },
        )?;
        ensure!(installed(&folder), "npm installed no Codex CLI {VERSION} for this machine in {}", folder.display());
    }
    Ok(folder)
}

/// Where it is, or will be.
pub fn folder() -> Result<PathBuf> {
    env::var_os("GUARD_CODEX_DIR").map_or_else(|| Ok(workspace::target()?.join("codex")), |folder| Ok(folder.into()))
}

/// npm writes this file last, so its being there says that the rest is.
fn installed(folder: &Path) -> bool {
    let text = fs::read_to_string(folder.join("node_modules/.package-lock.json")).unwrap_or_default();
    // Two packages: the wrapper, and the program for this kind of machine.
    text.contains(&format!("\"version\": \"{VERSION}\""))
        && text.contains(&format!("\"version\": \"{VERSION}-linux-"))
}

/// Makes sure of the programs around Codex.
pub fn programs() -> Result<()> {
    let mut missing: Vec<_> = PROGRAMS.iter().filter(|(name, _)| host::program(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if host::is_root() && host::program("apt-get").is_some() {
        setup::install(&packages)?;
        missing.retain(|(name, _)| host::program(name).is_none());
    }
    if let Some((name, _)) = missing.first() {
        bail!(
            "{name} is not installed, and the demo and the tests need it.\n    on Debian, as root: apt-get install {}\n    \
             elsewhere: the packages of the same programs",
            packages.join(" ")
        );
    }
    Ok(())
}
