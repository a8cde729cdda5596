//! All of a control group is guarded, whoever runs there.

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::group::Group;
use support::guard::{Daemon, Events, Guard, Guarded};
use support::run::Job;
use support::stage::{FINE, SECRET, Stage, text, until};

/// The stage's policy for `[scope]` with these groups.
fn policy(stage: &Stage, groups: &[String]) -> String {
    stage.policy(&format!("[scope]\ncgroup = {groups:?}\n"))
}

fn daemon(stage: &Stage, groups: &[String]) -> Daemon {
    Guard::new(stage.scratch(), &policy(stage, groups)).daemon()
}

/// An attempt in a group by a program that is no agent.
fn attempt(stage: &Stage, how: &str, folder: &Path, words: &[&str]) -> Job {
    stage.job(["group", how]).arg(folder).args(words)
}

/// Fails unless the denied file can't be read in the group, and the other can.
fn guarded(stage: &Stage, folder: &Path) {
    let denied = attempt(stage, "moved", folder, &["read", "denied/secret"]).run();
    assert_eq!((denied.code(), denied.out().as_str()), (137, ""), "{}", denied.err());
    let program = stage.attempt().display().to_string();
    let denied = attempt(stage, "made", folder, &["exec", &program, "read", "denied/secret"]).run();
    assert_eq!((denied.code(), denied.out().as_str()), (137, ""), "{}", denied.err());
    assert_eq!(attempt(stage, "moved", folder, &["read", "allowed/fine"]).run().out(), FINE);
}

/// Fails unless it can be read there.
fn unguarded(stage: &Stage, folder: &Path) {
    assert_eq!(attempt(stage, "moved", folder, &["read", "denied/secret"]).run().out(), SECRET);
}

fn starts(events: &Events) -> Vec<&Value> {
    events.op("session-start").collect()
}

#[test]
fn whoever_gets_there() {
    let stage = Stage::new("groups");
    let (group, other) = (Group::new(), Group::new());
    let daemon = daemon(&stage, &[group.path()]);
    guarded(&stage, group.folder());
    unguarded(&stage, other.folder());
    // One group further down is still in it, also if it was made just now.
    guarded(&stage, &group.make("job/step"));
    until("all sessions are over", || daemon.events().op("session-end").count() == 6);
    let Guarded { events, done } = daemon.stop();
    assert_eq!(starts(&events).len(), 6, "{events}");
    assert_eq!(events.rule("secrets").count(), 4, "{events}");
    let first = events.rule("secrets").next().expect("an event");
    let session = starts(&events)[0];
    assert_eq!((text(first, "/tree"), text(first, "/scope")), (text(session, "/tree"), "tool"), "{first}");
    assert_eq!((session["agent"].as_str(), text(session, "/repo")), (None, repo(&stage).as_str()), "{session}");
    assert_eq!(text(first, "/process/exe"), stage.attempt().display().to_string(), "{first}");
    let said = format!("guarding tester, the control group {} on this machine", group.path());
    assert!(done.err().contains(&said), "{}", done.err());
}

/// What is taken for the repository of what runs in the stage's folder.
fn repo(stage: &Stage) -> String {
    let is_top = |folder: &&Path| folder.join(".git").exists();
    stage.path().ancestors().find(is_top).unwrap_or(stage.path()).display().to_string()
}

#[test]
fn groups_that_come_and_go() {
    let stage = Stage::new("groups");
    let group = Group::named();
    // By a glob, as groups with numbers in their names are; and nothing is there yet.
    let _daemon = daemon(&stage, &[format!("{}*", group.path())]);
    for _ in 0..3 {
        group.make("");
        guarded(&stage, group.folder());
        group.remove();
    }
    guarded(&stage, &group.make("in/it"));
}

#[test]
fn who_is_there_already() {
    let stage = Stage::new("groups");
    let group = Group::new();
    let waits = |go: &str| attempt(&stage, "moved", group.folder(), &["after", go, "read", "denied/secret"]).start();
    let child = ["in", "fork", "after", "go", "read", "denied/secret"];
    let jobs = [waits("go"), attempt(&stage, "moved", group.folder(), &child).start()];
    let there = || fs::read_to_string(group.folder().join("cgroup.procs")).unwrap_or_default().lines().count();
    until("they are there", || there() == 3);
    let daemon = daemon(&stage, &[group.path()]);
    fs::write(stage.path().join("go"), "").expect("a file");
    for job in jobs {
        let done = job.wait();
        assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    }
    let Guarded { events, done } = daemon.stop();
    assert_eq!((starts(&events).len(), events.rule("secrets").count()), (2, 2), "{events}");
    assert!(done.err().contains("3 processes were running already"), "{}", done.err());
}

#[test]
fn a_policy_that_names_others() {
    let stage = Stage::new("groups");
    let (first, second) = (Group::new(), Group::new());
    let file = stage.scratch().write("policy.toml", policy(&stage, &[first.path()]));
    let daemon = Guard::of(stage.scratch(), file.clone()).daemon();
    let waits = attempt(&stage, "moved", second.folder(), &["after", "go", "read", "denied/secret"]).start();
    unguarded(&stage, second.folder());
    let reloads = |text: String| {
        let before = daemon.stderr().matches("read anew").count();
        fs::write(&file, text).expect("written");
        until("it is read", || daemon.stderr().matches("read anew").count() > before);
    };
    reloads(policy(&stage, &[second.path()]));
    guarded(&stage, second.folder());
    unguarded(&stage, first.folder());
    // Who was there when the policy came is guarded as well.
    fs::write(stage.path().join("go"), "").expect("a file");
    assert_eq!(waits.wait().code(), 137);
    reloads(stage.policy(""));
    unguarded(&stage, second.folder());
}

#[test]
fn an_agent_among_them_is_an_agent() {
    let stage = Stage::new("groups");
    let group = Group::new();
    let rule = "\n[[rule]]\nname = \"tools\"\non = [\"read\"]\npath = [\"{stage}/allowed/**\"]\nscope = \"tool\"\naction = \"deny\"\n";
    let more = format!("[scope]\ncgroup = [{:?}]\n{rule}", group.path());
    let daemon = stage.guard(&more).daemon();
    let agent = stage.agent().display().to_string();
    let done = attempt(&stage, "moved", group.folder(), &["exec", &agent, "read", "allowed/fine"]).run();
    assert_eq!(done.out(), FINE, "{}", done.err());
    let done = attempt(&stage, "moved", group.folder(), &["read", "allowed/fine"]).run();
    assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    let events = daemon.stop().events;
    let exec = events.op("exec").find(|event| text(event, "/path") == agent).expect("an exec");
    assert_eq!((text(exec, "/agent"), text(exec, "/scope")), ("tester", "harness"), "{exec}");
}

/// A session goes on as long as anybody of it is in the group: services fork, and their first process goes.
#[test]
fn a_session_lasts_until_all_have_left() {
    let stage = Stage::new("groups");
    let group = Group::new();
    let daemon = daemon(&stage, &[group.path()]);
    let script = "echo $$ > $group/cgroup.procs; (while ! test -e go; do sleep 0.01; done; ./attempt read denied/secret; true) &";
    let done = stage.script(script).env("group", group.folder()).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(daemon.events().op("session-end").count(), 0, "{}", daemon.events());
    fs::write(stage.path().join("go"), "").expect("a file");
    drop(daemon.wait_for("its end", |event| event["op"] == "session-end"));
    let events = daemon.stop().events;
    assert_eq!((starts(&events).len(), events.rule("secrets").count()), (1, 1), "{events}");
}

/// In a cgroup namespace of its own guard sees other paths than those that policies name.
#[test]
fn who_sees_a_part_only_does_not_start() {
    let stage = Stage::new("groups");
    let group = Group::new();
    let root = group.folder().parent().expect("the hierarchy");
    let inside = "umount -l $root && mount -t cgroup2 none $root && $guard doctor --json && exec $guard daemon --no-pins --policy $policy --socket $stage/socket";
    let script = format!("echo $$ > $group/cgroup.procs; exec unshare -C -m sh -c '{inside}'");
    let file = stage.scratch().write("policy.toml", policy(&stage, &[group.path()]));
    let job = stage.script(&script).env("root", root).env("group", group.folder());
    let done = job.env("guard", support::guard::binary()).env("policy", file).run();
    let why = "shows a part of the machine's control groups only";
    assert!(done.code() != 0 && done.err().contains(why), "{}: {}", done.code(), done.err());
    let report: Value = serde_json::from_str(&done.out()).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "control groups").expect("a check");
    assert_eq!(check["state"], "less", "{check}");
    assert!(text(check, "/found").contains(why), "{check}");
}

#[test]
fn what_no_policy_may_say() {
    let stage = Stage::new("groups");
    for (group, why) in [
        ("/**", "every process on the machine would be guarded"),
        ("{repo}/x", "control groups lie in no session's folders"),
        ("/ci.slice/", "a path never ends in `/`"),
    ] {
        let file = stage.scratch().write("policy.toml", policy(&stage, &[group.to_owned()]));
        let done = Job::new(support::guard::binary(), stage.path()).args(["policy", "check"]).arg(file).run();
        assert!(done.code() != 0 && done.out().contains(why), "{group}: {} {}", done.code(), done.out());
    }
}
