//! What a program has open when it is executed.

use serde_json::Value;
use support::guard::Guarded;
use support::run::Job;
use support::stage::{FINE, SECRET, text};

use crate::Check;
use crate::ground::{Ground, job, shell};

pub const CHECKS: &[Check] = &[
    ("inherited: what may be read comes along, and is not told", allowed),
    ("inherited: what is denied ends the agent that has it", denied),
    ("inherited: nor is it left to what goes on from there", beyond_scope),
    ("inherited: nor to another program than may have it", beyond_program),
    ("inherited: what there is too much of is not known", too_many),
];

/// A job that the agent does with files open that a shell outside has opened by this.
fn with_open(job: &Job, redirections: &str) -> Job {
    let script = format!("ulimit -n 2048\n{redirections}\nexec \"$@\"");
    job.clone().under(["/bin/bash", "-c", &script, "bash"])
}

fn allowed(ground: &Ground) {
    for place in &ground.places {
        let cat = job(place, ["exec", "/bin/bash", "-c", "cat <&9"]);
        for open in ["exec 9<allowed/fine", "exec 9<>allowed/fine 300<allowed 301<denied", "exec 9<allowed/fine <&9"]
        {
            let Guarded { done, events } = ground.run(&with_open(&cat, open));
            assert_eq!((done.code(), done.out().as_str()), (0, FINE), "{open}: {}\n{events}", done.err());
            let told = |event: &&Value| event["open"]["inherited"] == true;
            assert_eq!(events.0.iter().filter(told).count(), 0, "{open}: {events}");
        }
        // A shell closes the script that it reads when it executes something.
        std::fs::write(place.join("denied/script"), "exec \"$@\"\n").expect("written");
        let job = job(place, ["read", "allowed/fine"]).under(["/bin/bash", "denied/script"]);
        let Guarded { done, events } = ground.run(&job);
        assert_eq!((done.out().as_str(), events.denials().count()), (FINE, 0), "{}\n{events}", done.err());
    }
}

fn denied(ground: &Ground) {
    for place in &ground.places {
        std::fs::create_dir(place.join("denied/folder")).expect("a folder");
        for (open, descriptor, file, op) in [
            ("exec 9<denied/secret", 9, "denied/secret", "read"),
            ("exec <denied/secret", 0, "denied/secret", "read"),
            ("exec 1000<denied/secret", 1000, "denied/secret", "read"),
            ("exec 64<allowed/fine 65<denied/secret", 65, "denied/secret", "read"),
            ("exec 9>>denied/secret", 9, "denied/secret", "write"),
            ("exec 9<denied/folder", 9, "denied/folder", "read"),
        ] {
            let event = ended(ground, "secrets", &with_open(&job(place, ["read", "allowed/fine"]), open));
            assert_eq!(event["path"], place.join(file).to_str().expect("a path of ASCII"), "{event}");
            assert_eq!((text(&event, "/op"), &event["open"]["result"]), (op, &descriptor.into()), "{event}");
            assert_eq!(event["process"]["exe"], place.join("agent").to_str().expect("a path of ASCII"), "{event}");
            assert_eq!(event["verdict"]["happened"], Value::Null, "{event}");
        }
    }
}

/// The agent may read it, a command of the model's may not.
fn beyond_scope(ground: &Ground) {
    for place in &ground.places {
        let script = |last: &str| format!("exec 9<tool/secret; exec env {last}");
        let mine = shell(place, &script("bash -c 'cat <&9'"));
        let Guarded { done, events } = ground.run(&mine);
        assert_eq!((done.out().as_str(), events.denials().count()), (SECRET, 0), "{}\n{events}", done.err());
        let event = ended(ground, "tool", &shell(place, &script("CODEX_TOOL_CALL_ID=call_5 bash -c 'cat <&9'")));
        assert_eq!((text(&event, "/scope"), text(&event, "/call")), ("tool", "call_5"), "{event}");
    }
}

/// One program may read it, others may not.
fn beyond_program(ground: &Ground) {
    for place in &ground.places {
        let reader = place.join("reader").display().to_string();
        let held = |next: &[&str]| {
            let words = ["exec", reader.as_str(), "hold", "by/secret", "exec"];
            job(place, words.iter().chain(next))
        };
        let again = ground.run(&held(&[&reader, "read", "/proc/self/fd/9"]));
        assert_eq!(again.done.out(), SECRET, "{}\n{}", again.done.err(), again.events);
        let event = ended(ground, "others", &held(&["/bin/cat", "/proc/self/fd/9"]));
        assert_eq!(text(&event, "/process/exe"), "/usr/bin/cat", "{event}");
    }
}

fn too_many(ground: &Ground) {
    let [disk, _] = &ground.places;
    let open = |last: u32| format!("for i in $(seq 10 {last}); do eval \"exec $i<allowed/fine\"; done");
    let read = job(disk, ["read", "allowed/fine"]);
    let Guarded { done, events } = ground.run(&with_open(&read, &open(1000)));
    assert_eq!((done.out().as_str(), events.denials().count()), (FINE, 0), "{}\n{events}", done.err());
    // What can't be judged is denied by the first rule that denies anything of the kind.
    let event = ended(ground, "kill", &with_open(&read, &open(1100)));
    assert!(event.get("path").is_none() && event["open"].get("result").is_none(), "{event}");
}

/// The one who is executed with what this rule denies is killed, on every kernel; the event.
fn ended(ground: &Ground, rule: &str, job: &Job) -> Value {
    let event = ground.contained_job(rule, job);
    assert_eq!(event["open"]["inherited"], true, "{event}");
    event
}
