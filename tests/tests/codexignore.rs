//! `[import] codexignore = true`: each session's repository may forbid more than the policy, and never less.

use std::fs;

use support::guard::{Daemon, Guard, Guarded};
use support::run::{Job, Running};
use support::stage::{SECRET, Stage, until};

const IMPORT: &str = "[import]\ncodexignore = true\n";

/// A stage whose folder is a repository with this list.
fn stage(ignored: &str) -> Stage {
    let stage = Stage::new("codexignore");
    fs::create_dir(stage.path().join(".git")).expect("made");
    stage.scratch().write(".codexignore", ignored);
    for name in ["key", "key.pub", "notes"] {
        stage.scratch().write(name, format!("this is {name}\n"));
    }
    stage
}

/// A session that waits until `go` is there, then reads each of three files with a process of its own.
fn session(stage: &Stage, go: &str) -> Running {
    let script = format!("until [ -e {go} ]; do sleep 0.01; done; for f in key key.pub notes; do cat $f; done; :");
    Job::new(stage.agent(), stage.path()).args(["in", "fork", "exec", "/bin/sh", "-c", &script]).start()
}

fn go(stage: &Stage, go: &str, running: Running) -> String {
    fs::write(stage.path().join(go), "").expect("written");
    running.wait().out()
}

fn enforced(daemon: &Daemon, times: usize) {
    until("it is enforced", || daemon.stderr().matches(".codexignore is enforced").count() == times);
}

#[test]
fn what_the_repository_ignores_is_denied() {
    let stage = stage("# comment\nkey*\n!key.pub\n");
    let daemon = stage.guard(IMPORT).daemon();
    let running = session(&stage, "go");
    enforced(&daemon, 1);
    assert_eq!(go(&stage, "go", running), "this is key.pub\nthis is notes\n");
    let Guarded { done, events } = daemon.stop();
    let denied: Vec<_> = events.denials().collect();
    assert_eq!(denied.len(), 1, "{events}");
    assert_eq!(denied[0]["verdict"]["rule"], "codexignore-2", "{events}");
    assert!(
        denied[0]["verdict"]["reason"].as_str().is_some_and(|reason| reason.contains(".codexignore")),
        "{events}"
    );
    assert!(done.err().contains(".codexignore is enforced"), "{}", done.err());
}

/// Without the wish, it is a file like any other.
#[test]
fn only_where_the_policy_wants_it() {
    let stage = stage("key*\n");
    let daemon = stage.guard("").daemon();
    let running = session(&stage, "go");
    let _started = daemon.wait_for("the session", |event| event["op"] == "exec");
    assert_eq!(go(&stage, "go", running), "this is key\nthis is key.pub\nthis is notes\n");
}

/// What a session does to the file changes nothing for it, and what it re-includes the policy denies all the same.
#[test]
fn a_session_frees_itself_of_nothing() {
    let stage = stage("key*\n!denied\n!secret\n");
    let script = "rm .codexignore; echo '!key' > .codexignore; sleep 0.5; cat key; cat denied/secret; :";
    let guarded = stage.guard(IMPORT).run(&stage.script(script));
    assert_eq!(guarded.done.out(), "", "{}", guarded.done.err());
    let mut rules: Vec<_> =
        guarded.events.denials().map(|event| event["verdict"]["rule"].as_str().unwrap_or_default()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["codexignore-1", "secrets"], "{}", guarded.events);
}

/// A session that starts later brings the file as it is then; while both run, both lists hold.
#[test]
fn sessions_that_run_at_once_add_up() {
    let stage = stage("key\n");
    let daemon = stage.guard(IMPORT).daemon();
    let first = session(&stage, "go");
    enforced(&daemon, 1);
    stage.scratch().write(".codexignore", "notes\n");
    let second = session(&stage, "later");
    enforced(&daemon, 2);
    assert_eq!(go(&stage, "go", first), "this is key.pub\n");
    assert_eq!(go(&stage, "later", second), "this is key.pub\n");
    // Both are over: the next one goes by the file as it is now.
    until("they are over", || daemon.events().op("session-end").count() == 2);
    let third = session(&stage, "third");
    enforced(&daemon, 3);
    assert_eq!(go(&stage, "third", third), "this is key\nthis is key.pub\n");
}

/// A reload keeps what running sessions have brought.
#[test]
fn a_reload_keeps_it() {
    let stage = stage("key\n");
    let policy = stage.scratch().write("policy.toml", stage.policy(IMPORT));
    let daemon = Guard::of(stage.scratch(), policy.clone()).daemon();
    let running = session(&stage, "go");
    enforced(&daemon, 1);
    fs::write(&policy, stage.policy(IMPORT).replace("\"secrets\"", "\"renamed\"")).expect("written");
    until("it is read", || daemon.stderr().contains("read anew"));
    assert_eq!(go(&stage, "go", running), "this is key.pub\nthis is notes\n");
}

/// Whoever writes the file can neither lead guard elsewhere nor bring the policy down.
#[test]
fn a_bad_file_is_told_and_the_policy_stands() {
    let stage = stage("");
    let file = stage.path().join(".codexignore");
    let told = |what: &str| {
        let guarded = stage.guard(IMPORT).run(&stage.job(["read", "denied/secret"]));
        assert_eq!(guarded.done.out(), "", "{what}");
        let said = guarded.done.err();
        assert!(said.contains(".codexignore is not enforced"), "{what}: {said}");
        said
    };
    fs::write(&file, "*a*b*c*d*e*\n".repeat(2000)).expect("written");
    let _many = told("too many patterns");
    fs::write(&file, vec![b'a'; 2 << 20]).expect("written");
    let _large = told("too large");
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("denied/secret", &file).expect("linked");
    let said = told("a link");
    assert!(!said.contains(SECRET.trim()), "{said}");
    fs::remove_file(&file).expect("removed");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let _pipe = told("a pipe");
}
