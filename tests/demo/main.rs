//! The demo: the real Codex, in a small project, told by a scripted model to do eight things. guard looks on.
//!
//! What is printed about each of them was looked up afterwards: in the files, in the processes, in what the model was
//! sent, and in guard's own record. It ends well only if every fear was stopped and reported and the rest was done.

mod scene;
mod steps;
mod tell;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use support::codex::{Desk, Mode};
use support::guard::{Events, Guard};
use support::model::{Model, Script};
use support::net;

use crate::scene::Scene;
use crate::steps::{DOWNLOAD, PORT, STEPS, Task};

/// Lets the real Codex, guarded, do five things you would fear and three that are fine.
#[derive(Parser)]
struct Options {
    /// The policy that guard enforces.
    #[arg(long)]
    policy: PathBuf,
    /// Leave guard out, to see what it is there for.
    #[arg(long)]
    unguarded: bool,
    /// Keep the folder that all this happens in.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if net::alone(|| play(&options)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays it all, and says whether it went as it should.
fn play(options: &Options) -> bool {
    let script = STEPS.iter().fold(Script::new(), |script, step| match step.task {
        Task::Run(command) => script.run(command),
        Task::Patch(patch) => script.patch(patch),
    });
    let model = Model::start(PORT, script.say("All done."), &[DOWNLOAD]).expect("a model on loopback");
    let mut desk = Desk::new("demo", &model);
    if options.keep {
        desk.keep();
    }
    tell::opening(&desk, options.unguarded);

    let job = desk.exec(&desk.native(), Mode::Bypass, "Please do what has to be done.");
    let (done, events) = if options.unguarded {
        (job.run(), Events::default())
    } else {
        // guard runs in the project's folder, not in ours.
        let policy = options.policy.canonicalize().expect("the policy is there");
        let guarded = Guard::of(desk.scratch(), policy).run(&job);
        (guarded.done, guarded.events)
    };

    let scene = Scene { desk, model, done, events };
    let ends: Vec<_> = STEPS.iter().enumerate().map(|(number, step)| scene.look(number, step)).collect();
    for (number, (step, end)) in STEPS.iter().zip(&ends).enumerate() {
        tell::step(number + 1, step, end);
    }
    tell::closing(&scene, &ends, options.unguarded)
}
