//! Who belongs to a tree: every descendant, however it came to be, and nobody else.

use std::fs;

use serde_json::Value;
use support::guard::Guarded;
use support::run::Job;
use support::stage::{FINE, SECRET, Stage, text, until};

/// The denied file is read by a descendant that came to be in this way: exactly that one is killed.
fn followed(stage: &Stage, job: &Job) -> Value {
    assert_eq!(job.run().out(), SECRET, "it works without guard: {:?}", job.argv());
    let Guarded { done, events } = stage.guard("").run(job);
    assert_eq!((done.code(), done.out().as_str()), (137, ""), "{:?}: {}", job.argv(), done.err());
    events.none_lost();
    let denials: Vec<&Value> = events.denials().collect();
    assert_eq!(denials.len(), 1, "{:?}: {events}", job.argv());
    denials[0].clone()
}

/// `attempt` in processes and threads made by these, outermost first.
fn nested(stage: &Stage, ways: &[&str]) -> Value {
    let words = ways.iter().flat_map(|way| ["in", way]).chain(["read", "denied/secret"]);
    followed(stage, &stage.job(words))
}

#[test]
fn by_each_way_of_making_a_process() {
    let stage = Stage::new("tree");
    for way in ["fork", "vfork", "clone3", "sibling", "setsid", "thread"] {
        nested(&stage, &[way]);
    }
}

#[test]
fn by_a_thread_that_is_not_the_first() {
    let stage = Stage::new("tree");
    for way in ["fork", "vfork", "clone3", "daemon"] {
        nested(&stage, &["thread", way]);
    }
    nested(&stage, &["fork", "thread", "fork", "thread"]);
}

/// The parent is gone before the attempt is made: nobody's child any more, still the tree's.
#[test]
fn by_a_process_that_init_has_adopted() {
    let stage = Stage::new("tree");
    for way in ["orphan", "daemon"] {
        let event = nested(&stage, &[way]);
        let parent = event["process"]["ppid"].as_u64().expect("a parent");
        let denied = event["process"]["pid"].as_u64().expect("a process");
        assert!(parent != denied && parent > 0, "{event}");
    }
    nested(&stage, &["daemon", "daemon", "setsid"]);
}

/// In a pid namespace the process has a small number of its own; what is told is the host's.
#[test]
fn in_a_pid_namespace() {
    let stage = Stage::new("tree");
    // unshare itself ends in one way or another when its child is killed.
    let unshare = "unshare --pid --fork --mount-proc ./attempt read denied/secret || exit 137";
    for event in
        [nested(&stage, &["pidns"]), nested(&stage, &["pidns", "fork"]), followed(&stage, &stage.script(unshare))]
    {
        for number in ["/process/pid", "/process/ppid"] {
            assert!(event.pointer(number).and_then(Value::as_u64).is_some_and(|pid| pid > 50), "{event}");
        }
    }
}

#[test]
fn through_execs() {
    let stage = Stage::new("tree");
    for by in ["execve", "execveat", "fexecve", "proc-fd", "memfd", "thread"] {
        let attempt = stage.attempt().display().to_string();
        followed(&stage, &stage.job(["exec", "--by", by, &attempt, "read", "denied/secret"]));
    }
    followed(&stage, &stage.job(["read", "denied/secret"]).under(["env", "-i"]));
    followed(&stage, &stage.job(["read", "denied/secret"]).under(["setsid", "--wait", "nice", "env", "-i"]));
}

/// A thread that executes a program takes the process over: the tree knows it by the same number.
#[test]
fn an_exec_by_a_second_thread_keeps_the_process() {
    let stage = Stage::new("tree");
    let attempt = stage.attempt().display().to_string();
    let job = stage.job(["exec", "--by", "thread", &attempt, "read", "allowed/fine"]);
    let Guarded { done, events } = stage.guard("").run(&job);
    assert_eq!(done.out(), FINE, "{}", done.err());
    let processes: Vec<&Value> = events.op("exec").map(|event| &event["process"]["pid"]).collect();
    assert_eq!(processes.len(), 2, "{events}");
    assert_eq!(processes[0], processes[1]);
    assert_eq!(events.op("exit").count(), 1, "the process ends once: {events}");
}

/// Each process's end is told, with its code or its signal.
#[test]
fn ends_are_told() {
    let stage = Stage::new("tree");
    let Guarded { done, events } = stage.guard("").run(&stage.script("(exit 3); sh -c 'kill -TERM $$'; exit 5"));
    assert_eq!(done.code(), 5, "{}", done.err());
    let mut ends: Vec<_> = events.op("exit").map(|event| event["exit"].to_string()).collect();
    ends.sort();
    assert_eq!(ends, [r#"{"code":3}"#, r#"{"code":5}"#, r#"{"signal":15}"#]);
}

/// Somebody else on the machine reads the very same file while a guarded process is killed for it.
#[test]
fn nobody_else_is_touched() {
    let stage = Stage::new("tree");
    let read = stage.job(["each", "--threads", "2", "200", "read", "denied/secret"]);
    let outside = read.start();
    let Guarded { done, events } = stage.guard("").run(&read);
    let outside = outside.wait();
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    assert!(done.err().contains(r#"{"done":0,"refused":0,"killed":400,"else":0}"#), "{}", done.err());
    assert_eq!(events.denials().count(), 400);
    assert_eq!(outside.out(), SECRET.repeat(400), "{}", outside.err());
    assert!(outside.err().contains(r#""done":400"#), "{}", outside.err());
}

/// A process outside that was there first, and is there afterwards, through the whole run.
#[test]
fn a_process_from_before_is_not_in_the_tree() {
    let stage = Stage::new("tree");
    let (go, done) = (stage.path().join("go"), stage.path().join("done"));
    let outside = stage.job(["after".as_ref(), go.as_os_str(), "read".as_ref(), "denied/secret".as_ref()]).start();
    // The tree lives until the other has read.
    let script = "touch go; while ! test -e done; do sleep 0.01; done";
    let guarded = std::thread::scope(|scope| {
        let guarded = scope.spawn(|| stage.guard("").run(&stage.script(script)));
        let outside = outside.wait();
        assert_eq!(outside.out(), SECRET, "{}", outside.err());
        fs::write(&done, "").expect("written");
        guarded.join().expect("guard ran")
    });
    assert_eq!(guarded.done.code(), 0, "{}", guarded.done.err());
    assert_eq!(guarded.events.denials().count(), 0, "{}", guarded.events);
}

/// A command that the agent starts with its labels: it forks, and the child becomes the command by way of `env`.
fn labelled(stage: &Stage, call: &str, script: &str) -> Job {
    let labels = [format!("CODEX_TOOL_CALL_ID={call}"), "CODEX_SESSION_ID=session-1".to_owned()];
    let agent = Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/usr/bin/env"]);
    agent.args(labels).args(["/bin/sh", "-c", script]).env("stage", stage.path())
}

fn labels(event: &Value) -> (&str, &str, &str, &str) {
    (text(event, "/agent"), text(event, "/scope"), text(event, "/session"), text(event, "/call"))
}

/// The labels are taken at the first exec that has them, inherited below, and neither lost nor changed there.
#[test]
fn a_command_of_the_agents_is_known_by_its_call() {
    let stage = Stage::new("tree");
    let script = r#"
        ./attempt read denied/secret
        env -i "$stage/attempt" read denied/secret
        CODEX_TOOL_CALL_ID=call_forged CODEX_SESSION_ID=forged ./attempt in daemon read denied/secret
        env -u CODEX_TOOL_CALL_ID setsid --wait ./attempt in thread in fork read denied/secret
        # Being the agent's executable makes no agent of a command.
        CODEX_TOOL_CALL_ID=call_forged ./agent in fork read denied/secret
        CODEX_TOOL_CALL_ID=call_forged ./agent in fork exec /usr/bin/env CODEX_TOOL_CALL_ID=x ./attempt read denied/secret
        true
    "#;
    let Guarded { done, events } = stage.guard("").run(&labelled(&stage, "call_7", script));
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    let denials: Vec<&Value> = events.denials().collect();
    assert_eq!(denials.len(), 6, "{events}");
    for event in denials {
        assert_eq!(labels(event), ("tester", "tool", "session-1", "call_7"), "{event}");
    }
    // What came before the labels was the agent's own work.
    let (tool, harness): (Vec<&Value>, Vec<&Value>) = events.op("exec").partition(|event| event["scope"] == "tool");
    assert!(harness.len() == 2, "the agent and env: {harness:#?}");
    assert!(harness.iter().all(|event| event.get("call").is_none()), "{harness:#?}");
    assert!(tool.len() >= 7 && tool.iter().all(|event| event["call"] == "call_7"), "{tool:#?}");
}

/// Two commands of one agent: two calls.
#[test]
fn calls_are_told_apart() {
    let stage = Stage::new("tree");
    let agent = stage.agent().display().to_string();
    let one = |call: &str| {
        format!("{agent} in fork exec /usr/bin/env CODEX_TOOL_CALL_ID={call} ./attempt read denied/secret")
    };
    let script = format!("{}; {}; ./attempt read denied/secret", one("call_1"), one("call_2"));
    let Guarded { events, .. } = stage.guard("").run(&stage.script(&script));
    let calls: Vec<_> = events.denials().map(|event| (text(event, "/scope"), text(event, "/call"))).collect();
    assert_eq!(calls, [("tool", "call_1"), ("tool", "call_2"), ("harness", "")], "{events}");
}

/// Rules can tell the agent's own work from its commands'.
#[test]
fn scope_decides_where_a_rule_asks_for_it() {
    let stage = Stage::new("tree");
    let rule = r#"
        [[rule]]
        name = "own-key"
        on = ["read"]
        path = ["{stage}/denied/secret"]
        scope = "harness"
        action = "allow"
    "#;
    let own = Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]);
    let Guarded { done, events } = stage.guard(rule).run(&own);
    assert_eq!((done.code(), done.out().as_str()), (0, SECRET), "{}", done.err());
    assert_eq!(events.denials().count(), 0);
    let Guarded { done, events } = stage.guard(rule).run(&labelled(&stage, "call_1", "cat denied/secret"));
    assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    assert_eq!(events.rule("secrets").count(), 1, "{events}");
}

/// A tree whose first process ends goes on with the others.
#[test]
fn the_tree_outlives_its_first_process_as_long_as_somebody_lives() {
    let stage = Stage::new("tree");
    let script = "(sleep 0.1; ./attempt read denied/secret; touch after) & exit 0";
    let Guarded { done, events } = stage.guard("").run(&stage.script(script));
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    until("the rest of the tree has ended", || stage.path().join("after").exists());
    assert_eq!(events.rule("secrets").count(), 1, "{events}");
}
