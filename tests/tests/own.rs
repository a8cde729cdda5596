//! What guard denies whatever its policy says: changes of its policy, its records, its own program.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use support::guard::{Daemon, Guard, binary};
use support::run::Job;
use support::stage::{Stage, until};

/// Allows everything, in so many words.
const ALL: &str = r#"
    [[rule]]
    name = "all"
    on = ["write", "create", "delete"]
    path = ["/**"]
    action = "allow"
"#;

/// The agent tries to append to a file: that is refused, and told as this rule's doing.
fn refused(stage: &Stage, daemon: &Daemon, file: &Path) {
    let before = fs::read(file).expect("a file");
    let count = |daemon: &Daemon| {
        let of_file = |event: &&serde_json::Value| event["path"] == file.to_str().expect("a path of ASCII");
        daemon.events().rule("self").filter(of_file).count()
    };
    let told = count(daemon);
    let done = Job::new(stage.agent(), stage.path()).args(["write"]).arg(file).arg("more").run();
    assert_ne!(done.code(), 0, "{}", file.display());
    until("it is told", || count(daemon) == told + 1);
    // The events' file has grown by that very event.
    assert!(fs::read(file).expect("a file").starts_with(&before), "{}", file.display());
    assert!(!fs::read(file).expect("a file").ends_with(b"more"), "{}", file.display());
}

#[test]
fn no_session_changes_what_it_is_guarded_by() {
    let stage = Stage::new("own");
    let policy = stage.scratch().write("policy.toml", stage.policy(ALL));
    let link = stage.path().join("link.toml");
    std::os::unix::fs::symlink(&policy, &link).expect("a link");
    let guard = Guard::of(stage.scratch(), link);
    let daemon = guard.daemon();
    refused(&stage, &daemon, &policy);
    refused(&stage, &daemon, daemon.events_file());
    // The kernel itself lets nobody write to what runs.
    let program = binary().canonicalize().expect("a path");
    let before = fs::metadata(&program).expect("a file").modified().expect("a time");
    let done = Job::new(stage.agent(), stage.path()).args(["write"]).arg(&program).arg("more").run();
    assert_ne!(done.code(), 0);
    assert_eq!(fs::metadata(&program).expect("a file").modified().expect("a time"), before);
    let weight = format!("/proc/{}/oom_score_adj", daemon.pid());
    let before = fs::read(&weight).expect("a file");
    let done = Job::new(stage.agent(), stage.path()).args(["write", &weight, "1000"]).run();
    assert_ne!(done.code(), 0);
    assert_eq!(fs::read(&weight).expect("a file"), before);

    // A policy that is read anew changes nothing about it.
    fs::write(&policy, stage.policy(&ALL.replace("\"all\"", "\"everything\""))).expect("written");
    daemon.signal(Signal::SIGHUP);
    until("it is read", || daemon.stderr().contains("read anew"));
    refused(&stage, &daemon, &policy);
    let done = Job::new(stage.agent(), stage.path()).args(["write", "allowed/fine", "more"]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
}

/// Nothing is carried out in audit mode, this neither; it is told.
#[test]
fn audit_tells_of_it() {
    let stage = Stage::new("own");
    let policy = stage.scratch().write("policy.toml", stage.policy(ALL));
    let daemon = Guard::of(stage.scratch(), policy.clone()).audit().daemon();
    let done = Job::new(stage.agent(), stage.path()).args(["write"]).arg(&policy).arg("\n").run();
    assert_eq!(done.code(), 0, "{}", done.err());
    let events = daemon.wait_for("it", |event| event["verdict"]["rule"] == "self");
    let event = events.rule("self").next().expect("an event");
    assert_eq!(
        (&event["verdict"]["action"], &event["verdict"]["enforced"]),
        (&"deny".into(), &false.into()),
        "{event}"
    );
}
