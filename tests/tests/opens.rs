//! A denied file stays closed, by whatever call and under whatever name it is opened.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use support::stage::{FINE, REASON, SECRET, Stage, killed_in_silence, text};

/// Reads a file that may be read, then the denied one, by this call.
fn by(call: &str) -> Value {
    let stage = Stage::new("opens");
    let read = |file| stage.run(["read".into(), "--by".into(), call.into(), file]);
    let fine = read(stage.fine().into_os_string());
    assert_eq!((fine.done.code(), fine.done.out().as_str()), (0, FINE), "{call}: {}", fine.done.err());
    assert_eq!(fine.events.denials().count(), 0, "{}", fine.events);

    let denied = read(stage.secret().into_os_string());
    let event = killed_in_silence(&denied).clone();
    assert_eq!(fs::read_to_string(stage.secret()).expect("it is still there"), SECRET, "{call}");
    check(&event, &stage);
    event
}

/// What every such denial says.
fn check(event: &Value, stage: &Stage) {
    assert_eq!(event["path"], stage.secret().to_str().expect("a path of ASCII"), "{event}");
    let verdict = &event["verdict"];
    assert_eq!(
        (text(verdict, "/action"), text(verdict, "/rule"), text(verdict, "/reason"), text(verdict, "/backend")),
        ("deny", "secrets", REASON, "signal"),
        "{event}"
    );
    assert_eq!(verdict["enforced"], true, "{event}");
    assert_eq!(event["process"]["exe"], stage.attempt().to_str().expect("a path of ASCII"), "{event}");
    assert!(event["open"]["result"].as_i64().is_some_and(|fd| fd > 2), "{event}");
    assert!(event["open"]["flags"].is_u64(), "{event}");
}

/// An open for reading: the operation, and the flags without the ones that the C library adds.
fn is_read(event: &Value) {
    assert_eq!(event["op"], "read", "{event}");
    assert_eq!((&event["open"]["read"], &event["open"]["write"]), (&true.into(), &false.into()), "{event}");
    let access = event["open"]["flags"].as_i64().map(|flags| flags & i64::from(libc::O_ACCMODE));
    assert_eq!(access, Some(i64::from(libc::O_RDONLY)), "{event}");
    assert!(event["verdict"].get("happened").is_none(), "{event}");
}

#[test]
fn by_open() {
    is_read(&by("open"));
}

#[test]
fn by_openat() {
    is_read(&by("openat"));
}

#[test]
fn by_openat2() {
    is_read(&by("openat2"));
}

#[test]
fn by_handle_without_a_name() {
    is_read(&by("handle"));
}

#[test]
fn by_a_32_bit_call() {
    is_read(&by("compat"));
}

#[test]
fn by_a_descriptor_that_only_names_it() {
    is_read(&by("o-path"));
}

#[test]
fn by_io_uring() {
    is_read(&by("uring"));
    is_read(&by("uring2"));
}

#[test]
fn by_io_uring_in_a_worker_thread() {
    is_read(&by("uring-async"));
}

#[test]
fn by_io_uring_in_its_polling_thread() {
    is_read(&by("uring-polled"));
}

/// A file that is opened into the ring's own table can't be seen there: it is unknown, and what is unknown is denied.
#[test]
fn by_io_uring_without_a_descriptor() {
    let stage = Stage::new("opens");
    for call in ["uring-fixed", "uring-chain"] {
        let guarded = stage.run(["read".into(), "--by".into(), call.into(), stage.secret().into_os_string()]);
        let event = killed_in_silence(&guarded);
        assert_eq!((text(event, "/verdict/rule"), text(event, "/verdict/backend")), ("secrets", "signal"), "{event}");
        assert!(event.get("path").is_none(), "an unknown path is absent: {event}");
    }
}

/// creat opens for writing and truncates: that has happened by the time the signal comes, and is said.
#[test]
fn by_creat_which_truncates() {
    let stage = Stage::new("opens");
    let guarded = stage.run(["read".into(), "--by".into(), "creat".into(), stage.secret().into_os_string()]);
    let event = killed_in_silence(&guarded);
    check(event, &stage);
    assert_eq!(event["op"], "write", "{event}");
    assert_eq!(event["open"]["truncated"], true, "{event}");
    assert_eq!(event["verdict"]["happened"], serde_json::json!(["truncated"]), "{event}");
    assert!(guarded.done.err().contains("the file was truncated before"), "{}", guarded.done.err());
}

#[test]
fn what_an_open_does_at_once_is_recorded() {
    let stage = Stage::new("opens");
    for call in ["open", "openat", "openat2", "compat"] {
        stage.scratch().write("denied/secret", SECRET);
        let guarded = stage.run(["truncate".into(), "--by".into(), call.into(), stage.secret().into_os_string()]);
        let event = killed_in_silence(&guarded);
        check(event, &stage);
        assert_eq!(event["verdict"]["happened"], serde_json::json!(["truncated"]), "{call}: {event}");

        let made = stage.path().join("denied").join(call);
        let guarded = stage.run(["create".into(), "--by".into(), call.into(), made.clone().into_os_string()]);
        let event = killed_in_silence(&guarded);
        assert_eq!((&event["op"], &event["path"]), (&"write".into(), &made.to_str().into()), "{call}: {event}");
        assert_eq!(event["open"]["created"], true, "{call}: {event}");
        assert_eq!(event["verdict"]["happened"], serde_json::json!(["created"]), "{call}: {event}");
        assert!(made.exists(), "the event tells the truth");
    }
}

#[test]
fn writing_is_denied_too() {
    let stage = Stage::new("opens");
    for call in ["open", "openat", "openat2", "handle", "uring", "uring-async", "compat"] {
        let words = ["write".into(), "--by".into(), call.into(), stage.secret().into_os_string(), "more".into()];
        let guarded = stage.run(words);
        let event = killed_in_silence(&guarded);
        check(event, &stage);
        assert_eq!((&event["op"], &event["open"]["write"]), (&"write".into(), &true.into()), "{call}: {event}");
        assert_eq!(
            fs::read_to_string(stage.secret()).expect("it is there"),
            SECRET,
            "{call}: not a byte was written"
        );
    }
}

/// The name that was given is not the name that counts.
#[test]
fn by_other_names_for_the_same_path() {
    let stage = Stage::new("opens");
    let (scratch, secret) = (stage.scratch(), stage.secret());
    symlink(&secret, scratch.join("allowed/link")).expect("a symlink");
    symlink("link", scratch.join("allowed/link-to-link")).expect("a symlink");
    symlink("denied", scratch.join("folder")).expect("a symlink");
    let rooted = format!("/proc/self/root{}", secret.display());
    let names = [
        scratch.join("allowed/link"),
        scratch.join("allowed/link-to-link"),
        scratch.join("folder/secret"),
        rooted.into(),
        "/proc/thread-self/cwd/denied/secret".into(),
        "denied/secret".into(),
        "allowed/../denied/./secret".into(),
    ];
    for name in names {
        let guarded = stage.run(["read".into(), name.clone().into_os_string()]);
        let event = killed_in_silence(&guarded);
        check(event, &stage);
        is_read(event);
    }
}

/// A hard link is a name of its own: it is denied where that name is.
#[test]
fn by_a_hard_link_under_its_denied_name() {
    let stage = Stage::new("opens");
    fs::hard_link(stage.fine(), stage.path().join("denied/hard")).expect("a hard link");
    let guarded = stage.run(["read", "denied/hard"]);
    let event = killed_in_silence(&guarded);
    assert_eq!(event["path"], stage.path().join("denied/hard").to_str().expect("ASCII"), "{event}");
    let fine = stage.run(["read".into(), stage.fine().into_os_string()]).done;
    assert_eq!(fine.out(), FINE, "its other name is allowed: {}", fine.err());
}

/// A bind mount gives a file a second path. Both count, and the event says which of them it was.
#[test]
fn by_a_bind_mount_of_the_folder() {
    let stage = Stage::new("opens");
    fs::create_dir(stage.path().join("elsewhere")).expect("a folder");
    let mount = r#"mount --make-rprivate / && mount --bind "$stage/denied" "$stage/elsewhere" && exec "$@""#;
    let read = |file: &str| {
        let job =
            stage.job(["read", file]).under(["unshare", "-m", "sh", "-c", mount, "sh"]).env("stage", stage.path());
        stage.guard("").run(&job)
    };
    let guarded = read("elsewhere/secret");
    let event = killed_in_silence(&guarded);
    is_read(event);
    assert_eq!(event["inner_path"], true, "{event}");
    assert!(text(event, "/path").ends_with("/denied/secret"), "{event}");
    let guarded = read("denied/secret");
    assert_eq!(killed_in_silence(&guarded)["path"], stage.secret().to_str().expect("ASCII"));
}

/// The same in the other direction: an allowed folder, mounted where its files are denied.
#[test]
fn by_a_bind_mount_onto_a_denied_path() {
    let stage = Stage::new("opens");
    let mount = r#"mount --make-rprivate / && mount --bind "$stage/allowed" "$stage/denied" && exec "$@""#;
    let job = stage.job(["read", "denied/fine"]).under(["unshare", "-m", "sh", "-c", mount, "sh"]);
    let guarded = stage.guard("").run(&job.env("stage", stage.path()));
    let event = killed_in_silence(&guarded);
    assert_eq!(event["path"], stage.path().join("denied/fine").to_str().expect("ASCII"), "{event}");
}

/// What another process has opened is judged when it is taken.
#[test]
fn by_taking_a_descriptor_out_of_another_process() {
    let stage = Stage::new("opens");
    let secret = stage.secret().into_os_string();
    let job = stage.job(["race".into(), "--by".into(), "take".into(), "50".into(), secret]);
    let guarded = stage.guard("").run(&job);
    assert_eq!((guarded.done.code(), guarded.done.out().as_str()), (0, ""), "{}", guarded.done.err());
    guarded.events.none_lost();
    assert!(guarded.events.denials().count() >= 50, "{}", guarded.events);
}

/// A descriptor with a denied file behind it, and one without: only what grants access is judged.
#[test]
fn naming_a_file_without_access_is_nothing() {
    let stage = Stage::new("opens");
    let done = stage.guard("").run(&stage.script("test -r denied/secret && stat denied/secret && ls denied")).done;
    assert_eq!(done.code(), 0, "{}", done.err());
}
