//! `guard run`: a tree of its own, beside the daemon's; without security hooks, so that each kernel is seen to contain what it
//! could prevent.

use std::fs;

use support::guard::{Guard, Guarded};
use support::run::Job;
use support::stage::{FINE, text};

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[("run: a command is guarded, and its end is returned", run)];

fn run(ground: &Ground) {
    let [disk, _] = &ground.places;
    let file = disk.join("own");
    fs::write(&file, "own\n").expect("written");
    let rule = format!(
        "version = 1\n[[rule]]\nname = \"own\"\non = [\"read\"]\npath = [\"{}\"]\naction = \"deny\"\n",
        file.display()
    );
    let script = "./attempt read own; ./attempt read allowed/fine; exit 7";
    let job = Job::new("/bin/bash", disk).args(["-c", script]).limit(crate::ground::LOADING);
    let Guarded { done, events } = Guard::new(ground.scratch(), &rule).flag("--without-hooks").run(&job);
    assert_eq!((done.code(), done.out().as_str()), (7, FINE), "{}\n{events}", done.err());
    let denials: Vec<_> = events.denials().collect();
    assert_eq!(denials.len(), 1, "{events}");
    let verdict = &denials[0]["verdict"];
    assert_eq!((text(verdict, "/rule"), text(verdict, "/backend")), ("own", "signal"), "{events}");
    assert_eq!(verdict["enforced"], true, "{events}");
    events.none_lost();
}
