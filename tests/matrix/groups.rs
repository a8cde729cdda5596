//! All of a control group is guarded, whoever runs there.

use std::path::Path;

use support::guard::Guarded;
use support::run::Job;
use support::stage::{FINE, text};

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("scope: who is moved into a control group is guarded", moved),
    ("scope: so is who is made there", made),
    ("scope: and in one that was made since", below),
];

fn moved(ground: &Ground) {
    for place in &ground.places {
        let event =
            ground.denied_job("secrets", &job(place, "moved", ground.group.folder(), &["read", "denied/secret"]));
        assert_eq!((event["agent"].as_str(), text(&event, "/scope")), (None, "tool"), "{event}");
        let Guarded { done, .. } = ground.run(&job(place, "moved", ground.group.folder(), &["read", "allowed/fine"]));
        assert_eq!(done.out(), FINE, "{}", done.err());
    }
}

fn made(ground: &Ground) {
    for place in &ground.places {
        let program = place.join("attempt").display().to_string();
        let words = ["exec", &program, "read", "denied/secret"];
        // The process that makes it is a stranger, and so its end is not told.
        let done = job(place, "made", ground.group.folder(), &words).run();
        assert_eq!((done.code() != 0, done.out().as_str()), (true, ""), "{}", done.err());
        let secret = place.join("denied/secret").display().to_string();
        let event = ground.told("its denial", |event| {
            text(event, "/path") == secret
                && text(event, "/scope") == "tool"
                && text(event, "/process/argv/1") == "read"
        });
        assert_eq!(text(&event, "/verdict/rule"), "secrets", "{event}");
        drop(ground.told("its end", |end| end["op"] == "session-end" && end["tree"] == event["tree"]));
    }
}

fn below(ground: &Ground) {
    let [disk, _] = &ground.places;
    let folder = ground.group.make("job/step");
    ground.denied_job("secrets", &job(disk, "moved", &folder, &["read", "denied/secret"]));
}

/// An attempt in a control group by a program that is no agent.
fn job(place: &Path, how: &str, folder: &Path, words: &[&str]) -> Job {
    Job::new(place.join("attempt"), place).args(["group", how]).arg(folder).args(words)
}
