//! Buffers and tables that are too small: what they could not hold is counted and told, and no verdict changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::guard::{Events, Guard, Guarded};
use support::run::Job;
use support::stage::{FINE, Stage, text, until};

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

/// Where there is no policy to judge by nothing is let through, and that is said; a policy that is read anew ends it.
#[test]
fn without_a_policy_nothing_is_let_through() {
    let stage = Stage::new("full");
    let policy = stage.scratch().write("policy.toml", stage.policy(""));
    let daemon = Guard::of(stage.scratch(), policy).daemon();
    // Who is an agent is a policy's to say as well: these are known as ones already.
    let files = ["denied/secret", "allowed/fine"];
    let agent = |file: &str| Job::new(stage.agent(), stage.path()).args(["after", "go", "read", file]);
    let waiting = files.map(|file| agent(file).start());
    until("both are there", || daemon.events().op("session-start").count() == files.len());
    // From outside of every tree: no session gets at that map where guard has security hooks.
    let map = policies(daemon.pid()).to_string();
    let done = Job::new(stage.attempt(), stage.path()).args(["forget", &map]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    stage.scratch().write("go", "");
    for agent in waiting {
        let done = agent.wait();
        assert_eq!((done.code() == 0, done.out().as_str()), (false, ""), "{}", done.err());
    }
    daemon.signal(Signal::SIGHUP);
    until("it is read", || daemon.stderr().contains("read anew"));
    assert_eq!(agent("allowed/fine").run().out(), FINE);
    let Guarded { events, .. } = daemon.stop();
    assert!(lost(&events, "policy-missing") > 0, "{events}");
}

/// The number of the map in which a daemon has its policies.
fn policies(daemon: u32) -> u32 {
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
    const KIND: &str = "12";
    let folder = fs::read_dir(format!("/proc/{daemon}/fdinfo")).expect("its descriptors");
    let of_map = |text: String| {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        (value("map_type:") == Some(KIND)).then(|| value("map_id:").and_then(|number| number.parse().ok())).flatten()
    };
    let mut texts = folder.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.find_map(of_map).expect("a map of maps")
}

/// What is enforced does not depend on what can be written down; what could not be is counted, and told once there is room.
#[test]
fn a_full_disk_stops_nothing() {
    const ATTEMPTS: usize = 300;
    let stage = Stage::new("full");
    let folder = stage.path().join("disk");
    let disk = Disk::new(&folder, "64k");
    let file = disk.0.join("events.jsonl");
    let daemon = stage.guard("").unrecorded().flag("--events").flag(&file).daemon();
    let attempts = || {
        let job = Job::new(stage.agent(), stage.path());
        let done = job.args(["each", &ATTEMPTS.to_string(), "read", "denied/secret"]).run();
        assert_eq!((counts(&done.err(), "killed"), done.out().as_str()), (ATTEMPTS as u64, ""), "{}", done.err());
    };
    attempts();
    until("it is noticed", || daemon.stderr().contains("could not be written"));
    attempts();
    disk.resize("4m");
    let read = || Events::parse(&fs::read_to_string(&file).expect("the events"));
    attempts();
    until("what is missing is told", || lost(&read(), "not-written") > 0);
    let Guarded { done, .. } = daemon.stop();
    assert_eq!(done.code(), 0, "{}", done.err());
    let events = read();
    let told = events.rule("secrets").count();
    assert!((ATTEMPTS..3 * ATTEMPTS).contains(&told), "{told}");
    // Beside the denials, ends of processes are missing.
    assert!(told as u64 + lost(&events, "not-written") >= 3 * ATTEMPTS as u64, "{told} told");
}

/// A filesystem in memory that is soon full, in a mount namespace of its own.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn new(folder: &'a Path, size: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).expect("a private one");
        fs::create_dir(folder).expect("a folder");
        let disk = Self(folder);
        disk.mount(MsFlags::empty(), size);
        disk
    }

    fn resize(&self, size: &str) {
        self.mount(MsFlags::MS_REMOUNT, size);
    }

    fn mount(&self, flags: MsFlags, size: &str) {
        let size = format!("size={size}");
        mount(Some("disk"), self.0, Some("tmpfs"), flags, Some(size.as_str())).expect("a disk");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _gone = umount2(self.0, MntFlags::MNT_DETACH);
    }
}
