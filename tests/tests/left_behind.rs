//! What a session leaves behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::guard::Guarded;
use support::run::Job;
use support::stage::{SECRET, Stage, text, until};

const RULE: &str = r#"
    [[rule]]
    name = "left-behind"
    on = ["outlive"]
    action = "kill"
    reason = "Nothing stays when a session ends."
"#;

/// Leaves a process of its own session behind, whose id is in the file `left`. It would go by itself after a while.
const LEAVES: &str = "setsid sh -c 'echo $$ > left; exec sleep 30' < /dev/null > /dev/null 2>&1 &
    while ! test -s left; do sleep 0.01; done; echo done";

fn left(stage: &Stage) -> String {
    fs::read_to_string(stage.path().join("left")).expect("its id").trim().to_owned()
}

fn alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Ends what the test has left behind itself.
struct End(String);

impl Drop for End {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.parse().unwrap_or_default());
        // Only if it still is that process: sleep, and no other.
        if fs::read_to_string(format!("/proc/{}/comm", self.0)).is_ok_and(|name| name.trim() == "sleep") {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
        }
    }
}

fn outlived(events: &support::guard::Events) -> &Value {
    let all: Vec<&Value> = events.op("outlive").collect();
    assert_eq!(all.len(), 1, "{events}");
    all[0]
}

#[test]
fn is_ended_where_the_policy_says_so() {
    let stage = Stage::new("left");
    let Guarded { done, events } = stage.guard(RULE).run(&stage.script(LEAVES));
    let pid = left(&stage);
    let _end = End(pid.clone());
    assert_eq!((done.code(), done.out().as_str()), (0, "done\n"), "{}", done.err());
    until("it was ended", || !alive(&pid));
    let event = outlived(&events);
    assert_eq!(event["process"]["pid"].to_string(), pid, "{event}");
    assert!(text(event, "/process/exe").ends_with("/sleep"), "{event}");
    assert_eq!(event["process"]["argv"], serde_json::json!(["sleep", "30"]), "{event}");
    assert_eq!((text(event, "/verdict/action"), text(event, "/verdict/rule")), ("kill", "left-behind"), "{event}");
    assert_eq!((text(event, "/verdict/backend"), &event["verdict"]["enforced"]), ("signal", &true.into()), "{event}");
    assert_eq!(text(event, "/verdict/reason"), "Nothing stays when a session ends.");
    assert!(done.err().contains("left-behind"), "{}", done.err());
    // In that order: its end, what was left, and no more after that.
    let end = events.0.iter().position(|event| event["op"] == "session-end").expect("an end");
    let out = events.0.iter().position(|event| event["op"] == "outlive").expect("found above");
    assert!(out < end);
}

#[test]
fn is_only_told_in_audit() {
    let stage = Stage::new("left");
    let Guarded { done, events } = stage.guard(RULE).audit().run(&stage.script(LEAVES));
    let pid = left(&stage);
    let _end = End(pid.clone());
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(alive(&pid), "{events}");
    let event = outlived(&events);
    assert_eq!((text(event, "/verdict/action"), &event["verdict"]["enforced"]), ("kill", &false.into()), "{event}");
}

#[test]
fn stays_where_the_policy_says_nothing() {
    let stage = Stage::new("left");
    let Guarded { done, events } = stage.guard("").run(&stage.script(LEAVES));
    let pid = left(&stage);
    let _end = End(pid.clone());
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(alive(&pid), "{events}");
    assert_eq!(text(outlived(&events), "/verdict/action"), "allow");
}

/// What ends by itself soon after its session is no reason for a word.
#[test]
fn is_not_what_is_about_to_end() {
    let stage = Stage::new("left");
    let Guarded { done, events } = stage.guard(RULE).run(&stage.script("sleep 0.1 & exit 0"));
    assert_eq!(done.code(), 0, "{}", done.err());
    assert_eq!(events.op("outlive").count(), 0, "{events}");
}

/// With the daemon, what may stay is guarded on.
#[test]
fn is_still_guarded_by_the_daemon() {
    let stage = Stage::new("left");
    let agent = stage.agent();
    let daemon = stage.guard("").daemon();
    let script = "setsid ./attempt after go read denied/secret > out 2>&1 < /dev/null & echo started";
    let job = Job::new(&agent, stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", script]);
    assert_eq!(job.run().succeeded().out(), "started\n");
    let events = daemon.wait_for("the session's end", |event| event["op"] == "session-end");
    assert_eq!(text(outlived(&events), "/verdict/action"), "allow", "{events}");
    std::thread::sleep(Duration::from_millis(300));
    fs::write(stage.path().join("go"), "").expect("written");
    let events = daemon.wait_for("the denial", |event| event["verdict"]["rule"] == "secrets");
    assert_eq!(events.rule("secrets").next().map(|event| &event["verdict"]["enforced"]), Some(&true.into()));
    assert_eq!(fs::read_to_string(stage.path().join("out")).expect("a file"), "");
    let Guarded { done, .. } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    assert_eq!(stage.job(["read", "denied/secret"]).run().out(), SECRET);
}
