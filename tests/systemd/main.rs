//! guard as a service of the systemd that runs a machine: installed into its image, started at its boot, reloaded, restarted,
//! killed, hung, changed by drop-ins, telling people, upgraded, removed and installed anew, by itself and by its Debian package.
//! `cargo xtask vm` boots a machine that is there for this alone, and runs this in it.
//!
//! The steps are one story: each begins where the one before has ended, and the first that fails is the last.

mod away;
mod boot;
mod changed;
mod drop_in;
mod ended;
mod ground;
mod hammer;
mod image;
mod manager;
mod package;
mod told;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ground::Ground;

/// Makes guard a service of the systemd that runs this machine, which has to be made for that.
#[derive(Parser)]
#[command(name = "guard-systemd")]
struct Options {
    /// Install guard in an image, before its systemd runs; no more.
    #[arg(long)]
    image: bool,
}

/// Something that must be so: its name, and what fails if it isn't.
type Step = (&'static str, fn(&Ground));

fn main() -> ExitCode {
    let options = Options::parse();
    ground::require_machine();
    if options.image {
        image::install();
        return ExitCode::SUCCESS;
    }
    if all() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes the steps, a line each, and says whether all went well.
fn all() -> bool {
    let ground = Ground::new();
    println!("hooks: {}", support::kernel::hooks());
    let stories =
        [boot::STEPS, changed::STEPS, told::STEPS, drop_in::STEPS, ended::STEPS, away::STEPS, package::STEPS];
    let steps = stories.concat();
    let mut passed = 0;
    for (name, step) in &steps {
        let started = Instant::now();
        // What went wrong has been said by the panic itself.
        let good = catch_unwind(AssertUnwindSafe(|| step(&ground))).is_ok();
        let took = started.elapsed().as_secs_f64();
        println!("test service: {name} ... {} ({took:.1} s)", if good { "ok" } else { "FAILED" });
        if !good {
            println!("{}", manager::journal_text());
            break;
        }
        passed += 1;
    }
    // Those that were not come to count as well.
    let failed = steps.len() - passed;
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    failed == 0
}
