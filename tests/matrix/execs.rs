//! Executing programs.

use std::path::Path;

use serde_json::json;
use support::run::Job;
use support::stage::FINE;

use crate::Check;
use crate::ground::Ground;

pub const CHECKS: &[Check] = &[
    ("execs: an allowed program runs, and is told of", allowed),
    ("execs: a denied program does not, by every call", by_every_call),
    ("execs: nor one that is in memory alone", by_memfd),
    ("execs: nor one with denied words", by_words),
];

const CALLS: [&str; 4] = ["execve", "execveat", "proc-fd", "thread"];

/// Whether a program can be executed by a descriptor alone. Debian's 5.10.223 finds none, guarded or not.
fn without_a_name(ground: &Ground, place: &Path) -> bool {
    let done = Job::new(place.join("attempt"), place).args(["exec", "--by", "fexecve", "/bin/true"]).run();
    let finds_none = ground.kernel.version() == (5, 10) && done.err() == "refused: ENOENT\n";
    assert!(done.code() == 0 || finds_none, "{}", done.err());
    !finds_none
}

/// The calls that work here.
fn calls(ground: &Ground, place: &Path) -> Vec<&'static str> {
    CALLS.into_iter().chain(without_a_name(ground, place).then_some("fexecve")).collect()
}

fn allowed(ground: &Ground) {
    for place in &ground.places {
        let program = place.join("attempt").display().to_string();
        for call in calls(ground, place) {
            let out = ground.allowed(place, ["exec", "--by", call, &program, "read", "allowed/fine"]);
            assert_eq!(out, FINE, "{call}");
        }
        let event = ground.told("an exec", |event| event["op"] == "exec" && event["path"] == program);
        assert_eq!(event["argv"], json!([program, "read", "allowed/fine"]), "{event}");
    }
}

fn by_every_call(ground: &Ground) {
    for place in &ground.places {
        let program = place.join("tools/forbidden").display().to_string();
        for call in calls(ground, place) {
            let event = ground.denied("program", place, ["exec", "--by", call, &program, "read", "allowed/fine"]);
            assert_eq!((&event["op"], &event["path"]), (&json!("exec"), &json!(program)), "{event}");
        }
    }
}

/// It has no path, and what can't be judged is denied wherever a rule denies a path.
fn by_memfd(ground: &Ground) {
    for place in ground.places.iter().filter(|place| without_a_name(ground, place)) {
        let event = ground.denied("program", place, ["exec", "--by", "memfd", "/bin/true"]);
        assert!(event.get("path").is_none(), "an unknown path is absent: {event}");
    }
}

/// They are known only when the program is about to run.
fn by_words(ground: &Ground) {
    for place in &ground.places {
        let event = ground.contained("words", place, ["exec", "/bin/true", "forbidden", "word"]);
        assert_eq!(event["argv"], json!(["/bin/true", "forbidden", "word"]), "{event}");
        ground.allowed(place, ["exec", "/bin/true", "fine", "word"]);
    }
}
