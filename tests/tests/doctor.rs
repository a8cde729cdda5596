//! `guard doctor` against what guard really does on this machine.

use std::fs;

use serde_json::Value;
use support::guard::{Guarded, binary};
use support::kernel::require_kernel;
use support::run::Job;
use support::stage::{SECRET, Stage, text};

fn report() -> Value {
    let done = Job::new(binary(), std::path::Path::new("/")).args(["doctor", "--json"]).run();
    assert_eq!(done.code(), 0, "{}", done.err());
    serde_json::from_str(&done.out()).unwrap_or_else(|error| panic!("{error}: {}", done.out()))
}

/// What it says becomes of an operation: reach and backend.
fn says<'a>(report: &'a Value, what: &str) -> (&'a str, &'a str) {
    let operations = report["operations"].as_array().expect("a list");
    let found = operations.iter().find(|operation| operation["what"] == what);
    let operation = found.unwrap_or_else(|| panic!("nothing is said of {what}: {report}"));
    (text(operation, "/reach"), text(operation, "/backend"))
}

/// A denied open fails where it is said to be prevented, and its process dies where it is said to be contained; and the
/// event names the same backend.
#[test]
fn files_are_held_as_it_says() {
    require_kernel();
    let report = report();
    let stage = Stage::new("doctor");
    for (what, attempt, untouched) in [
        ("opening a file to read", ["read", "denied/secret"].as_slice(), true),
        ("opening a file to write", &["write", "denied/secret", "more"], true),
    ] {
        let Guarded { done, events } = stage.run(attempt);
        let event = events.denials().next().unwrap_or_else(|| panic!("{what}: {events}"));
        let (code, expected) = if done.code() == 1 { (1, "prevented") } else { (137, "contained") };
        assert_eq!(done.code(), code, "{what}: {}", done.err());
        assert_eq!(says(&report, what), (expected, text(event, "/verdict/backend")), "{what}: {event}");
        assert_eq!(fs::read_to_string(stage.secret()).expect("readable") == SECRET, untouched, "{what}");
    }
}

#[test]
fn connections_are_held_as_it_says() {
    require_kernel();
    let report = report();
    let stage = Stage::new("doctor");
    let rule = "[[rule]]\nname = \"net\"\non = [\"connect\"]\nto = [\"loopback\"]\naction = \"deny\"\n";
    let Guarded { done, events } = stage.guard(rule).run(&stage.job(["connect", "tcp:127.0.0.1:9"]));
    assert!(done.err().contains("EPERM"), "{}", done.err());
    let event = events.rule("net").next().expect("an event");
    let network = "TCP connections, UDP connections and datagrams, IPv4 and IPv6";
    assert_eq!(says(&report, network), ("prevented", text(event, "/verdict/backend")), "{event}");
}

/// What it names as the way to more is for this machine, and only where there is more to be had.
#[test]
fn it_says_what_would_lift_a_limit() {
    let report = report();
    let checks = report["checks"].as_array().expect("a list");
    let hooks = checks.iter().find(|check| check["name"] == "security hooks").expect("a check");
    let prevented = says(&report, "opening a file to read").0 == "prevented";
    assert_eq!(hooks["state"], if prevented { "good" } else { "less" }, "{hooks}");
    let listed = text(hooks, "/found").split([',', ';']).any(|module| module == "bpf");
    assert_eq!(text(hooks, "/remedy").contains(",bpf"), !listed && !prevented, "{hooks}");
    assert_eq!(report["hooks"].is_string(), prevented, "{report}");
    assert_eq!(report["runs"], true, "{report}");
}

/// Whoever may not load programs is told so, and that guard can't run for him.
#[test]
fn without_rights_it_says_what_is_missing() {
    let stage = Stage::new("doctor");
    let guard = stage.scratch().program(&binary(), "guard");
    let done = Job::new("setpriv", stage.path())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(guard)
        .args(["doctor"])
        .run();
    assert_eq!(done.code(), 1, "{}{}", done.out(), done.err());
    assert!(done.out().contains("missing  privileges"), "{}", done.out());
    assert!(done.out().contains("CAP_SYS_ADMIN"), "{}", done.out());
    assert!(done.out().ends_with("guard can't run here.\n"), "{}", done.out());
}
