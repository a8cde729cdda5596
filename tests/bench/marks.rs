//! What it costs that guard is asked (by fanotify) before protected files are opened.

use std::path::Path;

use nix::sys::signal::Signal;
use support::marks::marked;
use support::place::Scratch;

use crate::LOOP;
use crate::loops::NOTED;
use crate::table::{Row, median};
use crate::worker::{Place, Worker, daemon};

/// The policy: nobody may write what everybody may read.
pub const POLICY: &str = "marks.toml";

/// Its text.
pub fn policy(folder: &Path) -> String {
    let (agent, file) = (folder.join("agent"), folder.join(NOTED));
    format!(
        "version = 1\n[agent.bench]\nexe = [\"{}\"]\n[[rule]]\nname = \"marked\"\non = [\"write\"]\npath = [\"{}\"]\n\
         action = \"deny\"\n",
        agent.display(),
        file.display()
    )
}

/// Nanoseconds of an open and close, round by round.
#[derive(Default)]
struct Cost {
    unmarked: Vec<f64>,
    marked: Vec<f64>,
}

impl Cost {
    fn measure(&mut self, worker: &mut Worker) {
        self.unmarked.push(worker.run("open", LOOP).0);
        self.marked.push(worker.run("open-noted", LOOP).0);
    }
}

/// Measures it in turns with a machine without guard.
pub fn measure(scratch: &Scratch, rounds: usize) -> Vec<Row> {
    let (mut alone, mut outside, mut member) = (Cost::default(), Cost::default(), Cost::default());
    let mut refused = Vec::new();
    scratch.write(POLICY, policy(scratch.path()));
    let agent = scratch.program(&std::env::current_exe().expect("a program knows its own path"), "agent");
    for _ in 0..rounds {
        let mut worker = Worker::start(scratch, &Place::Alone);
        alone.measure(&mut worker);
        worker.stop();
        let daemon = daemon(scratch, POLICY, false);
        let mut inside = Worker::of(scratch, &agent);
        marked(daemon.pid(), &scratch.join(NOTED));
        let mut worker = Worker::start(scratch, &Place::Alone);
        outside.measure(&mut worker);
        worker.stop();
        member.measure(&mut inside);
        refused.push(inside.run("open-refused", LOOP).0);
        inside.stop();
        daemon.signal(Signal::SIGTERM);
        daemon.wait();
    }
    let before = alone.unmarked.clone();
    let micro = |what: &str, mut times: Vec<f64>| Row::value(what, median(&mut times) / 1000.0, "µs");
    vec![
        Row::of_ratios(
            "open+close of a file that is not marked, outside, with marks",
            before.clone(),
            outside.unmarked,
        ),
        micro("open+close of a file that is not marked, without guard", before),
        micro("open+close of a marked file, outside", outside.marked),
        micro("open+close of a file that is not marked, in a tree", member.unmarked),
        micro("open+close of a marked file, in a tree", member.marked),
        micro("open of a marked file that is refused, in a tree", refused),
    ]
}
