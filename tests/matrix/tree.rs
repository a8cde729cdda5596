//! Who belongs to a tree, and what becomes of calls.

use std::fs;
use std::time::Duration;

use serde_json::json;
use support::guard::Guarded;
use support::run::Job;
use support::stage::{SECRET, text};

use crate::Check;
use crate::ground::{Ground, tool};

pub const CHECKS: &[Check] = &[
    ("tree: every descendant belongs to it, however it came to be", descendants),
    ("tree: and through execs", through_execs),
    ("tree: nobody else does", nobody_else),
    ("tree: a command of the model's is known by its label", labels),
    ("tree: kill ends the whole call", kill),
    ("tree: what is left behind is ended", left_behind),
];

fn descendants(ground: &Ground) {
    let [disk, _] = &ground.places;
    for way in ["fork", "vfork", "clone3", "sibling", "setsid", "thread", "orphan", "daemon", "pidns"] {
        ground.denied("secrets", disk, ["in", way, "read", "denied/secret"]);
    }
    ground.denied("secrets", disk, ["in", "thread", "in", "fork", "in", "daemon", "read", "denied/secret"]);
}

fn through_execs(ground: &Ground) {
    for place in &ground.places {
        let program = place.join("attempt").display().to_string();
        for call in ["execve", "thread"] {
            ground.denied("secrets", place, ["exec", "--by", call, &program, "read", "denied/secret"]);
        }
        ground.denied("secrets", place, ["exec", "/usr/bin/env", "-i", &program, "read", "denied/secret"]);
    }
}

fn nobody_else(ground: &Ground) {
    for place in &ground.places {
        let read = Job::new(place.join("attempt"), place).args(["read", "denied/secret"]).run();
        assert_eq!(read.succeeded().out(), SECRET);
    }
}

fn labels(ground: &Ground) {
    for place in &ground.places {
        assert_eq!(ground.allowed(place, ["read", "tool/secret"]), SECRET, "the agent itself may");
        let script = "CODEX_TOOL_CALL_ID=forged ./attempt in daemon read tool/secret; env -i ./attempt read tool/secret; exit 3";
        let Guarded { done, events } = ground.run(&tool(place, "call_7", script));
        assert_eq!((done.code(), done.out().as_str()), (3, ""), "{}\n{events}", done.err());
        let denials: Vec<_> = events.denials().collect();
        assert_eq!(denials.len(), 2, "{events}");
        for event in denials {
            assert_eq!((text(event, "/scope"), text(event, "/call")), ("tool", "call_7"), "{event}");
        }
    }
}

/// A background process that would live on, the fatal read, and more.
fn kill(ground: &Ground) {
    let script = "sh -c 'echo $$ > background; exec sleep 60' & while ! test -s background; do :; done
        ./attempt read fatal/secret | cat; touch went-on";
    for place in &ground.places {
        let Guarded { done, events } = ground.run(&tool(place, "call_8", script));
        assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}\n{events}", done.err());
        let event = events.rule("kill").next().unwrap_or_else(|| panic!("nothing told\n{events}"));
        assert_eq!(event["verdict"]["action"], "kill", "{event}");
        let background = fs::read_to_string(place.join("background")).expect("its id");
        let end = ground.told("the end of what ran in the background", |event| {
            event["op"] == "exit" && event["process"]["pid"].as_u64() == background.trim().parse().ok()
        });
        assert_eq!(end["exit"], json!({ "signal": 9 }), "{end}");
        assert!(!place.join("went-on").exists(), "the script went on");
    }
}

fn left_behind(ground: &Ground) {
    let [disk, _] = &ground.places;
    let script = "setsid sleep 61 < /dev/null > /dev/null 2>&1 & while ! test -d /proc/$!; do :; done; sleep 0.5";
    let Guarded { done, events } = ground.run(&tool(disk, "call_9", script).limit(Duration::from_mins(1)));
    assert_eq!(done.code(), 0, "{}\n{events}", done.err());
    // What the check before has killed may have been long in dying.
    let event = ground.told("what was left behind", |event| event["op"] == "outlive" && event["call"] == "call_9");
    assert_eq!(event["process"]["argv"], json!(["sleep", "61"]), "{event}");
    assert_eq!((text(&event, "/verdict/action"), text(&event, "/verdict/rule")), ("kill", "left-behind"), "{event}");
    let pid = &event["process"]["pid"];
    ground.told("its end", |event| event["op"] == "exit" && event["process"]["pid"] == *pid);
}
