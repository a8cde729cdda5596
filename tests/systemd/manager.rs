//! systemd, as an administrator asks and tells it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::run::{Finished, Job};

/// The unit.
pub const UNIT: &str = "guard.service";
/// Long enough for the daemon to start in an emulated machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What systemctl makes of it.
pub fn systemctl(arguments: &[&str]) -> Finished {
    Job::new("systemctl", Path::new("/")).args(arguments).run()
}

/// A property of a unit; empty where it has none.
pub fn property(unit: &str, name: &str) -> String {
    let shown = systemctl(&["show", "--value", "--property", name, unit]).succeeded();
    shown.out().trim().to_owned()
}

/// A property of guard's unit.
pub fn of_unit(name: &str) -> String {
    property(UNIT, name)
}

/// The daemon's process.
pub fn daemon() -> u32 {
    of_unit("MainPID").parse().expect("a number")
}

/// A number among the properties of a unit, such as a moment.
pub fn number(unit: &str, name: &str) -> u64 {
    let value = property(unit, name);
    value.parse().unwrap_or_else(|error| panic!("{name} of {unit} is {value:?}: {error}"))
}

/// Waits until another daemon than this one enforces; its process.
pub fn successor(of: u32) -> u32 {
    wait("another daemon", || daemon() != of && of_unit("ActiveState") == "active");
    daemon()
}

/// Waits until something is so, as long as it may take in an emulated machine.
pub fn wait(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}\n{}", journal_text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the daemons have said, as priorities and messages, oldest first.
pub fn journal() -> Vec<(u8, String)> {
    let said = Job::new("journalctl", Path::new("/"))
        .args(["--unit", UNIT, "--no-pager", "--output=json", "--quiet"])
        .run()
        .succeeded()
        .out();
    let parse =
        |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) };
    let of_daemon = |entry: &Value| entry["_COMM"] == "guard" || entry["SYSLOG_IDENTIFIER"] == "guard";
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    said.lines()
        .map(parse)
        .filter(of_daemon)
        .map(|entry| (text(&entry["PRIORITY"]).parse().unwrap_or(u8::MAX), text(&entry["MESSAGE"])))
        .collect()
}

/// Waits until a daemon has said this, with this priority.
pub fn said(priority: u8, part: &str) {
    wait(&format!("<{priority}>{part}"), || {
        journal().iter().any(|(found, message)| *found == priority && message.contains(part))
    });
}

/// The last of the journal as people read it, of the unit and of systemd about it.
pub fn journal_text() -> String {
    Job::new("journalctl", Path::new("/")).args(["--unit", UNIT, "--no-pager", "--lines=60"]).run().out()
}

/// Whether systemd has said this about the unit.
pub fn systemd_said(part: &str) -> bool {
    let said = Job::new("journalctl", Path::new("/")).args(["--unit", UNIT, "--no-pager", "--output=cat", "--quiet"]);
    said.run().succeeded().out().lines().any(|line| line.starts_with(UNIT) && line.contains(part))
}
