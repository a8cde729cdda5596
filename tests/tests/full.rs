//! Buffers and tables that are too small: what they could not hold is counted and told, and no verdict changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::Value;
use support::guard::{Events, Guarded};
use support::stage::{Stage, text};

fn counts(stderr: &str, key: &str) -> u64 {
    let line = stderr.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no counts: {stderr}"));
    let counts: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    counts[key].as_u64().unwrap_or_else(|| panic!("no {key}: {line}"))
}

fn lost(events: &Events, kind: &str) -> u64 {
    events.op("lost").filter(|event| event["kind"] == kind).filter_map(|event| event["count"].as_u64()).sum()
}

/// As many as there are, told or lost: nothing is missing without a count.
#[test]
fn a_full_ring_of_verdicts_changes_no_verdict() {
    let stage = Stage::new("full");
    let guard = stage.guard("").flag("--verdict-ring").flag("4096");
    // guard itself, the script's parent, is stopped meanwhile: nobody empties the buffer.
    let script = "kill -STOP $PPID; ./attempt each --threads 4 250 read --by open denied/secret; kill -CONT $PPID";
    let Guarded { done, events } = guard.run(&stage.script(script));
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    assert_eq!(counts(&done.err(), "killed"), 1000, "{}", done.err());
    let missing = lost(&events, "verdict-ring-full");
    assert!(missing > 0, "4096 bytes hold a few records only");
    // Of each process: its fork, its verdict, its end. Forks are not among the events.
    let told = (events.denials().count() + events.op("exit").count()) as u64;
    assert!(told + missing >= 2000, "{told} told, {missing} lost");
    assert!(done.err().contains("lost"), "{}", done.err());
}

#[test]
fn a_full_ring_of_the_bulk_loses_no_verdict() {
    let stage = Stage::new("full");
    let guard = stage.guard("").flag("--bulk-ring").flag("4096");
    let script = "kill -STOP $PPID; ./attempt read --times 20000 allowed/fine > /dev/null; kill -CONT $PPID; \
                  ./attempt read denied/secret; exit 0";
    let Guarded { done, events } = guard.run(&stage.script(script));
    assert_eq!((done.code(), done.out().as_str()), (0, ""), "{}", done.err());
    let missing = lost(&events, "bulk-ring-full");
    assert!(missing > 0, "4096 bytes hold a few records only");
    assert_eq!(lost(&events, "verdict-ring-full"), 0);
    assert_eq!(events.rule("secrets").count(), 1, "{events}");
    let fine = stage.fine().display().to_string();
    let told = events.op("read").filter(|event| event["path"] == fine.as_str()).count() as u64;
    // Some opens of the C library's and the shell's own are among the lost ones.
    assert!((20_000..20_200).contains(&(told + missing)), "{told} told, {missing} lost");
}

/// A child for which there is no room is killed before its first instruction, however it was made.
#[test]
fn a_full_table_of_processes_lets_nobody_in_unseen() {
    for (by, room) in [("fork", 8), ("vfork", 1)] {
        let stage = Stage::new("full");
        fs::create_dir(stage.path().join("marks")).expect("a folder");
        let guard = stage.guard("").flag("--max-processes").flag(room.to_string());
        let Guarded { done, events } = guard.run(&stage.job(["crowd", "--by", by, "40", "marks"]));
        assert_eq!(done.code(), 0, "{by}: {}", done.err());
        let (lived, killed) = (counts(&done.err(), "forked"), counts(&done.err(), "killed"));
        assert_eq!((lived + killed, counts(&done.err(), "refused")), (40, 0), "{by}: {}", done.err());
        // The process itself takes one place.
        assert_eq!(lived, room - 1, "{by}: {}", done.err());
        let marks = fs::read_dir(stage.path().join("marks")).expect("a folder").count() as u64;
        assert_eq!(marks, lived, "{by}: who was killed had done nothing");
        let doomed: Vec<&Value> = events.op("fork").filter(|event| event["verdict"]["action"] == "deny").collect();
        assert_eq!(doomed.len() as u64, killed, "{by}: {events}");
        assert!(doomed.iter().all(|event| event["verdict"]["enforced"] == true), "{events}");
        assert!(text(doomed[0], "/verdict/reason").contains("full"), "{}", doomed[0]);
        assert_eq!(lost(&events, "tree-full"), killed, "{events}");
    }
}

/// Where nothing is carried out, not even that: who does not fit in runs unseen, and that is told.
#[test]
fn a_full_table_in_audit_kills_nobody() {
    let stage = Stage::new("full");
    fs::create_dir(stage.path().join("marks")).expect("a folder");
    let guard = stage.guard("").audit().flag("--max-processes").flag("3");
    let Guarded { done, events } = guard.run(&stage.job(["crowd", "10", "marks"]));
    assert_eq!(done.code(), 0, "{}", done.err());
    assert_eq!(counts(&done.err(), "forked"), 10, "{}", done.err());
    let unseen: Vec<&Value> = events.op("fork").filter(|event| event["verdict"]["enforced"] == false).collect();
    assert_eq!((unseen.len(), lost(&events, "tree-full")), (8, 8), "{events}");
}

/// Only guarded processes take places: others fork as they like meanwhile.
#[test]
fn a_full_table_touches_nobody_else() {
    let stage = Stage::new("full");
    for folder in ["inside", "outside"] {
        fs::create_dir(stage.path().join(folder)).expect("a folder");
    }
    let guard = stage.guard("").flag("--max-processes").flag("2");
    let outside = stage.job(["crowd", "100", "outside"]).start();
    let inside = guard.run(&stage.job(["crowd", "100", "inside"]));
    let outside = outside.wait();
    assert_eq!(counts(&outside.err(), "forked"), 100, "{}", outside.err());
    assert_eq!(counts(&inside.done.err(), "forked"), 1, "{}", inside.done.err());
    assert_eq!(counts(&inside.done.err(), "killed"), 99, "{}", inside.done.err());
}

/// A fork bomb takes the places there are, and no more.
#[test]
fn a_fork_bomb_is_bounded() {
    const ROOM: usize = 50;
    let stage = Stage::new("full");
    // Each shell starts two more, four generations beyond what there is room for; without guard that makes some hundred.
    let bomb =
        "#!/bin/sh\ntest $1 -gt 9 && exit\necho >> born\n./bomb $(($1 + 1)) &\n./bomb $(($1 + 1)) &\nsleep 1\n";
    let script = stage.scratch().write("bomb", bomb);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    let guard = stage.guard("").flag("--max-processes").flag(ROOM.to_string());
    let Guarded { done, events } = guard.run(&stage.script("./bomb 1; sleep 1").limit(Duration::from_mins(1)));
    assert!(lost(&events, "tree-full") > 0, "{}\n{events}", done.err());
    // At no time were there more than there is room for: count them by their beginnings and ends.
    let mut alive = std::collections::HashSet::new();
    let mut most = 0;
    for event in &events.0 {
        let process = event["process"]["pid"].clone();
        match text(event, "/op") {
            "exec" => _ = alive.insert(process.to_string()),
            "exit" => _ = alive.remove(&process.to_string()),
            _ => {}
        }
        most = most.max(alive.len());
    }
    assert!((ROOM / 2..=ROOM).contains(&most), "{most} at once");
}
