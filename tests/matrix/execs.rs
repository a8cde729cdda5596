//! Executing programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use support::run::Job;
use support::stage::FINE;

use crate::Check;
use crate::ground::{Ground, job};

pub const CHECKS: &[Check] = &[
    ("execs: an allowed program runs, and is told of", allowed),
    ("execs: a denied program does not, by every call", by_every_call),
    ("execs: nor by a bind mount", by_bind_mount),
    ("execs: nor a script, whatever runs it", scripts),
    ("execs: nor one that is in memory alone", by_memfd),
    ("execs: nor one with denied words", by_words),
];

const CALLS: [&str; 4] = ["execve", "execveat", "proc-fd", "thread"];

/// Whether a program can be executed by a descriptor alone. Debian's 5.10.223 finds none, guarded or not.
pub fn without_a_name(ground: &Ground, place: &Path) -> bool {
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

fn by_bind_mount(ground: &Ground) {
    for place in &ground.places {
        fs::create_dir(place.join("tools-elsewhere")).expect("a folder");
        let script = "mount --bind tools tools-elsewhere && exec ./attempt exec tools-elsewhere/forbidden read x";
        let event =
            ground.denied_job("program", &job(place, ["exec", "/usr/bin/unshare", "-m", "/bin/sh", "-c", script]));
        assert_eq!(event["op"], "exec", "{event}");
    }
}

fn scripts(ground: &Ground) {
    for place in &ground.places {
        let by_another = format!("#!{}\n", place.join("tools/script").display());
        let by_shell = "#!/bin/sh\nexec ./attempt read allowed/fine\n";
        for (script, text) in
            [("tools/script", by_shell), ("allowed/script", by_shell), ("allowed/by-another", &by_another)]
        {
            fs::write(place.join(script), text).expect("written");
            fs::set_permissions(place.join(script), fs::Permissions::from_mode(0o755)).expect("its own");
        }
        ground.denied("program", place, ["exec", "tools/script"]);
        // The script is its interpreter.
        ground.denied("program", place, ["exec", "allowed/by-another"]);
        assert_eq!(ground.allowed(place, ["exec", "allowed/script"]), FINE);
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
