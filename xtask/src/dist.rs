//! `cargo xtask dist`: the Debian package and the tarball, of what `cargo xtask build` has built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{build, host, notices, say, setup, workspace};

/// The version of cargo-deb that the package's description in guard-user/Cargo.toml is written for.
const DEB: &str = "3.8.0";
/// Shells, and what their completions' files are called.
const SHELLS: [(&str, &str); 3] = [("bash", "guard"), ("zsh", "_guard"), ("fish", "guard.fish")];

pub fn run() -> Result<ExitCode> {
    build::build()?;
    let folder = workspace::target()?.join("dist");
    let (package, tarball) = say::timed("packing", || {
        gather()?;
        empty(&folder)?;
        Ok::<_, anyhow::Error>((deb(&folder, None, &[])?, tarball(&folder)?))
    })?;
    for made in [package, tarball] {
        say::step(&format!("made {}", made.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Two packages for the tests, of the same program: one to install, and a newer one. Their folder.
pub fn for_tests() -> Result<PathBuf> {
    let folder = workspace::target()?.join("dist-tests");
    say::timed("packing guard for the tests", || {
        gather()?;
        empty(&folder)?;
        deb(&folder, None, &["--fast"])?;
        deb(&folder, Some(&format!("{}-1+newer", env!("CARGO_PKG_VERSION"))), &["--fast"])?;
        tarball(&folder).map(drop)
    })?;
    Ok(folder)
}

/// Puts together what is made of the program: itself without what debuggers want, completions, manual pages, and the notices
/// of what it is built of. The package's description names this folder.
fn gather() -> Result<()> {
    tools()?;
    let (guard, here) = (workspace::guard()?, staged()?);
    empty(&here)?;
    for folder in ["bin", "completions"] {
        fs::create_dir(here.join(folder))?;
    }
    let program = here.join("bin/guard");
    workspace::ensure_runs(Command::new("strip").arg("-o").arg(&program).arg(&guard))?;
    for (shell, name) in SHELLS {
        let output = Command::new(&program).args(["completions", shell]).output().context("guard can't be run")?;
        if !output.status.success() {
            bail!("guard completions {shell} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::write(here.join("completions").join(name), output.stdout)?;
    }
    workspace::ensure_runs(Command::new(&program).args(["man", "--out"]).arg(here.join("man")))?;
    let pages = fs::read_dir(here.join("man"))?.flatten().map(|entry| entry.path());
    workspace::ensure_runs(Command::new("gzip").args(["--best", "--no-name"]).args(pages))?;
    fs::write(here.join("THIRD-PARTY.txt"), notices::all()?)?;
    Ok(())
}

/// The folder of what is made of the program.
fn staged() -> Result<PathBuf> {
    Ok(workspace::target()?.join("release/package"))
}

/// Sees to it that the programs are there that pack.
fn tools() -> Result<()> {
    let missing: Vec<_> = [("dpkg-shlibdeps", "dpkg-dev"), ("strip", "binutils"), ("gzip", "gzip"), ("tar", "tar")]
        .into_iter()
        .filter(|(program, _)| host::program(program).is_none())
        .collect();
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        if host::program("apt-get").is_none() || !host::is_root() {
            bail!(
                "packing takes programs that are missing here; they are in Debian's packages {}",
                packages.join(", ")
            );
        }
        setup::install(&packages)?;
    }
    let found = host::program("cargo-deb").and_then(|deb| Command::new(deb).arg("--version").output().ok());
    let version = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if version.as_deref().and_then(|version| version.split_whitespace().last()) != Some(DEB) {
        say::timed(&format!("building cargo-deb {DEB} (about two minutes)"), || {
            let mut cargo = workspace::cargo(["install", "cargo-deb", "--version", DEB, "--locked", "--quiet"]);
            workspace::ensure_runs(cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"))
        })?;
    }
    Ok(())
}

/// The Debian package, with another version than the workspace's where one is given.
fn deb(folder: &Path, version: Option<&str>, more: &[&str]) -> Result<PathBuf> {
    let mut cargo =
        workspace::cargo(["deb", "--package", "guard-user", "--no-build", "--no-strip", "--quiet", "--output"]);
    cargo.arg(folder).stdout(Stdio::null());
    cargo.args(version.map(|version| format!("--deb-version={version}"))).args(more);
    workspace::ensure_runs(&mut cargo)?;
    let wanted = version.map_or_else(|| format!("{}-1", env!("CARGO_PKG_VERSION")), str::to_owned);
    let made = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let name = format!("guard_{wanted}_");
    made.into_iter()
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name)))
        .with_context(|| format!("cargo deb has made no {name}*.deb in {}", folder.display()))
}

/// The tarball: what the package holds, for systems without dpkg.
fn tarball(folder: &Path) -> Result<PathBuf> {
    let name = format!("guard-{}-{}-linux", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let tree = folder.join(&name);
    let copy = |from: &Path, to: &str| {
        let to = tree.join(to);
        fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        workspace::ensure_runs(Command::new("cp").arg("-r").arg(from).arg(&to))
    };
    for part in ["bin", "completions", "man", "THIRD-PARTY.txt"] {
        copy(&staged()?.join(part), "")?;
    }
    for part in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "docs", "policies"] {
        copy(&workspace::root().join(part), "")?;
    }
    for part in ["deploy/systemd", "deploy/logrotate"] {
        copy(&workspace::root().join(part), "deploy")?;
    }
    let tarball = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"])
        .arg(&tarball);
    workspace::ensure_runs(tar.arg("--directory").arg(folder).arg(&name))?;
    fs::remove_dir_all(&tree)?;
    Ok(tarball)
}

/// Makes a folder with nothing in it.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}
