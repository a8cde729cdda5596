//! Opens of protected files fail before they happen, where guard is asked by fanotify; and nobody else is kept waiting.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::api::Api;
use support::guard::{Daemon, Events, Guard};
use support::marks::{behind, marked, marks};
use support::run::{Finished, Job, Running};
use support::stage::{FINE, REASON, SECRET, Stage, text, until};

/// How long an open may wait for a guard that is stopped: what it may be silent for, and a machine that is busy.
const BOUND: Duration = Duration::from_secs(3);

/// A session that does nothing until it is told to go on.
struct Session {
    go: PathBuf,
    running: Running,
}

impl Session {
    /// The agent, which waits and then makes this attempt.
    fn start(stage: &Stage, words: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let go = stage.scratch().join(format!("go-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let front = ["after", go.to_str().expect("a path of ASCII")];
        let running = Job::new(stage.agent(), stage.path()).args(front).args(words).start();
        Self { go, running }
    }

    /// The same with a shell's script.
    fn script(stage: &Stage, script: &str) -> Self {
        Self::start(stage, &["in", "fork", "exec", "/bin/sh", "-c", script])
    }

    /// Goes on, to its end.
    fn go_on(mut self) -> Finished {
        fs::write(&self.go, "").expect("written");
        self.running.renew_limit();
        self.running.wait()
    }
}

/// A daemon by this stage's policy that is asked.
fn daemon(stage: &Stage, more: &str) -> Daemon {
    stage.guard(more).fanotify().daemon()
}

/// What is told of the one refusal there is.
fn refusal(events: &Events) -> &Value {
    events.none_lost();
    let denials: Vec<&Value> = events.denials().collect();
    assert_eq!(denials.len(), 1, "{events}");
    let verdict = &denials[0]["verdict"];
    assert_eq!((text(verdict, "/action"), text(verdict, "/backend")), ("deny", "fanotify"), "{events}");
    assert_eq!(verdict["enforced"], true, "{events}");
    denials[0]
}

#[test]
fn a_denied_file_can_not_be_opened_and_the_process_goes_on() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    assert!(daemon.stderr().contains("fanotify"), "{}", daemon.stderr());
    assert!(marks(daemon.pid()).is_empty(), "nothing is marked while nobody is guarded");
    let session = Session::script(&stage, "cat denied/secret; echo $?; cat allowed/fine");
    marked(daemon.pid(), &stage.secret());
    let machine = || Api::at(daemon.socket()).json("/v1/status")["machine"].clone();
    until("all places were searched", || machine()["marks"]["searched"] == true);
    assert!(machine()["marks"]["files"].as_u64().is_some_and(|files| files > 0), "{}", machine());
    assert_eq!(machine()["marks"]["backstop"].as_u64(), behind(daemon.pid()).map(u64::from));
    // Nobody else is kept from it.
    assert_eq!(fs::read_to_string(stage.secret()).expect("readable"), SECRET);
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (0, format!("1\n{FINE}").as_str()), "{}", done.err());
    assert!(done.err().contains("Operation not permitted"), "{}", done.err());
    until("the marks are gone with the session", || marks(daemon.pid()).is_empty());
    until("nobody stands behind it any more", || behind(daemon.pid()).is_none());
    let events = daemon.stop().events;
    let event = refusal(&events);
    assert_eq!(
        (text(event, "/op"), text(event, "/path")),
        ("read", stage.secret().to_str().expect("ASCII")),
        "{event}"
    );
    assert_eq!((text(event, "/verdict/rule"), text(event, "/verdict/reason")), ("secrets", REASON), "{event}");
    assert_eq!((&event["open"]["read"], &event["open"]["write"]), (&true.into(), &false.into()), "{event}");
    assert!(event["open"].get("result").is_none(), "{event}");
    assert!(event["process"]["exe"].as_str().is_some_and(|exe| exe.ends_with("/cat")), "{event}");
    assert!(event["process"]["uid"].is_u64() && event["process"]["ppid"].is_u64(), "{event}");
}

#[test]
fn by_whatever_call() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let calls = [
        "open",
        "openat",
        "openat2",
        "creat",
        "handle",
        "compat",
        "o-path",
        "uring",
        "uring2",
        "uring-async",
        "uring-polled",
        "uring-fixed",
    ];
    // With the last session the marks would go, and a look at them be late.
    let other = Session::start(&stage, &["read", "allowed/fine"]);
    for (number, call) in calls.into_iter().enumerate() {
        let session = Session::start(&stage, &["read", "--by", call, "denied/secret"]);
        marked(daemon.pid(), &stage.secret());
        let done = session.go_on();
        assert_eq!((done.code(), done.out().as_str()), (1, ""), "{call}: {}\n{}", done.err(), daemon.events());
        assert!(done.err().contains("EPERM"), "{call}: {}", done.err());
        assert_eq!(fs::read_to_string(stage.secret()).expect("readable"), SECRET, "{call}");
        until("it is told", || daemon.events().denials().count() > number);
    }
    assert_eq!(other.go_on().out(), FINE);
    let events = daemon.stop().events;
    events.none_lost();
    assert_eq!(events.denials().count(), calls.len(), "{events}");
    assert!(events.denials().all(|event| event["verdict"]["backend"] == "fanotify"), "{events}");
}

#[test]
fn what_would_be_truncated_keeps_its_content() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let session =
        Session::script(&stage, "(: > denied/secret); (echo x >> denied/secret); (: <> denied/secret); echo on");
    marked(daemon.pid(), &stage.secret());
    let done = session.go_on();
    assert_eq!(done.out(), "on\n", "{}", done.err());
    assert_eq!(fs::read_to_string(stage.secret()).expect("readable"), SECRET);
    let events = daemon.stop().events;
    let told: Vec<_> = events
        .denials()
        .map(|event| {
            assert!(event["verdict"].get("happened").is_none(), "{event}");
            (text(event, "/op"), event["open"]["truncated"] == true, event["open"]["read"] == true)
        })
        .collect();
    // Of what is opened for both, the first operation that is denied is told.
    assert_eq!(told, [("write", true, false), ("write", false, false), ("write", false, true)], "{events}");
}

#[test]
fn under_every_name_that_it_had() {
    let stage = Stage::new("fanotify");
    fs::hard_link(stage.secret(), stage.scratch().join("allowed/link")).expect("linked");
    let daemon = daemon(&stage, "");
    let session = Session::script(&stage, "cat allowed/link");
    marked(daemon.pid(), &stage.secret());
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (1, ""), "{}", done.err());
    let events = daemon.stop().events;
    let event = refusal(&events);
    assert_eq!(text(event, "/path"), stage.secret().to_str().expect("ASCII"), "{event}");
    assert_eq!(event["inner_path"], true, "{event}");
}

/// A name that a file had does not hold when it is called otherwise, and nothing denies that.
#[test]
fn a_file_that_was_renamed_is_what_it_is_called() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let session = Session::script(&stage, "cat allowed/moved");
    marked(daemon.pid(), &stage.secret());
    fs::rename(stage.secret(), stage.scratch().join("allowed/moved")).expect("renamed");
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (0, SECRET), "{}", done.err());
    assert_eq!(daemon.stop().events.denials().count(), 0);
}

#[test]
fn what_appears_while_a_session_runs_is_marked() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let script = "cat denied/new; cat denied/moved; cat denied/folder/deep/file; cat denied/made/file; echo on";
    let session = Session::script(&stage, script);
    marked(daemon.pid(), &stage.secret());
    stage.scratch().write("elsewhere/moved", SECRET);
    stage.scratch().write("folder/deep/file", SECRET);
    fs::rename(stage.scratch().join("elsewhere/moved"), stage.scratch().join("denied/moved")).expect("renamed");
    fs::rename(stage.scratch().join("folder"), stage.scratch().join("denied/folder")).expect("renamed");
    for name in ["denied/new", "denied/made/file"] {
        stage.scratch().write(name, SECRET);
    }
    for name in ["denied/new", "denied/moved", "denied/folder/deep/file", "denied/made/file"] {
        marked(daemon.pid(), &stage.scratch().join(name));
    }
    let done = session.go_on();
    assert_eq!(done.out(), "on\n", "{}", done.err());
    let events = daemon.stop().events;
    assert_eq!(events.denials().filter(|event| event["verdict"]["backend"] == "fanotify").count(), 4, "{events}");
}

const WRITES: &str = r#"
[[rule]]
name = "ci"
on = ["write"]
path = ["{stage}/allowed/ci.yml"]
action = "deny"
"#;

#[test]
fn what_may_not_be_written_stays_readable() {
    let stage = Stage::new("fanotify");
    let file = stage.scratch().write("allowed/ci.yml", FINE);
    let daemon = daemon(&stage, WRITES);
    let session = Session::script(
        &stage,
        "cat allowed/ci.yml; (: > allowed/ci.yml) || echo no; (: <> allowed/ci.yml) || echo no",
    );
    marked(daemon.pid(), &file);
    let done = session.go_on();
    assert_eq!(done.out(), format!("{FINE}no\nno\n"), "{}", done.err());
    assert_eq!(fs::read_to_string(&file).expect("readable"), FINE);
    // What such a call is for lies in memory that could change: it passes here, and is judged when it returns.
    let session = Session::start(&stage, &["read", "--by", "openat2", "allowed/ci.yml"]);
    marked(daemon.pid(), &file);
    assert_eq!(session.go_on().out(), FINE);
    let events = daemon.stop().events;
    assert!(
        events.rule("ci").all(|event| event["op"] == "write" && event["verdict"]["backend"] == "fanotify"),
        "{events}"
    );
    assert_eq!(events.denials().count(), 2, "{events}");
}

#[test]
fn what_is_executed_is_not_read() {
    let stage = Stage::new("fanotify");
    let program = stage.scratch().program(Path::new("/bin/echo"), "denied/program");
    let daemon = daemon(&stage, "");
    let session = Session::script(&stage, "denied/program runs; cat denied/program");
    marked(daemon.pid(), &program);
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (1, "runs\n"), "{}", done.err());
    refusal(&daemon.stop().events);
}

#[test]
fn a_verdict_that_ends_the_call_ends_it() {
    let stage = Stage::new("fanotify");
    let file = stage.scratch().write("allowed/trap", FINE);
    let rule = "[[rule]]\nname = \"trap\"\non = [\"read\"]\npath = [\"{stage}/allowed/trap\"]\naction = \"kill\"\n";
    let daemon = daemon(&stage, rule);
    let session = Session::script(&stage, "cat allowed/trap; echo on; sleep 60; echo on");
    marked(daemon.pid(), &file);
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (137, ""), "{}", done.err());
    let events = daemon.stop().events;
    let told: Vec<&Value> = events.rule("trap").collect();
    assert_eq!(told.len(), 1, "{events}");
    assert_eq!(
        (text(told[0], "/verdict/action"), text(told[0], "/verdict/backend")),
        ("kill", "fanotify"),
        "{events}"
    );
}

#[test]
fn in_audit_mode_nothing_is_refused_or_marked() {
    let stage = Stage::new("fanotify");
    let daemon = stage.guard("").fanotify().audit().daemon();
    let session = Session::script(&stage, "cat denied/secret");
    std::thread::sleep(Duration::from_millis(500));
    assert!(marks(daemon.pid()).is_empty());
    assert_eq!(session.go_on().out(), SECRET);
    let events = daemon.stop().events;
    assert!(events.denials().all(|event| event["verdict"]["enforced"] == false), "{events}");
    assert_eq!(events.denials().count(), 1, "{events}");
}

#[test]
fn a_reload_takes_marks_away_and_puts_them_there() {
    let stage = Stage::new("fanotify");
    let policy = stage.scratch().write("policy.toml", stage.policy(""));
    let daemon = Guard::of(stage.scratch(), policy.clone()).fanotify().daemon();
    let first = Session::script(&stage, "cat denied/secret");
    let second = Session::script(&stage, "cat denied/secret; cat allowed/fine");
    marked(daemon.pid(), &stage.secret());
    fs::write(&policy, stage.policy("").replace("/denied/**", "/allowed/**")).expect("written");
    marked(daemon.pid(), &stage.fine());
    let inode = fs::metadata(stage.secret()).expect("a file").ino();
    until("the mark is gone", || !marks(daemon.pid()).contains(&inode));
    assert_eq!(first.go_on().out(), SECRET);
    // What is marked for one session stays so when the other is over.
    until("the first session is over", || daemon.events().op("session-end").count() == 1);
    let done = second.go_on();
    assert_eq!((done.code(), done.out().as_str()), (1, SECRET), "{}", done.err());
    let events = daemon.stop().events;
    assert_eq!(text(refusal(&events), "/path"), stage.fine().to_str().expect("ASCII"));
}

#[test]
fn guard_itself_opens_what_is_marked() {
    let stage = Stage::new("fanotify");
    fs::create_dir(stage.scratch().join(".git")).expect("made");
    let ignore = stage.scratch().write(".codexignore", "ignored\n");
    let text = stage
        .policy("")
        .replace("version = 1", "version = 1\n[import]\ncodexignore = true")
        .replace("/denied/**\"]", &format!("/denied/**\", \"{}\"]", ignore.display()));
    let policy = stage.scratch().write("denied/policy.toml", &text);
    let daemon = Guard::of(stage.scratch(), policy.clone()).fanotify().daemon();
    let first = Session::script(&stage, "cat denied/policy.toml; cat .codexignore");
    marked(daemon.pid(), &policy);
    marked(daemon.pid(), &ignore);
    // Read by guard when it is changed, and when another session starts there.
    let since = Instant::now();
    daemon.signal(Signal::SIGHUP);
    until("it is read anew", || daemon.stderr().contains("the policy was read anew"));
    let second = Session::script(&stage, "cat ignored");
    until("the second session has begun", || daemon.events().op("session-start").count() == 2);
    assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
    let done = first.go_on();
    assert_eq!((done.code(), done.out().as_str()), (1, ""), "{}", done.err());
    drop(second.go_on());
    let done = daemon.stop().done;
    assert_eq!(done.code(), 0, "{}", done.err());
}

#[test]
fn a_guard_that_is_stopped_keeps_nobody_waiting() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let first = Session::script(&stage, "cat denied/secret; echo $?");
    let second = Session::script(&stage, "cat denied/secret; echo $?");
    marked(daemon.pid(), &stage.secret());
    daemon.signal(Signal::SIGSTOP);
    let since = Instant::now();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let secret = stage.secret();
            std::thread::spawn(move || fs::read_to_string(secret).expect("readable"))
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().expect("it has read"), SECRET);
    }
    assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
    // What was denied is so still: the programs judge.
    let done = first.go_on();
    assert_eq!(done.out(), "137\n", "{}", done.err());
    assert!(since.elapsed() < 2 * BOUND, "{:?}", since.elapsed());
    daemon.signal(Signal::SIGCONT);
    marked(daemon.pid(), &stage.secret());
    let done = second.go_on();
    assert_eq!(done.out(), "1\n", "{}", done.err());
    let guarded = daemon.stop();
    assert!(guarded.done.err().contains("silent for too long"), "{}", guarded.done.err());
    let backends: Vec<&str> = guarded.events.denials().map(|event| text(event, "/verdict/backend")).collect();
    assert_eq!(backends, ["signal", "fanotify"], "{}", guarded.events);
}

#[test]
fn a_guard_that_is_killed_keeps_nobody_waiting() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let session = Session::script(&stage, "true");
    marked(daemon.pid(), &stage.secret());
    let pid = daemon.pid();
    let behind = behind(pid).expect("a process stands behind it");
    // Somebody waits already when it is killed.
    daemon.signal(Signal::SIGSTOP);
    let secret = stage.secret();
    let since = Instant::now();
    let reader = std::thread::spawn(move || fs::read_to_string(secret).expect("readable"));
    std::thread::sleep(Duration::from_millis(50));
    drop(daemon.killed(Signal::SIGKILL));
    assert_eq!(reader.join().expect("it has read"), SECRET);
    assert!(since.elapsed() < Duration::from_millis(900), "{:?}", since.elapsed());
    until("the process behind it is gone", || !Path::new(&format!("/proc/{behind}")).exists());
    assert_eq!(fs::read_to_string(stage.secret()).expect("readable"), SECRET);
    drop(session.go_on());
}

#[test]
fn the_process_behind_is_replaced() {
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let session = Session::script(&stage, "cat denied/secret");
    marked(daemon.pid(), &stage.secret());
    let first = behind(daemon.pid()).expect("a process stands behind it");
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).expect("killed");
    until("there is another", || behind(daemon.pid()).is_some_and(|now| now != first));
    marked(daemon.pid(), &stage.secret());
    let done = session.go_on();
    assert_eq!((done.code(), done.out().as_str()), (1, ""), "{}", done.err());
    refusal(&daemon.stop().events);
}

#[test]
fn a_flood_of_opens_is_answered() {
    const THREADS: usize = 8;
    const TIMES: usize = 500;
    let stage = Stage::new("fanotify");
    let daemon = daemon(&stage, "");
    let session = Session::start(&stage, &["each", "--threads", "4", "250", "read", "denied/secret"]);
    marked(daemon.pid(), &stage.secret());
    let outsiders: Vec<_> = (0..THREADS)
        .map(|_| {
            let secret = stage.secret();
            std::thread::spawn(move || {
                let reads = (0..TIMES).filter(|_| fs::read(&secret).expect("readable") == SECRET.as_bytes());
                reads.count()
            })
        })
        .collect();
    let done = session.go_on();
    let read: usize = outsiders.into_iter().map(|outsider| outsider.join().expect("it has read")).sum();
    assert_eq!(read, THREADS * TIMES);
    assert_eq!(done.out(), "");
    let counts: Value = serde_json::from_str(done.err().lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&counts["done"], &counts["else"]), (&0.into(), &0.into()), "{counts}");
    // Under such a load a thread may not be asleep when it is looked at: then its open is contained.
    let refused = counts["refused"].as_u64().expect("a number");
    assert!(refused >= 900, "{counts}");
    let events = daemon.stop().events;
    events.none_lost();
    let by = |backend| events.denials().filter(|event| event["verdict"]["backend"] == backend).count() as u64;
    assert_eq!((by("fanotify"), by("fanotify") + by("signal")), (refused, 1000), "{counts}");
}

#[test]
fn a_command_that_is_run_under_guard_is_refused_too() {
    let stage = Stage::new("fanotify");
    let go = stage.scratch().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; cat denied/secret; echo $?", go.display());
    let guard = stage.guard("").fanotify();
    let running = guard.job(&stage.script(&script)).start();
    marked(running.pid(), &stage.secret());
    fs::write(&go, "").expect("written");
    let done = running.wait();
    assert_eq!((done.code(), done.out().as_str()), (0, "1\n"), "{}", done.err());
    refusal(&guard.events());
}
