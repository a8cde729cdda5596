//! `guard top` of a record: for scripts, and where it can't run.

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::guard::binary;
use support::place::Scratch;
use support::run::{Finished, Job};

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("top/record.jsonl")
}

fn top(args: &[&str]) -> Finished {
    Job::new(binary(), Path::new("/")).arg("top").args(args).env("LANG", "C.UTF-8").run()
}

fn of_record(args: &[&str]) -> Finished {
    let record = record();
    top(&[&["--replay", record.to_str().expect("a path")], args].concat())
}

#[test]
fn once_writes_one_screen_as_text() {
    for (view, shows) in [
        ("sessions", "0a6fb001"),
        ("tree", "own work of codex"),
        ("verdicts", "pipe-to-shell"),
        ("files", "/usr/bin/bash"),
        ("cost", "bulk-ring-full"),
    ] {
        let done = of_record(&["--once", "--view", view, "--size", "120x30"]);
        assert_eq!(done.code(), 0, "{}", done.err());
        let lines: Vec<_> = done.out().lines().map(ToOwned::to_owned).collect();
        assert_eq!(lines.len(), 30, "{}", done.out());
        assert!(done.out().contains(shows) && done.out().contains("at its end"), "{}", done.out());
        assert!(lines.iter().all(|line| line.chars().count() <= 120));
        let hostile = |c: char| c != '\n' && guard::top::text::hostile(c);
        assert!(!done.out().chars().any(hostile), "{:?}", done.out());
    }
}

#[test]
fn json_is_one_document_without_anything_that_a_terminal_obeys() {
    let done = of_record(&["--json"]);
    assert_eq!(done.code(), 0, "{}", done.err());
    assert!(!done.out().chars().any(|c| c != '\n' && guard::top::text::hostile(c)), "{:?}", done.out());
    let all: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!(all["events"], 95);
    assert_eq!(all["verdicts"], serde_json::json!({"log": 2, "deny": 5, "kill": 1}));
    assert_eq!(all["lost"]["bulk-ring-full"], 1234);
    let sessions = all["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), 3);
    assert_eq!((&sessions[0]["repo"], &sessions[0]["worst"]), (&"/home/ana/shop".into(), &"deny".into()));
    assert_eq!((&sessions[1]["mode"], &sessions[1]["worst"]), (&"audit".into(), &"would deny".into()));
    assert_eq!((&sessions[2]["running"], &sessions[2]["worst"]), (&false.into(), &"kill".into()));
    let nasty = all["last_verdicts"][0]["object"].as_str().expect("an object");
    assert_eq!(nasty, "/home/ana/shop/.github/workflows/ci\n.yml");
}

#[test]
fn a_record_may_come_by_a_pipe_and_hold_garbage() {
    let scratch = Scratch::new("top");
    let text = std::fs::read_to_string(record()).expect("the record");
    let path = scratch.write("record", format!("not an event\n{text}\u{fffd}{{\"time\":\n"));
    let guard = binary();
    let line = format!("cat {} | {} top --replay - --json", path.display(), guard.display());
    let done = Job::new("sh", Path::new("/")).args(["-c", &line]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    let all: Value = serde_json::from_str(&done.out()).expect("JSON");
    assert_eq!(all["events"], 95);
}

#[test]
fn what_is_missing_is_said_and_what_to_do() {
    let scratch = Scratch::new("top");
    let nowhere = scratch.join("nowhere").display().to_string();
    for (done, says) in [
        (top(&["--replay", &nowhere, "--once"]), vec!["can't be opened", "--events FILE"]),
        (of_record(&[]), vec!["needs a terminal", "--once", "--json"]),
        (top(&["--speed", "2", "--once"]), vec!["--replay"]),
        (of_record(&["--speed", "0"]), vec!["0.01 to 10000"]),
        (of_record(&["--once", "--size", "10x10"]), vec!["40x10"]),
        (of_record(&["--once", "--json"]), vec!["cannot be used with"]),
    ] {
        assert_ne!(done.code(), 0, "{}", done.out());
        for says in says {
            assert!(done.err().contains(says), "{says}: {}", done.err());
        }
    }
}

#[test]
fn help_tells_every_key() {
    let done = top(&["--help"]);
    for binding in guard::top::keys::BINDINGS {
        let told = done.out().lines().any(|line| line.trim_start().starts_with(binding.keys));
        assert!(told, "{}: {}", binding.keys, done.out());
    }
}
