//! `cargo xtask test`: makes sure of all that the tests need, then runs them as `cargo test` does.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, codex, dist, host, prometheus, say, setup, vm, workspace};

#[derive(Args)]
pub struct Options {
    /// Whatever `cargo test` takes: a part of a test's name, `--test NAME`, `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    if !host::is_root() {
        say::note("most tests load programs into the kernel and will fail without root:");
        say::note("sudo --preserve-env=PATH,HOME cargo xtask test");
    }
    build::build()?;
    let codex = codex::install()?;
    let prometheus = prometheus::install()?;
    programs()?;
    let packed = dist::for_tests()?;
    // All that is wrong, not only the first of it.
    let mut cargo = workspace::cargo(["test", "--no-fail-fast"]);
    cargo.args(workspace::SELECTION).args(options.args.iter().filter(|arg| *arg != "--no-fail-fast"));
    cargo
        .env("GUARD_BIN", workspace::guard()?)
        .env("GUARD_CODEX_DIR", codex)
        .env("GUARD_PROMETHEUS_DIR", prometheus)
        .env("GUARD_DIST_DIR", packed);
    // A test's failure is its own message; nothing to add. To a person the tests speak directly, in colours.
    let person = io::stdout().is_terminal();
    let mut count = Count::default();
    let status = if person { workspace::status(&mut cargo)? } else { counted(&mut cargo, &mut count)? };
    // Who asks for some of the tests has named none of the matrix.
    let matrix = !options.args.is_empty()
        || vm::test(&mut |line| {
            println!("{line}");
            count.add(line);
        })?;
    let [passed, failed, ignored] = count.0;
    if !person {
        println!("{passed} passed, {failed} failed, {ignored} skipped");
    }
    Ok(if matrix { workspace::code(status) } else { ExitCode::FAILURE })
}

/// Programs that tests run, each with Debian's package of it: a terminal to look at screens by, what reads manual pages, what
/// judges units, and a bus as desktops have it.
const PROGRAMS: [(&str, &str); 4] =
    [("tmux", "tmux"), ("groff", "groff-base"), ("systemd-analyze", "systemd"), ("dbus-daemon", "dbus-daemon")];

/// Sees to it that the programs are there that tests run.
fn programs() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| host::program(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if host::program("apt-get").is_none() || !host::is_root() {
        let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
        bail!(
            "not installed, and needed by tests: {}. On Debian they are in the packages {}",
            names.join(", "),
            packages.join(", ")
        );
    }
    setup::install(&packages)
}

/// Tests that passed, failed and were ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count([u64; 3]);

impl Count {
    /// Adds what a line says, if it is the last of a test program's.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for (sum, word) in self.0.iter_mut().zip(["passed", "failed", "ignored"]) {
            let found = counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok());
            *sum += found.unwrap_or(0);
        }
    }
}

/// Runs the tests, passes their output on, and counts: cargo's own last line is that of the last of many programs,
/// which may hold no test at all.
fn counted(cargo: &mut Command, count: &mut Count) -> Result<ExitStatus> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = BufReader::new(child.stdout.take().context("no pipe")?);
    for line in output.split(b'\n') {
        let mut line = line?;
        count.add(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        io::stdout().write_all(&line)?;
    }
    Ok(child.wait()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_all_programs_add_up() {
        let mut count = Count::default();
        count.add("test result: ok. 19 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.87s");
        count
            .add("test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 7.70s");
        count.add("test what_is_left_behind_is_ended ... ok");
        count.add("test result: odd");
        assert_eq!(count, Count([19, 2, 1]));
    }
}
