//! `cargo xtask fuzz`: the fuzz targets, built with the ordinary compiler and run for a while.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{say, setup, workspace};

#[derive(Args)]
pub struct Options {
    /// Which: policy, glob or event. All, if none is named.
    targets: Vec<String>,
    /// How long each is run.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// The targets.
const TARGETS: [&str; 3] = ["policy", "glob", "event"];
/// What makes the compiler tell libFuzzer which parts of the program have run; what cargo-fuzz gives it too.
const INSTRUMENTED: &str = "--cfg=fuzzing\x1f-Cpasses=sancov-module\x1f-Cllvm-args=-sanitizer-coverage-level=4\x1f\
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters\x1f-Cllvm-args=-sanitizer-coverage-pc-table\x1f\
     -Cllvm-args=-sanitizer-coverage-trace-compares\x1f-Ccodegen-units=1";
/// Named, so that cargo keeps the instrumentation away from build scripts.
const MACHINE: &str = "x86_64-unknown-linux-gnu";

pub fn run(options: &Options) -> Result<ExitCode> {
    if let Some(unknown) = options.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        bail!("there is no fuzz target {unknown}: expected {}", TARGETS.join(", "));
    }
    setup::run(false)?;
    let fuzz = workspace::root().join("fuzz");
    let target = workspace::target()?.join("fuzz");
    say::timed("building the fuzz targets (a few minutes the first time)", || {
        let mut cargo = workspace::cargo(["build", "--release", "--quiet", "--target", MACHINE, "--target-dir"]);
        cargo.arg(&target).current_dir(&fuzz).env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED).env_remove("RUSTFLAGS");
        workspace::ensure_runs(&mut cargo)
    })?;
    for name in TARGETS.into_iter().filter(|name| chosen(options, name)) {
        say::timed(&format!("fuzzing {name} for {} s", options.seconds), || {
            let mut fuzzer = fuzzer(&fuzz, &target, name)?;
            workspace::ensure_runs(fuzzer.arg(format!("-max_total_time={}", options.seconds)))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(options: &Options, name: &str) -> bool {
    options.targets.is_empty() || options.targets.iter().any(|target| target == name)
}

/// A target, with what it found before and what it may begin with. What makes it fail is kept beside that.
fn fuzzer(fuzz: &Path, target: &Path, name: &str) -> Result<Command> {
    let corpus = folder(target.join("corpus").join(name))?;
    let failures = folder(target.join("failures").join(name))?;
    let mut fuzzer = Command::new(target.join(MACHINE).join("release").join(name));
    fuzzer.arg(&corpus);
    if name == "policy" {
        fuzzer.arg(workspace::root().join("policies"));
        fuzzer.arg(format!("-dict={}", fuzz.join("policy.dict").display()));
    }
    fuzzer.arg(format!("-artifact_prefix={}/", failures.display()));
    // A policy may be refused for its size only after some seconds of trying.
    fuzzer.args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    // Long ones at once: in a minute it would hardly come to globs with more than one rule and path.
    fuzzer.args(["-max_len=16384", "-len_control=0"]);
    Ok(fuzzer)
}

fn folder(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}
