//! A policy is replaced while it is in use: no moment of the old and none of the new.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::guard::{Guard, Guarded, binary};
use support::run::Job;
use support::stage::{FINE, SECRET, Stage, until};

/// Everything is denied but what has a rule, and the rules are in another order in each of the two: an open that is decided
/// by neither, or by the automata of one and the rules of the other, is denied.
fn policy(stage: &Stage, odd: bool) -> String {
    let system = r#"
        [[rule]]
        name = "system"
        on = ["read", "write"]
        path = ["/{usr,lib,lib64,etc,proc,dev,sys}/**", "{stage}/agent", "{stage}/stop"]
        action = "allow"
    "#;
    let fine = r#"
        [[rule]]
        name = "fine"
        on = ["read"]
        path = ["{stage}/allowed/**"]
        by = ["{stage}/agent"]
        action = "allow"
    "#;
    let never = |name: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\non = [\"read\"]\npath = [\"/{name}/**\"]\nby = [\"/{name}/x\"]\naction = \"deny\"\n"
        )
    };
    let (first, second, third) = (never("one"), never("two"), never("three"));
    let rules = if odd { [fine, &first, system, &second] } else { [&third, &first, fine, system] };
    stage.policy(&format!("[default]\nread = \"deny\"\n\n{}", rules.join("\n")))
}

#[test]
fn a_hundred_reloads_under_load() {
    const RELOADS: usize = 100;
    let stage = Stage::new("reload");
    let file = stage.scratch().write("policy.toml", policy(&stage, false));
    let daemon = Guard::of(stage.scratch(), file.clone()).unrecorded().daemon();
    let spin = ["spin", "stop", "allowed/fine"];
    let running: Vec<_> = (0..4).map(|_| Job::new(stage.agent(), stage.path()).args(spin).start()).collect();
    // And one that executes all the time, for what is executed while a policy changes is classed by both.
    let execs = Job::new(stage.agent(), stage.path()).args(["each", "400", "read", "allowed/fine"]).start();
    for number in 0..RELOADS {
        let new = stage.scratch().write("new.toml", policy(&stage, number % 2 == 0));
        fs::rename(new, &file).expect("renamed");
        daemon.signal(Signal::SIGHUP);
        until("it is read", || daemon.stderr().matches("read anew").count() > number);
    }
    fs::write(stage.path().join("stop"), "").expect("written");
    for job in running {
        let done = job.wait();
        assert_eq!(done.code(), 0, "an open was denied: {}\n{}", done.err(), daemon.stderr());
        let opened = done.err().split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse::<u64>().ok());
        assert!(opened.is_some_and(|opened| opened > 1000), "{}", done.err());
    }
    let done = execs.wait();
    assert!(done.err().contains(r#"{"done":400,"refused":0,"killed":0,"else":0}"#), "{}", done.err());
    let Guarded { done, .. } = daemon.stop();
    assert!(done.err().contains("nothing to object to"), "{}", done.err());
    // Now and then one change is taken up twice: because of the signal, and because the file has changed.
    assert!(done.err().matches("read anew").count() >= RELOADS, "{}", done.err());
}

/// Nobody has to say that the file has changed, however that was done.
#[test]
fn a_changed_file_is_read_by_itself() {
    let stage = Stage::new("reload");
    let folder = stage.path().join("config");
    fs::create_dir(&folder).expect("made");
    let deny = |what: &str| stage.policy("").replace("/denied/**", &format!("/{what}/**"));
    let read = |file: &str| Job::new(stage.agent(), stage.path()).args(["read", file]).run().out();
    let policy = stage.scratch().write("config/policy.toml", deny("denied"));
    let daemon = Guard::of(stage.scratch(), policy.clone()).daemon();
    let in_force = |what: &str, number: usize| {
        until(what, || daemon.stderr().matches("read anew").count() == number);
        (read("denied/secret"), read("allowed/fine"))
    };
    let (denied, allowed) = ((String::new(), FINE.to_owned()), (SECRET.to_owned(), String::new()));
    assert_eq!(in_force("the first", 0), denied);

    fs::write(&policy, deny("allowed")).expect("written");
    assert_eq!(in_force("written in place", 1), allowed);

    let new = stage.scratch().write("config/new.toml", deny("denied"));
    fs::rename(new, &policy).expect("renamed");
    assert_eq!(in_force("replaced", 2), denied);

    // As a cluster mounts it: a link to a link to a folder, which is replaced as a whole.
    for (number, what) in [(3, "allowed"), (4, "denied")] {
        let version = format!("config/v{number}");
        stage.scratch().write(format!("{version}/policy.toml"), deny(what));
        let link = folder.join("..new");
        std::os::unix::fs::symlink(format!("v{number}"), &link).expect("linked");
        fs::rename(link, folder.join("..data")).expect("renamed");
        if number == 3 {
            let link = folder.join("link");
            std::os::unix::fs::symlink("..data/policy.toml", &link).expect("linked");
            fs::rename(link, &policy).expect("renamed");
        }
        assert_eq!(in_force("the link", number), if number == 3 { allowed.clone() } else { denied.clone() });
    }

    fs::write(folder.join("..data/policy.toml"), "version = 1\nnonsense = 1\n").expect("written");
    // Below the link nobody looks: whoever writes there says so.
    daemon.signal(Signal::SIGHUP);
    until("the mistake is told", || daemon.stderr().contains("unknown key `nonsense`"));
    assert!(daemon.stderr().contains("the policy that was in force stays"), "{}", daemon.stderr());
    assert_eq!(in_force("the one before", 4), denied);

    // Another file beside it is nobody's business.
    fs::write(folder.join("other"), "x").expect("written");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(in_force("the same", 4), denied);
    assert_eq!(daemon.stderr().matches("stays").count(), 1, "{}", daemon.stderr());
}

/// `guard policy reload`, which asks this daemon: its exit code, and what it says.
fn reload(socket: &Path) -> (i32, String) {
    let job = Job::new(binary(), Path::new("/"));
    let done = job.args(["policy", "reload", "--socket"]).arg(socket).run();
    assert_eq!(done.out(), "");
    (done.code(), done.err())
}

#[test]
fn who_asks_for_a_reload_is_told_what_has_come_of_it() {
    let stage = Stage::new("reload");
    let deny = |what: &str| stage.policy("").replace("/denied/**", &format!("/{what}/**"));
    let secret = || Job::new(stage.agent(), stage.path()).args(["read", "denied/secret"]).run().out();
    let policy = stage.scratch().write("policy.toml", deny("denied"));
    let daemon = Guard::of(stage.scratch(), policy.clone()).daemon();
    assert_eq!(secret(), "");

    fs::write(&policy, deny("allowed")).expect("written");
    let (code, said) = reload(daemon.socket());
    assert_eq!((code, said.as_str()), (0, "guard: the policy was read anew, and is in force\n"));
    assert_eq!(secret(), SECRET);

    fs::write(&policy, "version = 1\nnonsense = 1\n").expect("written");
    let (code, said) = reload(daemon.socket());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("unknown key `nonsense`") && said.contains("policy.toml:2:1"), "{said}");
    assert!(said.ends_with("\nguard: the policy is refused; the one that was in force stays\n"), "{said}");
    assert_eq!(secret(), SECRET);

    fs::remove_file(&policy).expect("removed");
    let (code, said) = reload(daemon.socket());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("policy.toml"), "{said}");

    let socket = daemon.socket().to_owned();
    drop(daemon.stop());
    let (code, said) = reload(&socket);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("no daemon answers"), "{said}");
}
