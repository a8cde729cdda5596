//! `guard daemon`: every agent that the policy names, those that run already among them, until it is told to stop.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::guard::{Daemon, Guarded};
use support::run::Job;
use support::stage::{FINE, SECRET, Stage, text, until};

/// The agent, not started by guard.
fn agent(stage: &Stage, words: &[&str]) -> Job {
    Job::new(stage.agent(), stage.path()).args(words)
}

/// The daemon has said something new.
fn says(daemon: &Daemon, what: &str) {
    until(what, || daemon.stderr().contains(what));
}

#[test]
fn agents_are_known_by_their_executable() {
    let stage = Stage::new("daemon");
    let agent_path = stage.agent().display().to_string();
    let daemon = stage.guard("").daemon();
    assert!(daemon.stderr().contains("tester"), "{}", daemon.stderr());
    for job in [
        agent(&stage, &["read", "denied/secret"]),
        agent(&stage, &["in", "daemon", "read", "denied/secret"]),
        // Whatever it is called by, and whoever becomes it.
        stage.job(["exec", "--by", "fexecve", &agent_path, "read", "denied/secret"]),
        Job::new("bash", stage.path()).args(["-c", "exec -a cat ./agent read denied/secret"]),
    ] {
        let done = job.run();
        assert_eq!((done.code(), done.out().as_str()), (137, ""), "{:?}: {}", job.argv(), done.err());
    }
    let fine = agent(&stage, &["read", "allowed/fine"]).run();
    assert_eq!((fine.code(), fine.out().as_str()), (0, FINE));
    // The same program by another path is no agent, and nobody else is touched.
    assert_eq!(stage.job(["read", "denied/secret"]).run().out(), SECRET);
    assert_eq!(fs::read_to_string(stage.secret()).expect("readable"), SECRET);

    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    events.none_lost();
    let denials: Vec<&Value> = events.denials().collect();
    assert_eq!(denials.len(), 4, "{events}");
    assert!(
        denials.iter().all(|event| event["agent"] == "tester" && event["verdict"]["enforced"] == true),
        "{events}"
    );
    let starts: Vec<&Value> = events.op("session-start").collect();
    assert_eq!((starts.len(), events.op("session-end").count()), (5, 5), "{events}");
    assert!(starts.iter().all(|event| event["agent"] == "tester" && event["path"] == agent_path), "{events}");
}

/// Two sessions at once are two trees.
#[test]
fn sessions_are_told_apart() {
    let stage = Stage::new("daemon");
    let agent = stage.agent().display().to_string();
    let daemon = stage.guard("").daemon();
    let both = format!("{agent} in fork sleep 300 & {agent} in fork sleep 300; wait");
    assert_eq!(stage.script(&both).run().code(), 0);
    let Guarded { events, .. } = daemon.stop();
    let trees: std::collections::HashSet<&str> =
        events.op("session-start").map(|event| text(event, "/tree")).collect();
    assert_eq!(trees.len(), 2, "{events}");
    for tree in trees {
        let of_tree = |op: &'static str| events.op(op).filter(|event| event["tree"] == tree).count();
        assert_eq!((of_tree("exit"), of_tree("session-end")), (2, 1), "{events}");
    }
}

/// An agent that runs already is entered with all that descends from it, the labels of its calls included.
#[test]
fn agents_that_run_already_are_entered() {
    let stage = Stage::new("daemon");
    let path = stage.agent().display().to_string();
    let call = format!(
        "{path} in fork exec /usr/bin/env CODEX_TOOL_CALL_ID=call_9 CODEX_SESSION_ID=session-9 \
         {0} in setsid in fork after go read denied/secret",
        stage.attempt().display()
    );
    // The agent itself, a child of its own, and a labelled command two processes deep; all wait for the same file.
    let jobs = [
        agent(&stage, &["after", "go", "read", "denied/secret"]),
        agent(&stage, &["in", "fork", "after", "go", "read", "denied/secret"]),
        stage.script(&format!("exec {call}")),
    ];
    let running: Vec<_> = jobs.iter().map(Job::start).collect();
    let outside = stage.job(["after", "go", "read", "denied/secret"]).start();
    // All of them are there before the daemon is: eight processes, the outsider not counted.
    let descends = |pid: u32| -> usize {
        let mut found = vec![pid];
        let mut at = 0;
        while let Some(pid) = found.get(at) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        found.len()
    };
    until("all processes wait", || running.iter().map(|job| descends(job.pid())).sum::<usize>() == 1 + 2 + 4);
    let daemon = stage.guard("").daemon();
    fs::write(stage.path().join("go"), "").expect("written");
    assert_eq!(outside.wait().out(), SECRET, "nobody else is entered");
    for job in running {
        let done = job.wait();
        assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    }
    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(done.err().contains("7 processes were running already"), "{}", done.err());
    assert_eq!((events.op("session-start").count(), events.op("session-end").count()), (3, 3), "{events}");
    let mut labels: Vec<_> = events
        .denials()
        .map(|event| (text(event, "/scope"), text(event, "/call"), text(event, "/session"), text(event, "/agent")))
        .collect();
    labels.sort_unstable();
    let harness = ("harness", "", "", "tester");
    assert_eq!(labels, [harness, harness, ("tool", "call_9", "session-9", "tester")], "{events}");
}

/// SIGHUP puts another policy in force; a bad one changes nothing and is reported.
#[test]
fn a_policy_is_reloaded_whole_or_not_at_all() {
    let stage = Stage::new("daemon");
    let policy = stage.scratch().write("policy.toml", stage.policy(""));
    let daemon = support::guard::Guard::of(stage.scratch(), policy.clone()).daemon();
    let read = |file: &str| agent(&stage, &["read", file]).run().out();
    assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), ("", FINE));

    let swapped = stage.policy("").replace("/denied/**", "/allowed/**").replace("\"secrets\"", "\"swapped\"");
    fs::write(&policy, swapped).expect("written");
    daemon.signal(Signal::SIGHUP);
    says(&daemon, "read anew");
    assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), (SECRET, ""));

    for (bad, why) in [
        ("version = 1\n[[rule]]\nname = \"x\"\nnonsense = true\n", "nonsense"),
        (
            "version = 1\n[[rule]]\nname = \"y\"\non = [\"read\"]\npath = [\"/[\"]\naction = \"deny\"\n",
            "policy.toml:5:",
        ),
        ("not toml at all", "policy.toml:1:"),
    ] {
        fs::write(&policy, bad).expect("written");
        daemon.signal(Signal::SIGHUP);
        says(&daemon, why);
        assert_eq!((read("denied/secret").as_str(), read("allowed/fine").as_str()), (SECRET, ""), "{bad}");
    }
    fs::remove_file(&policy).expect("removed");
    daemon.signal(Signal::SIGHUP);
    says(&daemon, "No such file");
    assert_eq!(daemon.stderr().matches("stays").count(), 4, "{}", daemon.stderr());
    assert_eq!(read("allowed/fine"), "");

    // Each denial goes by the name of the rule that was in force.
    let Guarded { events, .. } = daemon.stop();
    assert_eq!(events.rule("secrets").count(), 1, "{events}");
    assert_eq!(events.rule("swapped").count(), 5, "{events}");
}

/// While a policy is replaced again and again by one that also denies, no attempt gets through in between.
#[test]
fn no_gap_opens_while_policies_are_replaced() {
    let stage = Stage::new("daemon");
    let policy = stage.scratch().write("policy.toml", stage.policy(""));
    let guard = support::guard::Guard::of(stage.scratch(), policy.clone());
    // Room for all that is told of so many processes, however long the daemon has to wait for its turn.
    let daemon = guard.flag("--verdict-ring").flag((16 << 20).to_string()).daemon();
    let attempts = agent(&stage, &["each", "--threads", "2", "1500", "read", "denied/secret"]).start();
    let other = stage.policy("").replace("\"secrets\"", "\"other\"");
    for number in 0..20 {
        // Written beside and moved, as who is careful does: never half a policy.
        let text = if number % 2 == 0 { &other } else { &stage.policy("") };
        let new = stage.scratch().write("new.toml", text);
        fs::rename(new, &policy).expect("renamed");
        daemon.signal(Signal::SIGHUP);
        until("it is read", || daemon.stderr().matches("read anew").count() > number);
    }
    let done = attempts.wait();
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    assert!(done.err().contains(r#"{"done":0,"refused":0,"killed":3000,"else":0}"#), "{}", done.err());
    let Guarded { events, .. } = daemon.stop();
    let (one, two) = (events.rule("secrets").count(), events.rule("other").count());
    assert_eq!(one + two, 3000);
    assert!(one > 0 && two > 0, "{one} by one, {two} by the other");
}

#[test]
fn it_ends_when_asked_and_lets_go() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let stage = Stage::new("daemon");
        let daemon = stage.guard("").daemon();
        let waiting = agent(&stage, &["after", "go", "read", "denied/secret"]).start();
        let _events = daemon.wait_for("the agent", |event| event["op"] == "session-start");
        assert_eq!(agent(&stage, &["read", "denied/secret"]).run().code(), 137);
        daemon.signal(signal);
        let began = Instant::now();
        let Guarded { done, .. } = daemon.stop();
        assert_eq!(done.code(), 0, "{signal}: {}", done.err());
        assert!(began.elapsed() < Duration::from_secs(5), "{signal}");
        // Nobody guards any more, neither new agents nor those of before.
        assert_eq!(agent(&stage, &["read", "denied/secret"]).run().out(), SECRET, "{signal}");
        fs::write(stage.path().join("go"), "").expect("written");
        assert_eq!(waiting.wait().out(), SECRET, "{signal}");
    }
}

/// Nothing to guard is a mistake, and said.
#[test]
fn a_policy_without_agents_is_refused() {
    let stage = Stage::new("daemon");
    let policy = stage.scratch().write("none.toml", "version = 1\n");
    let done = Job::new(support::guard::binary(), stage.path()).arg("daemon").arg("--policy").arg(policy).run();
    assert_eq!(done.code(), 125, "{}", done.err());
    assert!(done.err().contains("[agent.codex]"), "{}", done.err());
}

#[test]
fn audit_carries_nothing_out() {
    let stage = Stage::new("daemon");
    let daemon = stage.guard("").audit().daemon();
    assert!(daemon.stderr().contains("mode audit"), "{}", daemon.stderr());
    assert_eq!(agent(&stage, &["read", "denied/secret"]).run().out(), SECRET);
    let Guarded { done, events } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    let event = events.rule("secrets").next().expect("a verdict");
    assert_eq!((text(event, "/verdict/action"), &event["verdict"]["enforced"]), ("deny", &false.into()), "{event}");
}
