//! `guard doctor` against what becomes of attempts: each thing that it says is tried.

use std::path::Path;

use serde_json::Value;
use support::guard::{Guarded, binary};
use support::run::Job;
use support::stage::text;

use crate::Check;
use crate::entries::fresh;
use crate::ground::Ground;
use crate::rights::victim;

pub const CHECKS: &[Check] = &[("doctor: what becomes of a denial is what it says", as_said)];

/// What it calls the work on names that came to `io_uring` with 5.11.
const NAMES_BY_URING: &str = "removing, renaming, linking or making folders through io_uring";

/// What it calls an operation, and a denied attempt at it. `PID` stands for somebody else's process.
const ATTEMPTS: &[(&str, &[&str])] = &[
    ("opening a file to read", &["read", "denied/secret"]),
    ("opening a file to write", &["write", "denied/secret", "more"]),
    ("opening a file to read through io_uring", &["read", "--by", "uring", "denied/secret"]),
    ("executing a program", &["exec", "tools/forbidden", "sleep", "1"]),
    ("TCP connections, UDP connections and datagrams, IPv4 and IPv6", &["connect", "tcp:127.9.0.1:9"]),
    ("binding a socket to an internet address", &["listen", "7009"]),
    ("moving a file that may not be read to a name where it may be", &["rename", "denied/secret", "open/new"]),
    ("moving a folder with what may not be read to a name where it may be", &["rename", "outer", "open/new"]),
    ("truncating a file by its name", &["cut", "denied/secret"]),
    ("making a file, device node, named pipe or unix socket", &["make", "pipe", "kept/new"]),
    ("making a folder", &["mkdir", "kept/new"]),
    ("removing a file", &["unlink", "kept/file"]),
    ("removing a folder", &["rmdir", "kept/empty"]),
    ("replacing a file by renaming another", &["rename", "open/other", "once/file"]),
    (NAMES_BY_URING, &["unlink", "--uring", "kept/file"]),
    ("renaming a file or folder", &["rename", "kept/file", "open/new"]),
    ("making a hard link", &["link", "kept/file", "open/new"]),
    ("making a symbolic link", &["symlink", "file", "kept/new"]),
    ("changing permissions", &["chmod", "kept/file"]),
    ("changing owner or group", &["chown", "kept/file"]),
    ("sending a signal out of the session", &["kill", "PID"]),
    ("setting a limit of a process outside the session", &["limit", "PID"]),
    ("tracing a process, using its memory or taking its descriptors", &["attach", "PID"]),
    ("mounting", &["mount", "kept/empty"]),
    ("making a user namespace", &["exec", "./careful", "user-namespace"]),
    ("becoming root", &["exec", "./careful", "become-root"]),
    ("calling bpf", &["exec", "./careful", "bpf"]),
];

fn as_said(ground: &Ground) {
    let [_, memory] = &ground.places;
    let done = Job::new(binary(), Path::new("/")).args(["doctor", "--json"]).run();
    let report: Value = serde_json::from_str(&done.out()).unwrap_or_else(|error| panic!("{error}: {}", done.err()));
    assert_eq!((done.code(), &report["runs"]), (0, &true.into()), "{report}");
    let said = report["operations"].as_array().expect("a list");
    for (what, words) in ATTEMPTS {
        if *what == NAMES_BY_URING && ground.kernel.version() < (5, 11) {
            // There is no such thing yet.
            continue;
        }
        let Some(said) = said.iter().find(|operation| operation["what"] == *what) else {
            // Of what hooks see anyway it says nothing.
            assert!(ground.kernel.prevents() && what.contains("io_uring"), "{what}: {report}");
            continue;
        };
        fresh(memory);
        let victim = victim(memory);
        let pid = victim.pid().to_string();
        let Guarded { done, events } =
            ground.attempt(memory, words.iter().map(|word| if *word == "PID" { pid.as_str() } else { word }));
        let backends: Vec<&str> = events.denials().map(|event| text(event, "/verdict/backend")).collect();
        let became = match (done.code(), backends.as_slice()) {
            (1, [backend]) => ("prevented", *backend),
            (137, [backend]) => ("contained", *backend),
            (0, []) => ("not seen", ""),
            _ => panic!("{what}: exit {}, {}\n{events}", done.code(), done.err()),
        };
        assert_eq!((text(said, "/reach"), text(said, "/backend")), became, "{what}: {events}");
    }
}
