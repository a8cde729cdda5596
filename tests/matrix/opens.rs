//! Opening files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use support::stage::{FINE, SECRET, text};

use crate::Check;
use crate::ground::{Ground, job};

pub const CHECKS: &[Check] = &[
    ("opens: an allowed file is read, and told of", allowed),
    ("opens: a denied file stays closed by every call", by_every_call),
    ("opens: and by a handle", by_handle),
    ("opens: and through io_uring where the kernel shows it", by_uring),
    ("opens: and under other names", by_other_names),
    ("opens: and under a bind mount", by_bind_mount),
    ("opens: writing is denied, creating and truncating told of", writing),
];

const SECRET_FILE: &str = "denied/secret";

/// What the event of a denied open says.
fn check(event: &Value, place: &Path, file: &str, op: &str) {
    assert_eq!(event["path"], place.join(file).to_str().expect("a path of ASCII"), "{event}");
    assert_eq!(event["op"], op, "{event}");
    assert_eq!(text(event, "/verdict/reason"), "Nobody's business.", "{event}");
    assert_eq!(event["process"]["exe"], place.join("agent").to_str().expect("a path of ASCII"), "{event}");
}

fn allowed(ground: &Ground) {
    for place in &ground.places {
        assert_eq!(ground.allowed(place, ["read", "allowed/fine"]), FINE);
        let path = place.join("allowed/fine").display().to_string();
        let event = ground.told("an allowed open", |event| event["path"] == path);
        assert_eq!((&event["op"], &event["verdict"]["action"]), (&json!("read"), &json!("allow")), "{event}");
    }
}

fn by_every_call(ground: &Ground) {
    for place in &ground.places {
        for call in ["open", "openat", "openat2", "o-path", "compat"] {
            assert_eq!(ground.allowed(place, ["read", "--by", call, "allowed/fine"]), FINE, "{call}");
            let event = ground.denied("secrets", place, ["read", "--by", call, SECRET_FILE]);
            check(&event, place, SECRET_FILE, "read");
        }
    }
}

/// Not on the disk: there may be a file system over it that has no handles.
fn by_handle(ground: &Ground) {
    let [_, memory] = &ground.places;
    let file = |name: &str| memory.join(name).display().to_string();
    assert_eq!(ground.allowed(memory, ["read", "--by", "handle", &file("allowed/fine")]), FINE);
    let event = ground.denied("secrets", memory, ["read", "--by", "handle", &file(SECRET_FILE)]);
    check(&event, memory, SECRET_FILE, "read");
}

/// Where the kernel doesn't show it, such an open is not seen: that is a limit, and told as one.
fn by_uring(ground: &Ground) {
    for place in &ground.places {
        for call in ["uring", "uring-async", "uring-polled", "uring2"] {
            let words = ["read", "--by", call, SECRET_FILE];
            if ground.kernel.sees_uring() {
                check(&ground.denied("secrets", place, words), place, SECRET_FILE, "read");
            } else {
                assert_eq!(ground.allowed(place, words), SECRET, "{call}");
            }
        }
    }
}

fn by_other_names(ground: &Ground) {
    for place in &ground.places {
        symlink(place.join(SECRET_FILE), place.join("allowed/link")).expect("a symlink");
        fs::hard_link(place.join("allowed/fine"), place.join("denied/hard")).expect("a hard link");
        let rooted = format!("/proc/self/root{}", place.join(SECRET_FILE).display());
        for name in ["allowed/link", "allowed/../denied/./secret", "/proc/thread-self/cwd/denied/secret", &rooted] {
            check(&ground.denied("secrets", place, ["read", name]), place, SECRET_FILE, "read");
        }
        check(&ground.denied("secrets", place, ["read", "denied/hard"]), place, "denied/hard", "read");
    }
}

/// Not in memory, where the folder's path inside its file system is another, and the mount the one that counts.
fn by_bind_mount(ground: &Ground) {
    for place in &ground.places {
        fs::create_dir(place.join("elsewhere")).expect("a folder");
        let script = r#"mount --bind "$place/denied" "$place/elsewhere" && exec ./agent read elsewhere/secret"#;
        let job = job(place, ["exec", "/usr/bin/unshare", "-m", "/bin/sh", "-c", script]);
        let event = ground.denied_job("secrets", &job);
        assert_eq!(event["inner_path"], true, "{event}");
        assert!(text(&event, "/path").ends_with("/denied/secret"), "{event}");
    }
}

fn writing(ground: &Ground) {
    for place in &ground.places {
        let event = ground.denied("secrets", place, ["write", SECRET_FILE, "more"]);
        check(&event, place, SECRET_FILE, "write");
        assert_eq!(fs::read_to_string(place.join(SECRET_FILE)).expect("it is there"), SECRET);

        let event = ground.denied("secrets", place, ["create", "denied/new"]);
        check(&event, place, "denied/new", "write");
        let happened = if ground.kernel.prevents() { Value::Null } else { json!(["created"]) };
        assert_eq!(event["verdict"]["happened"], happened, "{event}");
        assert_eq!(place.join("denied/new").exists(), !ground.kernel.prevents(), "{event}");

        fs::write(place.join("denied/lost"), SECRET).expect("written");
        let event = ground.denied("secrets", place, ["truncate", "denied/lost"]);
        check(&event, place, "denied/lost", "write");
        let (left, happened) =
            if ground.kernel.prevents() { (SECRET, Value::Null) } else { ("", json!(["truncated"])) };
        assert_eq!(fs::read_to_string(place.join("denied/lost")).expect("it is there"), left);
        assert_eq!(event["verdict"]["happened"], happened, "{event}");
    }
}
