//! Somebody who attempts what is denied again and again, each time as a new agent, while other things happen.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::run::{Finished, Job};

use crate::ground::{Ground, stopped};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(400);

/// Goes on until it is told to stop.
pub struct Hammer {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Vec<Finished>>,
}

impl Hammer {
    /// Begins.
    pub fn on(ground: &Ground) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let job = read(&ground.stage.agent(), &ground.stage.secret());
        let attempts = move || {
            let mut ends = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                ends.push(job.run());
                // What else happens is to get on with it, on the one processor that there is.
                thread::sleep(PAUSE);
            }
            ends
        };
        Self { stop, work: thread::spawn(attempts) }
    }

    /// Ends. Every attempt was stopped.
    pub fn was_stopped(self) {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.work.join().expect("attempts are made to the end");
        assert!(ends.len() > 5, "it had no time: {ends:?}");
        let lapses: Vec<String> = ends
            .iter()
            .enumerate()
            .filter(|(_, end)| !stopped(end))
            .map(|(number, end)| format!("{number}: {} {:?} {:?}", end.code(), end.out(), end.err()))
            .collect();
        assert!(lapses.is_empty(), "{} of {} attempts were not stopped: {lapses:#?}", lapses.len(), ends.len());
        println!("        {} attempts meanwhile, all stopped", ends.len());
    }
}

fn read(agent: &Path, file: &Path) -> Job {
    Job::new(agent, Path::new("/")).arg("read").arg(file)
}
