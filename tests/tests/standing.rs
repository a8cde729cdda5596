//! What the daemon enforces goes on when it is killed, and the next one takes over.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::guard::{Daemon, Events, Guard, binary};
use support::run::{Job, Running};
use support::stage::{FINE, SECRET, Stage, text, until};

/// An agent that is a shell.
const SHELL: &str = r#"
    [agent.shell]
    exe = ["{stage}/shell"]
"#;

/// A stage with a bpffs that nobody else has. In a mount namespace of its own, so that nothing of it can outlive the test, however
/// that ends.
struct Ground {
    stage: Stage,
    bpffs: PathBuf,
}

impl Ground {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("a private one");
        let stage = Stage::new("standing");
        let bpffs = stage.path().join("bpf");
        fs::create_dir(&bpffs).expect("a folder");
        mount(Some("bpffs"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>).expect("a bpffs");
        Self { stage, bpffs }
    }

    fn guard(&self) -> Guard {
        self.stage.guard(SHELL).standing(&self.pins())
    }

    fn pins(&self) -> PathBuf {
        self.bpffs.join("guard")
    }

    /// How many daemons have pins.
    fn pinned(&self) -> usize {
        fs::read_dir(self.pins()).map_or(0, Iterator::count)
    }

    fn agent(&self, words: &[&str]) -> Job {
        Job::new(self.stage.agent(), self.stage.path()).args(words)
    }

    /// The denied file can't be read by the agent, the other can.
    fn enforces(&self) {
        let denied = self.agent(&["read", "denied/secret"]).run();
        assert_eq!((denied.code() == 0, denied.out().as_str()), (false, ""), "{}", denied.err());
        assert_eq!(self.agent(&["read", "allowed/fine"]).run().out(), FINE);
    }

    /// The agent that tries again and again to read the denied file, each time by a process of its own, until it finds `stop`.
    /// It writes down each process that tries, and what they got.
    fn tries(&self) -> Tries {
        let script = "while ! test -e stop; do sh -c 'echo $$ >> tried; exec cat denied/secret' >> leaked; done 2>> said; true";
        let agent = self.stage.scratch().program(Path::new("/bin/bash"), "shell");
        let job = Job::new(agent, self.stage.path()).args(["-c", script]).limit(Duration::from_mins(3));
        Tries { folder: self.stage.path().to_owned(), running: job.start() }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _gone = umount2(&self.bpffs, MntFlags::MNT_DETACH);
    }
}

struct Tries {
    folder: PathBuf,
    running: Running,
}

impl Tries {
    /// The processes that have tried so far.
    fn so_far(&self) -> Vec<i64> {
        let text = fs::read_to_string(self.folder.join("tried")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits for `more` tries, and gives all by then.
    fn wait(&self, more: usize) -> Vec<i64> {
        let before = self.so_far().len();
        until("it goes on trying", || self.so_far().len() >= before + more);
        self.so_far()
    }

    fn stop(self) {
        fs::write(self.folder.join("stop"), "").expect("a file");
        let done = self.running.wait();
        assert_eq!(done.code(), 0, "{}", done.err());
        assert_eq!(fs::read_to_string(self.folder.join("leaked")).expect("a file"), "", "bytes got out");
    }
}

/// How often each process was denied the file.
fn denied(events: &Events) -> HashMap<i64, usize> {
    let mut denied = HashMap::new();
    for event in events.rule("secrets") {
        *denied.entry(event["process"]["pid"].as_i64().expect("a process")).or_default() += 1;
    }
    denied
}

fn gaps(events: &Events) -> Vec<&Value> {
    events.op("gap").collect()
}

#[test]
fn nothing_gets_out_while_nobody_watches() {
    let ground = Ground::new();
    let first = ground.guard().daemon();
    let tries = ground.tries();
    drop(tries.wait(20));
    let first = first.killed(Signal::SIGKILL);
    // Those that were under way at the kill are told by one or the other.
    let alone = tries.wait(1).len();
    let unseen = tries.wait(50)[alone..].to_vec();
    let second = ground.guard().daemon();
    let told = tries.wait(20).len();
    assert!(told > alone + 50);
    tries.stop();
    drop(second.wait_for("the session is over", |event| event["op"] == "session-end"));
    let second = second.stop();
    assert_eq!(ground.pinned(), 0, "pins are left");

    let (before, after) = (denied(&first.events), denied(&second.events));
    for pid in &unseen {
        assert_eq!((before.get(pid), after.get(pid)), (None, Some(&1)), "{pid}\n{}", second.events);
    }
    assert!(after.values().all(|times| *times == 1), "{}", second.events);
    assert!(before.keys().all(|pid| !after.contains_key(pid)), "told twice\n{}", second.events);
    second.events.none_lost();
    // One session, from its start with the one to its end with the other.
    let starts: Vec<&Value> = first.events.op("session-start").chain(second.events.op("session-start")).collect();
    assert_eq!(starts.len(), 1, "{}\n{}", first.events, second.events);
    let end = second.events.op("session-end").next().expect("an end");
    assert_eq!((text(end, "/tree"), text(end, "/agent")), (text(starts[0], "/tree"), "shell"));
    let gaps = gaps(&second.events);
    assert_eq!(gaps.len(), 1, "{}", second.events);
    assert!(text(gaps[0], "/since") < text(gaps[0], "/time"), "{}", gaps[0]);
    let event = second.events.rule("secrets").next().expect("an event");
    assert_eq!((text(event, "/tree"), text(event, "/verdict/action")), (text(starts[0], "/tree"), "deny"), "{event}");
    assert!(second.done.err().contains("gone on enforcing"), "{}", second.done.err());
}

#[test]
fn sessions_that_begin_and_end_meanwhile_are_told() {
    let ground = Ground::new();
    drop(ground.guard().daemon().killed(Signal::SIGKILL));
    assert_eq!(ground.pinned(), 1);
    ground.enforces();
    let stays = ground.tries();
    drop(stays.wait(3));
    let daemon = ground.guard().daemon();
    stays.stop();
    until("all are over", || daemon.events().op("session-end").count() == 3);
    let events = daemon.stop().events;
    assert_eq!(events.op("session-start").count(), 3, "{events}");
    assert!(events.rule("secrets").count() >= 4, "{events}");
    // Nothing is left of the first.
    assert_eq!(ground.pinned(), 0);
    assert_eq!(ground.agent(&["read", "denied/secret"]).run().out(), SECRET);
}

/// A session's own mode holds while nobody watches, and by the next daemon; and for that session alone.
#[test]
fn a_sessions_own_mode_is_taken_over() {
    let ground = Ground::new();
    let first = ground.guard().daemon();
    let script = "for n in 1 2 3; do while ! test -e go$n; do sleep 0.02; done; sh -c 'cat denied/secret' > out$n; touch done$n; done; true";
    let agent = ground.stage.scratch().program(Path::new("/bin/bash"), "shell");
    let running = Job::new(agent, ground.stage.path()).args(["-c", script]).limit(Duration::from_mins(3)).start();
    let read = |number: u32| {
        let file = |name: &str| ground.stage.path().join(format!("{name}{number}"));
        fs::write(file("go"), "").expect("a file");
        until("it is done", || file("done").exists());
        fs::read_to_string(file("out")).expect("a file")
    };
    let session = |daemon: &Daemon| {
        let sessions = support::api::Api::at(daemon.socket()).json("/v1/sessions")["sessions"].clone();
        sessions.as_array().and_then(|all| all.first().cloned())
    };
    until("there is a session", || session(&first).is_some());
    let id = text(&session(&first).expect("a session"), "/id").to_owned();
    let api = support::api::Api::at(first.socket());
    let answer = api.send("PUT", &format!("/v1/sessions/{id}/mode"), "{\"mode\":\"audit\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(read(1), SECRET);
    drop(first.killed(Signal::SIGKILL));
    assert_eq!(read(2), SECRET, "nobody watches");
    let second = ground.guard().daemon();
    let taken_over = session(&second).expect("a session");
    assert_eq!((text(&taken_over, "/id"), text(&taken_over, "/mode")), (id.as_str(), "audit"), "{taken_over}");
    assert_eq!(taken_over["own_mode"], true, "{taken_over}");
    assert_eq!(read(3), SECRET);
    ground.enforces();
    assert_eq!(running.wait().code(), 0);
    second.stop().events.none_lost();
}

/// What a connection sends is counted on while nobody watches, and by the next daemon.
#[test]
fn what_was_sent_is_taken_over() {
    use std::net::{Ipv4Addr, TcpListener};
    support::net::alone(|| {
        let there = Ipv4Addr::new(10, 77, 0, 1);
        support::net::own_address(there);
        let listener = TcpListener::bind((there, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            std::io::copy(&mut stream, &mut std::io::sink()).expect("its end")
        });
        let ground = Ground::new();
        let first = ground.guard().daemon();
        let script = format!(
            "exec 3<>/dev/tcp/{there}/{port}; for n in 1 2 3; do while ! test -e go$n; do sleep 0.02; done; printf %1000d 0 >&3; touch done$n; done; exec 3>&-; \
             while ! test -e stop; do sleep 0.02; done"
        );
        let agent = ground.stage.scratch().program(Path::new("/bin/bash"), "shell");
        let job = Job::new(agent, ground.stage.path()).args(["-c", &script]).limit(Duration::from_mins(3));
        let running = job.start();
        let send = |number: u32| {
            let file = |name: &str| ground.stage.path().join(format!("{name}{number}"));
            fs::write(file("go"), "").expect("a file");
            until("it is sent", || file("done").exists());
        };
        let counted = |daemon: &Daemon| {
            let sessions = support::api::Api::at(daemon.socket()).json("/v1/sessions")["sessions"].clone();
            sessions[0]["bytes_out"].as_u64()
        };
        send(1);
        until("it is counted", || counted(&first).is_some_and(|sent| sent <= 1000));
        drop(first.killed(Signal::SIGKILL));
        send(2);
        let second = ground.guard().daemon();
        until("what was sent meanwhile is known", || counted(&second).is_some_and(|sent| sent <= 2000));
        send(3);
        until("all is counted, once", || counted(&second) == Some(3000));
        fs::write(ground.stage.path().join("stop"), "").expect("a file");
        assert_eq!(running.wait().code(), 0);
        assert_eq!(taken.join().expect("it ends"), 3000);
        second.stop().events.none_lost();
    });
}

#[test]
fn one_that_is_told_to_hand_over_leaves_everything_standing() {
    let ground = Ground::new();
    let first = ground.guard().daemon();
    let tries = ground.tries();
    drop(tries.wait(5));
    let first = first.killed(Signal::SIGUSR2);
    assert_eq!(first.done.code(), 0, "{}", first.done.err());
    drop(tries.wait(5));
    let second = ground.guard().daemon();
    drop(tries.wait(5));
    tries.stop();
    let second = second.stop();
    let (before, after) = (denied(&first.events), denied(&second.events));
    let tried = fs::read_to_string(ground.stage.path().join("tried")).expect("a file");
    // This one has written down everything, so each try is told exactly once.
    for pid in tried.lines().map(|line| line.parse::<i64>().expect("a number")) {
        let times = before.get(&pid).copied().unwrap_or(0) + after.get(&pid).copied().unwrap_or(0);
        assert_eq!(times, 1, "{pid}\n{}\n{}", first.events, second.events);
    }
}

/// A newer build finds what the one before has left, whether or not it can read it: nothing gets out, and the session is
/// guarded on.
#[test]
fn a_newer_build_takes_over() {
    for is_readable in [true, false] {
        let ground = Ground::new();
        let first = ground.guard().daemon();
        let tries = ground.tries();
        drop(tries.wait(5));
        drop(first.killed(Signal::SIGKILL));
        drop(tries.wait(5));
        if !is_readable {
            // As of a build that lays out its maps in another way.
            let left = fs::read_dir(ground.pins()).expect("a folder").flatten().next().expect("its pins").path();
            fs::rename(&left, left.with_file_name("daemon-0-1")).expect("another name");
        }
        let mut build = fs::read(binary()).expect("a program");
        build.push(0);
        let newer = ground.stage.scratch().write("newer", build);
        fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).expect("executable");
        let second = ground.guard().by(&newer).daemon();
        drop(tries.wait(20));
        tries.stop();
        drop(second.wait_for("the session is over", |event| event["op"] == "session-end"));
        let second = second.stop();
        let said = second.done.err();
        assert_eq!(said.contains("of another version"), !is_readable, "{said}");
        // From /proc, the session's start is told anew.
        assert_eq!(second.events.op("session-start").count(), usize::from(!is_readable), "{}", second.events);
        assert_eq!(gaps(&second.events).len(), 1, "{}", second.events);
        assert!(denied(&second.events).len() >= 20, "{}", second.events);
        assert_eq!(ground.pinned(), 0, "pins are left");
    }
}

#[test]
fn told_to_stop_it_leaves_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let ground = Ground::new();
        let daemon = ground.guard().daemon();
        ground.enforces();
        assert_eq!(ground.pinned(), 1);
        drop(daemon.killed(signal));
        assert_eq!(ground.pinned(), 0);
        assert_eq!(ground.agent(&["read", "denied/secret"]).run().out(), SECRET);
    }
}

#[test]
fn what_is_left_there_never_stops_the_start() {
    let ground = Ground::new();
    fs::create_dir(ground.pins()).expect("a folder");
    // An empty one, one of another layout, and one that guard has never made.
    for name in ["daemon-1-1", "daemon-0-7", "other"] {
        fs::create_dir(ground.pins().join(name)).expect("a folder");
    }
    let daemon = ground.guard().daemon();
    ground.enforces();
    let done = daemon.stop();
    assert_eq!(gaps(&done.events).len(), 2, "{}", done.events);
    let left: Vec<_> =
        fs::read_dir(ground.pins()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["other"]);

    // No bpffs at all.
    let daemon: Daemon = ground.stage.guard("").standing(&ground.stage.path().join("nowhere/pins")).daemon();
    assert!(daemon.stderr().contains("nothing is enforced until the next one"), "{}", daemon.stderr());
    ground.enforces();
}

#[test]
fn a_daemon_that_lives_keeps_its_own() {
    let ground = Ground::new();
    let first = ground.guard().daemon();
    let second = ground.guard().daemon();
    assert_eq!(ground.pinned(), 2);
    drop(second.stop());
    assert_eq!(ground.pinned(), 1);
    ground.enforces();
    assert_eq!(gaps(&first.stop().events).len(), 0);
}

/// What calls have done is judged by a program that another goes on with, and the kernel keeps that only as long as it is pinned.
#[test]
fn what_calls_have_done_is_judged_on() {
    let ground = Ground::new();
    let rule = format!(
        "[[rule]]\nname = \"kept\"\non = [\"delete\"]\npath = [\"{}/kept/**\"]\naction = \"deny\"\n",
        ground.stage.path().display()
    );
    let guard = ground.stage.guard(&rule).standing(&ground.pins()).flag("--without-hooks");
    let remove = |name: &str| {
        ground.stage.scratch().write(name, FINE);
        let done = ground.agent(&["unlink", name]).run();
        assert_eq!(done.code(), 137, "{name}: {}", done.err());
    };
    let daemon = guard.daemon();
    remove("kept/guarded");
    let _before = daemon.killed(Signal::SIGKILL);
    remove("kept/alone");
    let daemon = guard.daemon();
    remove("kept/again");
    until("all is told", || daemon.events().rule("kept").count() >= 3);
    let events = daemon.stop().events;
    let told: Vec<&str> = events.rule("kept").map(|event| text(event, "/path")).collect();
    let expected = ["guarded", "alone", "again"].map(|name| ground.stage.path().join("kept").join(name));
    assert_eq!(told, expected.map(|path| path.display().to_string()), "{events}");
    assert_eq!(gaps(&events).len(), 1, "{events}");
}
