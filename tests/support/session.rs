//! One scripted session of the real Codex under guard, and what must be true of every such session.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::codex::{Desk, SECRET};
use crate::guard::Guarded;
use crate::model::{Model, Script};

/// A command that is fine, and tells its session's id.
pub const FINE: &str = "echo session=$CODEX_SESSION_ID; cat price.py";
/// A command that is not.
pub const DENIED: &str = "cat .env";

/// A fine command, a denied one, and a fine one again, to see that the session went on.
#[must_use]
pub fn script() -> Script {
    Script::new().run(FINE).run(DENIED).run("python3 -m unittest -q").say("All done.")
}

/// A policy for the Codex of this desk and no other.
#[must_use]
pub fn policy(desk: &Desk) -> String {
    format!(
        r#"version = 1

[agent.codex]
exe = ["{}/**/codex"]

[[rule]]
name = "secrets"
on = ["read", "write"]
path = ["**/.env"]
action = "deny"
reason = "Secrets stay out of the model's context."
"#,
        desk.scratch().path().display()
    )
}

/// What must be true of a session that ran this script under guard, however Codex was started.
///
/// # Panics
/// When it isn't.
pub fn check(desk: &Desk, model: &Model, guarded: &Guarded) {
    let Guarded { done, events } = guarded;
    let results = model.results();
    assert_eq!(results.len(), 3, "the session went on to its end: {results:?}\n{}\n{}", done.out(), done.err());
    events.none_lost();

    // The fine things took place, the denied one did not, and no byte of the secret went anywhere.
    assert!(results[0].contains("def with_tax"), "{results:?}");
    assert!(results[2].contains("FAILED (failures=1)"), "the test ran, and found the mistake: {results:?}");
    assert!(!model.was_told(SECRET), "the model was told the secret: {results:?}");
    assert!(!done.out().contains(SECRET) && !done.err().contains(SECRET), "{}\n{}", done.out(), done.err());
    for rollout in files(&desk.home().join(".codex")) {
        let bytes = fs::read(&rollout).unwrap_or_default();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret is in {}", rollout.display());
    }

    // One denial, of that call, told as the contract has it.
    let session = results[0].split("session=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    assert_eq!(session.len(), 36, "the session has an id: {results:?}");
    let denials: Vec<&Value> = events.denials().collect();
    assert!(!denials.is_empty(), "nothing was denied\n{events}\n{}", done.err());
    let repo = desk.repo().display().to_string();
    for event in &denials {
        let is = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let call = Script::call_id(1);
        assert_eq!(
            (is("/op"), is("/path"), is("/session"), is("/agent"), is("/scope"), is("/call")),
            ("read".into(), format!("{repo}/.env"), session.into(), "codex".into(), "tool".into(), call),
            "{event}"
        );
        assert_eq!(
            (is("/verdict/action"), is("/verdict/rule"), is("/verdict/backend")),
            ("deny".into(), "secrets".into(), events_backend(event)),
            "{event}"
        );
        assert_eq!(event["verdict"]["enforced"], true, "{event}");
        assert_eq!(is("/verdict/reason"), "Secrets stay out of the model's context.", "{event}");
        assert_eq!(event["process"]["argv"], serde_json::json!(["cat", ".env"]), "{event}");
        assert!(is("/process/exe").ends_with("/cat"), "{event}");
        assert_eq!(is("/process/cwd"), repo, "{event}");
        assert_eq!(event["process"]["uid"], 0, "{event}");
        for number in ["/process/pid", "/process/ppid", "/process/start"] {
            assert!(event.pointer(number).and_then(Value::as_u64).is_some_and(|number| number > 1), "{event}");
        }
        assert!(is("/time").ends_with('Z') && is("/time").contains('T'), "{event}");
    }

    // Each of the three calls is told apart, and what Codex does for itself belongs to none.
    for step in 0..3 {
        let call = Script::call_id(step);
        let mut execs = events.op("exec").filter(|event| event["call"] == call.as_str());
        assert!(execs.any(|event| event["scope"] == "tool" && event["session"] == session), "no exec of {call}");
    }
    let harness: Vec<&Value> = events.op("exec").filter(|event| event["scope"] == "harness").collect();
    assert!(!harness.is_empty(), "Codex itself was seen");
    assert!(harness.iter().all(|event| event.get("call").is_none()), "{harness:#?}");
}

/// Whichever backend this kernel has: both keep the bytes away, and which of them it is other tests look at.
fn events_backend(event: &Value) -> String {
    let backend = event["verdict"]["backend"].as_str().unwrap_or_default();
    assert!(["signal", "lsm", "fanotify"].contains(&backend), "{event}");
    backend.to_owned()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
