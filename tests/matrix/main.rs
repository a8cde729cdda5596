//! guard on one kernel, from end to end. Loading the programs takes long where the kernel's machine is emulated, so one
//! daemon and one `guard run` are started, and everything is attempted under these. What each kernel is expected to do is
//! said in `kernel`; what a denial comes to is said in `ground`.
//!
//! `cargo xtask vm` runs this in a machine for each kernel, `cargo xtask test` on this machine's own as well.

mod codex;
mod doctor;
mod entries;
mod execs;
mod ground;
mod groups;
mod inherited;
mod kernel;
mod net;
mod once;
mod opens;
mod own;
mod policy;
mod rights;
mod time;
mod tree;
mod verifier;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ground::Ground;
use support::net::alone;

/// Makes guard's kernel checks on this machine's kernel.
#[derive(Parser)]
#[command(name = "guard-matrix")]
struct Options {
    /// Only the checks with one of these in their name.
    filters: Vec<String>,
}

/// Something that must be so: its name, and what fails if it isn't.
type Check = (&'static str, fn(&Ground));

fn main() -> ExitCode {
    let options = Options::parse();
    // Ports and mounts of our own.
    if alone(|| all(&options.filters)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the checks, a line each, and says whether all passed.
fn all(filters: &[String]) -> bool {
    let ground = Ground::new();
    println!("{}", ground.kernel);
    println!("loaded in {:.1} s", ground.loading.as_secs_f64());
    verifier::tell(ground.daemon.pid());

    let rooms = [
        opens::CHECKS,
        inherited::CHECKS,
        entries::CHECKS,
        execs::CHECKS,
        net::CHECKS,
        rights::CHECKS,
        own::CHECKS,
        tree::CHECKS,
        groups::CHECKS,
        policy::CHECKS,
        once::CHECKS,
        codex::CHECKS,
        doctor::CHECKS,
        // Nobody's clock is set but that of a machine that was made for this.
        if ground.kernel.is_of_the_matrix() { time::CHECKS } else { &[] },
    ];
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let mut counts = [0, 0];
    for (name, check) in rooms.concat().into_iter().filter(|(name, _)| chosen(name)) {
        let started = Instant::now();
        // What went wrong has been said by the panic itself.
        let passed = catch_unwind(AssertUnwindSafe(|| check(&ground))).is_ok();
        counts[usize::from(!passed)] += 1;
        println!(
            "test {name} ... {} ({:.1} s)",
            if passed { "ok" } else { "FAILED" },
            started.elapsed().as_secs_f64()
        );
    }
    let ended = catch_unwind(AssertUnwindSafe(|| ground.end())).is_ok();
    println!("test the daemon is killed, and another takes over ... {}", if ended { "ok" } else { "FAILED" });
    counts[usize::from(!ended)] += 1;
    let [passed, failed] = counts;
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    failed == 0
}
