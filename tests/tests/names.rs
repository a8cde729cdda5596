//! The names of files: what mounts give them, and which of them count.

use std::fs;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use support::run::Job;
use support::stage::{Stage, text};

/// What is in the folders of the stage may be read and written; nothing else may be written.
const STRICT: &str = r#"
    [[rule]]
    name = "keys"
    on = ["read", "write"]
    path = ["{stage}/own/keys/**"]
    action = "deny"

    [[rule]]
    name = "outside"
    on = ["write"]
    except = ["{repo}/**", "/dev/**", "/tmp/**", "/run/**"]
    action = "deny"
"#;

/// A mount namespace of this thread's own, in which nothing comes from or goes to others.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).expect("a namespace of our own");
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("mounts of our own");
                work()
            })
            .join()
            .expect("the test's thread")
    })
}

/// A filesystem of its own at `own`, with keys and a repository.
fn furnish(stage: &Stage) {
    let own = stage.path().join("own");
    fs::create_dir(&own).expect("a folder");
    mount(Some("none"), &own, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a filesystem");
    for folder in ["keys", "repo", ""] {
        fs::create_dir_all(own.join(folder)).expect("a folder");
        fs::write(own.join(folder).join("file"), "text\n").expect("a file");
    }
}

/// Whoever mounts the keys elsewhere still opens the keys, and the event says so.
#[test]
fn a_bind_mount_of_a_filesystem_apart() {
    let stage = Stage::new("names");
    apart(|| {
        furnish(&stage);
        let bind = "mkdir x && mount --make-rprivate / && mount --bind own/keys x";
        let read = stage.script(&format!("{bind} && ./attempt read x/file")).under(["unshare", "-m"]);
        let guarded = stage.guard(STRICT).run(&read);
        assert_eq!(guarded.done.out(), "", "{}", guarded.events);
        let event = guarded.events.rule("keys").next().expect("a denial");
        let key = stage.path().join("own/keys/file");
        assert_eq!((&event["path"], &event["inner_path"]), (&key.to_str().into(), &true.into()), "{event}");

        let whole = "mkdir y && mount --make-rprivate / && mount --rbind / y";
        let read = stage.script(&format!("{whole} && ./attempt read y{}", key.display())).under(["unshare", "-m"]);
        let guarded = stage.guard(STRICT).run(&read);
        assert_eq!(guarded.done.out(), "", "{}", guarded.events);
        assert_eq!(guarded.events.rule("keys").count(), 1, "{}", guarded.events);
    });
}

/// A program by another of its names is the program.
#[test]
fn a_program_by_another_name() {
    let stage = Stage::new("names");
    let rules = r#"
        [[rule]]
        name = "tools"
        on = ["exec"]
        path = ["{stage}/own/tools/**"]
        action = "deny"
    "#;
    apart(|| {
        furnish(&stage);
        let tools = stage.path().join("own/tools");
        fs::create_dir(&tools).expect("a folder");
        fs::copy("/bin/echo", tools.join("tool")).expect("a program");
        let script = "mkdir z && mount --make-rprivate / && mount --bind own/tools z && z/tool word";
        let guarded = stage.guard(rules).run(&stage.script(script).under(["unshare", "-m"]));
        assert_eq!(guarded.done.out(), "", "{}", guarded.events);
        assert_eq!(guarded.events.rule("tools").count(), 1, "{}", guarded.events);
    });
}

/// What the administrator has mounted at two places has both names, and rules may say either.
#[test]
fn two_names_by_the_machines_own_mounts() {
    let stage = Stage::new("names");
    let rules = r#"
        [[rule]]
        name = "also"
        on = ["read"]
        path = ["{stage}/also/**"]
        action = "deny"
    "#;
    apart(|| {
        furnish(&stage);
        let (repo, also) = (stage.path().join("own/repo"), stage.path().join("also"));
        fs::create_dir(&also).expect("a folder");
        mount(Some(&repo), &also, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
        for file in ["own/repo/file", "also/file"] {
            let guarded = stage.guard(rules).run(&stage.job(["read", file]));
            assert_eq!((guarded.done.out().as_str(), guarded.done.code()), ("", 137), "{file}");
            assert_eq!(guarded.events.rule("also").count(), 1, "{file}: {}", guarded.events);
        }
        // Where its own name is allowed, an exception by the other one holds.
        let rules = rules.replace(
            r#"path = ["{stage}/also/**"]"#,
            r#"except = ["/usr/**", "/lib*/**", "/etc/**", "/proc/**", "{stage}/attempt", "{stage}/also/**"]"#,
        );
        let guarded = stage.guard(&rules).run(&stage.job(["read", "also/file"]));
        assert_eq!(guarded.done.out(), "text\n", "{}", guarded.events);
    });
}

/// A session that begins with mounts of its own, as in a container: they are names, those that it makes are not.
#[test]
fn mounts_that_a_session_begins_with() {
    let stage = Stage::new("names");
    let daemon = apart(|| {
        furnish(&stage);
        let work = stage.path().join("work");
        // Where the repository is, as guard sees it.
        fs::create_dir_all(work.join(".git")).expect("a folder");
        let daemon = stage.guard(STRICT).daemon();
        let agent = stage.agent();
        let session = |script: &str| {
            let begins = "mount --make-rprivate / && mount --bind own/repo work && cd work && exec ../agent in fork exec /bin/sh -c \"$0\"";
            Job::new("sh", stage.path()).args(["-c", begins, script]).under(["unshare", "-m"]).run()
        };
        assert!(agent.exists());
        let until_denied =
            |attempt: &str| format!("for i in $(seq 200); do {attempt} 2>&1 || exit 7; sleep 0.05; done");
        // Its own files, by the name that it began with, also after a while.
        let done = session("for i in 1 2 3 4 5; do ../attempt write file x || exit 7; sleep 0.1; done; cat file");
        assert_eq!((done.code(), done.out().as_str()), (0, "text\nxxxxx"), "{}\n{}", done.err(), daemon.events());
        // What it mounts is what it was.
        for bound in ["keys", "."] {
            let made = format!("mkdir y && mount --bind ../own/{bound} y && ");
            let done = session(&(made + &until_denied("../attempt write y/file x")));
            assert_eq!(done.code(), 7, "{bound}: {}\n{}", done.err(), daemon.events());
            fs::remove_dir_all(stage.path().join("own/repo/y")).expect("the mount point is left");
        }
        daemon
    });
    let guarded = daemon.stop();
    let rules: Vec<&str> = guarded.events.denials().map(|event| text(event, "/verdict/rule")).collect();
    assert!(rules.contains(&"keys") && rules.contains(&"outside"), "{rules:?}");
}

/// A filesystem that is mounted while guard runs is taken note of.
#[test]
fn a_filesystem_that_is_mounted_later() {
    let stage = Stage::new("names");
    apart(|| {
        let daemon = stage.guard(STRICT).daemon();
        let _linked = stage.agent();
        furnish(&stage);
        let read = "mount --make-rprivate / && mount --bind own/keys x && exec ./agent read x/file";
        let deadline = Instant::now() + Duration::from_secs(30);
        fs::create_dir(stage.path().join("x")).expect("a folder");
        // guard is told of the mount at once, and looks when it gets to it.
        while stage.script(read).under(["unshare", "-m"]).run().out() != "" {
            assert!(Instant::now() < deadline, "{}", daemon.events());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(text(daemon.stop().events.denials().next().expect("a denial"), "/verdict/rule"), "keys");
    });
}
