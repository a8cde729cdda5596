//! The command line as people meet it: exit codes, messages, whom a command runs as, what happens when things go wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::guard::{Events, Guard, binary};
use support::kernel::require_kernel;
use support::place::Scratch;
use support::run::{Finished, Job};

const POLICY: &str = r#"
version = 1

[[rule]]
name = "keys"
on = ["read"]
path = ["**/guard-cli-test.key"]
action = "deny"
reason = "Keys stay here."
"#;

/// Runs guard with these arguments.
fn guard(scratch: &Scratch, arguments: &[&str]) -> Finished {
    require_kernel();
    Job::new(binary(), scratch.path()).args(arguments).run()
}

#[test]
fn the_exit_code_is_the_command_s_own() {
    let scratch = Scratch::new("cli-codes");
    let run = |script: &str| guard(&scratch, &["run", "--", "sh", "-c", script]);
    assert_eq!(run("exit 0").code(), 0);
    assert_eq!(run("exit 42").code(), 42);
    // A shell that is killed by SIGTERM: 128 + 15.
    assert_eq!(run("kill -TERM $$").code(), 143);
    let missing = guard(&scratch, &["run", "--", "guard-no-such-command"]);
    assert_eq!(missing.code(), 127, "{}", missing.err());
    assert!(missing.err().contains("guard-no-such-command"), "{}", missing.err());
    let plain = scratch.write("plain", "no program");
    let plain = guard(&scratch, &["run", "--", plain.to_str().expect("a path")]);
    assert_eq!(plain.code(), 126, "{}", plain.err());
}

#[test]
fn a_bad_policy_is_told_with_its_place_and_nothing_is_started() {
    let scratch = Scratch::new("cli-policy");
    let policy = scratch.write("policy.toml", POLICY.replace("path =", "pth ="));
    let marker = scratch.join("started");
    let done = Job::new(binary(), scratch.path())
        .args(["run", "--policy"])
        .arg(&policy)
        .args(["--", "touch"])
        .arg(&marker)
        .run();
    assert_eq!(done.code(), 125, "{}", done.err());
    let place = format!("{}:7:1", policy.display());
    assert!(done.err().contains(&place), "{place} is not in\n{}", done.err());
    assert!(done.err().contains("did you mean `path`?"), "{}", done.err());
    assert!(!marker.exists(), "the command was started");
    let absent = guard(&scratch, &["run", "--policy", "absent.toml", "--", "true"]);
    assert_eq!(absent.code(), 125);
    assert!(absent.err().contains("absent.toml"), "{}", absent.err());
}

/// A copy of guard that anybody may run, in a folder that anybody may enter.
struct Public(tempfile::TempDir);

impl Public {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("a folder of ours");
        let copy = folder.path().join("guard");
        fs::copy(binary(), &copy).expect("guard can be copied");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        Self(folder)
    }
}

#[test]
fn without_root_the_missing_capabilities_are_named() {
    require_kernel();
    let public = Public::new();
    let done = Job::new("setpriv", public.0.path())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(public.0.path().join("guard"))
        .args(["run", "--", "true"])
        .run();
    assert_eq!(done.code(), 125, "{}", done.err());
    for word in ["CAP_SYS_ADMIN", "CAP_KILL", "sudo"] {
        assert!(done.err().contains(word), "{word} is not in\n{}", done.err());
    }
}

#[test]
fn under_sudo_the_command_runs_as_the_person_who_called() {
    require_kernel();
    let public = Public::new();
    let job = Job::new(public.0.path().join("guard"), public.0.path())
        .args(["run", "--", "sh", "-c", "id -u; id -g; id -G; echo $HOME; echo $KEPT"])
        // As sudo sets them, for a user that every Debian has.
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("HOME", "/root")
        .env("KEPT", "kept");
    let done = job.run().succeeded();
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines, ["65534", "65534", "65534", "/nonexistent", "kept"]);
}

#[test]
fn an_interrupt_is_the_command_s_to_answer() {
    let scratch = Scratch::new("cli-interrupt");
    let guard = Guard::new(&scratch, POLICY);
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let running = guard.job(&Job::new("sh", scratch.path()).args(["-c", script])).start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !running.stdout().contains("ready") {
        assert!(Instant::now() < deadline, "the command does not start: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The terminal would send it to both. guard stays, and answers with the command's code.
    running.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(200));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).expect("guard runs on");
    let child = children.split_whitespace().next().expect("the command runs on").parse().expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGINT).expect("the command runs on");
    let done = running.wait();
    assert_eq!((done.code(), done.out().as_str()), (7, "ready\ncaught\n"), "{}", done.err());
}

#[test]
fn a_full_disk_stops_neither_guard_nor_the_command() {
    let scratch = Scratch::new("cli-full");
    let key = scratch.write("guard-cli-test.key", "a secret");
    let policy = scratch.write("policy.toml", POLICY);
    let done = Job::new(binary(), scratch.path())
        .args(["run", "--events", "/dev/full", "--policy"])
        .arg(policy)
        .args(["--", "sh", "-c"])
        .arg(format!("cat {}; echo went on", key.display()))
        .run();
    assert_eq!((done.code(), done.out().as_str()), (0, "went on\n"), "{}", done.err());
    assert!(done.err().contains("could not be written"), "{}", done.err());
    assert!(done.err().contains("Keys stay here."), "{}", done.err());
}

#[test]
fn events_go_to_standard_output_and_verdicts_are_json_when_asked() {
    let scratch = Scratch::new("cli-json");
    let key = scratch.write("guard-cli-test.key", "a secret");
    let policy = scratch.write("policy.toml", POLICY);
    let job = |flags: &[&str]| {
        Job::new(binary(), scratch.path())
            .args(["run", "--policy"])
            .arg(&policy)
            .args(flags)
            .args(["--", "cat"])
            .arg(&key)
            .run()
    };
    let done = job(&["--events", "-"]);
    let events = Events::parse(&done.out());
    assert_eq!(done.code(), 137);
    assert_eq!(events.rule("keys").count(), 1, "{events}");
    assert!(events.op("session-start").count() == 1 && events.op("session-end").count() == 1, "{events}");
    let done = job(&["--json"]);
    let verdicts = Events::parse(&done.err());
    assert_eq!(verdicts.rule("keys").count(), 1, "{}", done.err());
}
