//! Where things are, and running cargo on them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

/// The workspace's root folder.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    target.canonicalize().with_context(|| target.display().to_string())
}

/// The release build's `guard`.
pub fn guard() -> Result<PathBuf> {
    Ok(target()?.join("release/guard"))
}

/// Every task builds the same selection of packages in the same profile: another selection could mean other features
/// of shared dependencies, and those built twice. guard-ebpf is built by guard-user's build script.
pub const SELECTION: [&str; 4] = ["--release", "--workspace", "--exclude", "guard-ebpf"];

/// Cargo, in the workspace's root: the one that runs this task.
pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(args).current_dir(root());
    command
}

/// Runs a command to its end, with our input and outputs.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// Runs a command that has to succeed.
pub fn ensure_runs(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{} failed: {status}", shown(command));
    Ok(())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A child's end as our own.
pub fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
