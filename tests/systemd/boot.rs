//! The machine has booted with the service in its image.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;
use support::api::Api;
use support::guard::binary;
use support::run::Job;
use support::stage::text;

use crate::Step;
use crate::ground::{EVENTS, Ground, INSTALLED, events};
use crate::manager::{UNIT, daemon, journal, number, of_unit, said, wait};

pub const STEPS: &[Step] = &[
    ("it enforces before anybody logs in", enforces),
    ("systemd finds nothing wrong with it", verified),
    ("status says what is so, to everybody", status),
    ("what the unit takes away hinders nothing", unhindered),
    ("a denial is a denial, an event, and a warning in the journal", denial),
    ("rotated by what logrotate is told, the events go on in a new file", rotation),
];

/// Its control API.
const SOCKET: &str = "/run/guard/guard.sock";

fn enforces(_: &Ground) {
    let found = ["LoadState", "UnitFileState", "ActiveState", "SubState", "Type", "Result", "NRestarts"].map(of_unit);
    assert_eq!(found, ["loaded", "enabled", "active", "running", "notify", "success", "0"]);
    // Active is what has said that it is ready: notified, with what guards.
    assert!(of_unit("StatusText").starts_with("mode enforce, by lsm"), "{}", of_unit("StatusText"));
    let (began, ready) =
        (number(UNIT, "InactiveExitTimestampMonotonic"), number(UNIT, "ActiveEnterTimestampMonotonic"));
    let logins = number("systemd-user-sessions.service", "InactiveExitTimestampMonotonic");
    assert!(began < ready && ready <= logins, "began {began}, ready {ready}, logins from {logins}");
    println!("        ready {:.1} s after its start", (ready - began) as f64 / 1e6);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", daemon())).expect("it runs"), Path::new(INSTALLED));
    said(6, "guarding codex on this machine, mode enforce, by ");
    // Not a word of complaint, such as that there are no pins.
    let complaints: Vec<_> = journal().into_iter().filter(|(priority, _)| *priority < 6).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn verified(_: &Ground) {
    let verified = Job::new("systemd-analyze", Path::new("/")).args(["verify", "--man=no", UNIT]).run();
    let words: Vec<_> = verified.err().lines().filter(|line| line.contains("guard")).map(str::to_owned).collect();
    assert!(verified.status.success() && words.is_empty(), "{}\n{}", verified.status, verified.err());
    let judged = Job::new("systemd-analyze", Path::new("/")).args(["security", "--no-pager", UNIT]).run();
    let out = judged.out();
    let figure = out.lines().find_map(|line| line.split_once("Overall exposure level for guard.service: "));
    println!("        exposed {}", figure.unwrap_or_else(|| panic!("{out}\n{}", judged.err())).1);
    let figure: f64 = figure.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).expect("a number");
    assert!(figure <= 3.0, "{out}");
}

fn status(_: &Ground) {
    let ask = |front: &[&str]| {
        let job = Job::new(INSTALLED, Path::new("/")).args(["service", "status"]).under(front);
        let done = job.run();
        assert_eq!(done.code(), 0, "{}{}", done.out(), done.err());
        let expected = [
            "unit      guard.service, enabled, active (running)\n".to_owned(),
            format!("daemon    process {}, guard ", daemon()),
            "enforcing yes, by lsm".to_owned(),
            format!("policy    {}, rules ", crate::ground::POLICY),
        ];
        for part in expected {
            assert!(done.out().contains(&part), "{part}\n{}", done.out());
        }
        done.out()
    };
    let of_root = ask(&[] as &[&str]);
    assert!(of_root.contains("\nsessions  0\n"), "{of_root}");
    let of_nobody = ask(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    assert!(of_nobody.contains("\nsessions  0 of yours; root sees all\n"), "{of_nobody}");
}

fn unhindered(_: &Ground) {
    let pid = daemon();
    let of_process = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let of_process = |key: &str| {
        let line = of_process.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{key}"));
        line.trim_start_matches(':').trim().to_owned()
    };
    // CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
    let capabilities = 1_u64 << 2 | 1 << 5 | 1 << 19 | 1 << 21;
    assert_eq!(u64::from_str_radix(&of_process("CapEff"), 16), Ok(capabilities));
    assert_eq!([of_process("NoNewPrivs"), of_process("Seccomp")], ["1", "2"]);
    let folders = [("/run/guard", 0o755), ("/var/log/guard", 0o750), ("/var/lib/guard", 0o755)];
    for (folder, mode) in folders {
        let about = fs::metadata(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert_eq!((about.permissions().mode() & 0o777, about.uid()), (mode, 0), "{folder}");
    }
    // What it can, it says; the same as a guard without limits.
    let without = Job::new(binary(), Path::new("/")).args(["doctor", "--json"]).run().succeeded();
    let without: Value = serde_json::from_str(&without.out()).expect("JSON");
    let within = Api::at(Path::new(SOCKET)).get("/v1/doctor").json();
    for part in ["hooks", "operations"] {
        assert!(without[part] == within[part], "{part}\nwithin the unit {}\nwithout {}", within[part], without[part]);
    }
    // Pins, by which it goes on when it is killed.
    assert!(fs::read_dir("/sys/fs/bpf/guard").is_ok_and(|mut pins| pins.next().is_some()), "no pins");
}

fn denial(ground: &Ground) {
    ground.refused(&ground.codex, &["read", ".env"]);
    ground.allowed(&ground.codex, &["read", "allowed/fine"]);
    let path = ground.stage.path().join(".env").display().to_string();
    wait("the event", || {
        events().rule("secrets").any(|event| {
            event["path"] == path.as_str()
                && text(event, "/verdict/backend") == "lsm"
                && event["verdict"]["enforced"] == true
        })
    });
    said(4, "refused codex [");
    let warnings = Job::new("journalctl", Path::new("/"))
        .args(["--unit", "guard", "--priority", "warning", "--output", "cat", "--no-pager"])
        .run()
        .succeeded()
        .out();
    assert!(warnings.contains(&path) && !warnings.contains("guarding codex"), "{warnings}");
}

/// As deploy/logrotate/guard says.
fn rotation(ground: &Ground) {
    let rotated = fs::read_to_string("/etc/logrotate.d/guard").expect("it is installed");
    let script = rotated.split_once("postrotate\n").and_then(|(_, rest)| rest.split_once("endscript"));
    let (script, _) = script.unwrap_or_else(|| panic!("{rotated}"));
    let old = "/var/log/guard/events.jsonl.1";
    fs::rename(EVENTS, old).expect("moved");
    drop(Job::new("sh", Path::new("/")).args(["-c", script]).run().succeeded());
    wait("a new file", || Path::new(EVENTS).exists());
    ground.refused(&ground.codex, &["read", ".env"]);
    wait("an event in it", || events().rule("secrets").count() == 1);
    assert_eq!(fs::metadata(EVENTS).expect("a file").permissions().mode() & 0o777, 0o600);
    fs::remove_file(old).expect("removed");
}
