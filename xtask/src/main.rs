//! guard's own tasks: what it takes to build, show and test it, each in a file of its own.

mod bench;
mod build;
mod codex;
mod demo;
mod dist;
mod evasion;
mod fuzz;
mod host;
mod lint;
mod notices;
mod prometheus;
mod say;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Builds, shows and tests guard.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what building takes: a compiler with `core` for BPF, and the linker for it.
    Setup,
    /// Build target/release/guard.
    Build(build::Options),
    /// Let the real Codex, guarded, do five things you would fear and three that are fine.
    Demo(demo::Options),
    /// Measure what guard costs, as ratios against this machine without guard.
    Bench(bench::Options),
    /// Try all ways out that we know of, under guard, and hold docs/threat-model.md against what came of them.
    Evasion(evasion::Options),
    /// Make the Debian package and the tarball, in target/dist.
    Dist,
    /// Check formatting, lints, licences, sources and advisories.
    Lint,
    /// Run all tests against this machine's kernel, and the kernel tests on the others.
    Test(test::Options),
    /// Run the kernel tests on 5.10, 6.1, 6.12 and 7.2, each in a virtual machine.
    Vm(vm::Options),
    /// Throw at guard what nobody would write.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Setup => setup::run(true),
        Task::Build(options) => build::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Evasion(options) => evasion::run(&options),
        Task::Dist => dist::run(),
        Task::Lint => lint::run(),
        Task::Test(options) => test::run(&options),
        Task::Vm(options) => vm::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
