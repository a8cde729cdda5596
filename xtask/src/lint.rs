//! `cargo xtask lint`: everything about the source that a machine can judge without running it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use crate::host::{self, TOOLCHAIN};
use crate::{say, setup, workspace};

/// The version of cargo-deny that deny.toml is written for.
const DENY: &str = "0.20.2";

pub fn run() -> Result<ExitCode> {
    say::timed("formatting", || workspace::ensure_runs(&mut workspace::cargo(["fmt", "--all", "--check"])))?;
    setup::run(false)?;
    say::timed("clippy", || {
        let mut clippy = workspace::cargo(["clippy", "--quiet", "--all-targets"]);
        workspace::ensure_runs(clippy.args(workspace::SELECTION).args(["--", "--deny", "warnings"]))
    })?;
    say::timed("clippy, for the kernel programs", kernel_clippy)?;
    say::timed("licences, sources and advisories", deny)?;
    Ok(ExitCode::SUCCESS)
}

/// The kernel programs are built for another target by another compiler, which needs a clippy of its own.
fn kernel_clippy() -> Result<()> {
    let rustup = host::program("rustup");
    let inside = |program: &str| {
        let mut command = Command::new(rustup.as_deref().unwrap_or(Path::new(program)));
        if rustup.is_some() {
            command.args(["run", TOOLCHAIN, program]);
        }
        command
    };
    let there = || {
        let output = inside("cargo").args(["clippy", "--version"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !there() {
        if !Path::new(host::SYSTEM).join("share/doc/rustc-web").exists() || !host::is_root() {
            bail!(
                "toolchain {TOOLCHAIN} has no clippy: Debian's package rust-web-clippy, or rustup's component clippy"
            );
        }
        setup::install(&["rust-web-clippy"])?;
    }
    let mut clippy = inside("cargo");
    clippy.args(["clippy", "--quiet", "--package", "guard-ebpf", "--bins", "--release"]);
    clippy.args(["--target", "bpfel-unknown-none", "--target-dir"]).arg(workspace::target()?.join("ebpf-clippy"));
    // What aya-build gives the real build, and our build script to aya-build.
    clippy
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,guard_ebpf")
        .env("CARGO_ENCODED_RUSTFLAGS", r#"--cfg=bpf_target_arch="x86_64""#);
    // Set for us by rustup's and cargo's own proxies, of the other compiler.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTC_WORKSPACE_WRAPPER"] {
        clippy.env_remove(name);
    }
    workspace::ensure_runs(clippy.current_dir(workspace::root()).args(["--", "--deny", "warnings"]))
}

fn deny() -> Result<()> {
    if deny_version().is_none_or(|version| version != DENY) {
        say::timed(&format!("building cargo-deny {DENY} (about two minutes)"), || {
            // Its own release profile takes twice the time, for a program that runs for a moment.
            let args = ["--version", DENY, "--locked", "--quiet", "--debug"];
            let mut cargo = workspace::cargo(["install", "cargo-deny"]);
            cargo.args(args).env("CARGO_PROFILE_DEV_DEBUG", "0");
            workspace::ensure_runs(cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"))
        })?;
    }
    // The offline checks look at the registry's answers from here: which versions are yanked, among others.
    workspace::ensure_runs(&mut workspace::cargo(["fetch", "--quiet", "--locked"]))?;
    let mut check =
        workspace::cargo(["deny", "--offline", "--log-level", "error", "check", "--hide-inclusion-graph"]);
    workspace::ensure_runs(check.env("GUARD_ADVISORIES", advisories()?).args([
        "advisories",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn deny_version() -> Option<String> {
    let output = Command::new(host::program("cargo-deny")?).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1)?.to_owned())
}

/// The folder of advisory databases: the user's, where `cargo deny fetch` has put one. Where that was never run, for it
/// takes a host beyond the registries, one with a single advisory about nothing: then what the registry itself says
/// about a version, that it is yanked, is all there is to check, and that is said.
fn advisories() -> Result<PathBuf> {
    /// What cargo-deny calls its copy of the `RustSec` database.
    const NAME: &str = "advisory-db-3157b0e258782691";
    let real = env::var_os("GUARD_ADVISORIES").map_or_else(|| host::cargo_home().join("advisory-dbs"), PathBuf::from);
    if real.join(NAME).is_dir() {
        return Ok(real);
    }
    say::note("no advisory database here: only yanked versions are found. `cargo deny fetch db` gets it.");
    let stand_in = workspace::target()?.join("advisory-dbs");
    let copy = stand_in.join(NAME);
    if !copy.join(".git").is_dir() {
        let about_nothing = copy.join("crates/guard-stand-in");
        fs::create_dir_all(&about_nothing).with_context(|| about_nothing.display().to_string())?;
        fs::write(about_nothing.join("RUSTSEC-2000-0000.md"), STAND_IN)?;
        let git = |args: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"]).args(args).current_dir(&copy);
            workspace::ensure_runs(&mut git)
        };
        git(&["init", "--quiet"])?;
        git(&["add", "."])?;
        git(&["commit", "--quiet", "--no-gpg-sign", "--message=stand-in"])?;
    }
    Ok(stand_in)
}

/// cargo-deny refuses a database without an advisory.
const STAND_IN: &str = r#"```toml
[advisory]
id = "RUSTSEC-2000-0000"
package = "guard-stand-in"
date = "2000-01-01"

[versions]
patched = [">= 1.0.0"]
```

# Stands in for a database

Nothing is wrong with this package, which does not exist.
"#;
