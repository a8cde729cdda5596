//! The policy is changed.

use std::fs;
use std::path::Path;

use support::run::Job;

use crate::Step;
use crate::ground::{Ground, POLICY, service};
use crate::manager::{daemon, journal, of_unit, said, systemctl, wait};

pub const STEPS: &[Step] = &[
    ("reloaded, it enforces the new policy", reload),
    ("a bad policy changes nothing, and status says so", refused_reload),
    ("it finds, refuses and ends what is another user's", others),
];

/// Rules of the story.
pub const RULES: &str = r#"
[[rule]]
name = "own-file"
on = ["read"]
path = ["{repo}/kept"]
action = "deny"

[[rule]]
name = "addresses"
on = ["connect"]
to = ["127.9.0.0/16"]
action = "deny"

[[rule]]
name = "left-behind"
on = ["outlive"]
action = "kill"
"#;

fn reload(ground: &Ground) {
    let agent = ground.stage.agent();
    ground.allowed(&agent, &["read", "denied/secret"]);
    let before = daemon();
    ground.write_policy(RULES);
    drop(systemctl(&["reload", "guard"]).succeeded());
    ground.refused(&agent, &["read", "denied/secret"]);
    ground.allowed(&agent, &["read", "allowed/fine"]);
    // The other agent is none any more.
    ground.allowed(&ground.codex, &["read", ".env"]);
    // A file that is as it was is read as well, for whoever asks.
    let taken = || journal().iter().filter(|(priority, what)| *priority == 6 && what.contains("is in force")).count();
    let times = taken();
    drop(systemctl(&["reload", "guard"]).succeeded());
    wait("it is taken once more", || taken() > times);
    assert_eq!((daemon(), of_unit("ActiveState").as_str()), (before, "active"));
}

fn refused_reload(ground: &Ground) {
    let good = fs::read_to_string(POLICY).expect("a policy");
    let status = || service(&["status"]).out();
    assert!(!status().contains("refused"), "{}", status());
    fs::write(POLICY, "version = 1\n[[rule]]\nname = 7\n").expect("written");
    assert_ne!(systemctl(&["reload", "guard"]).code(), 0);
    said(3, "the policy that was in force stays");
    wait("status says so", || status().contains("refused   a newer policy: "));
    ground.refused(&ground.stage.agent(), &["read", "denied/secret"]);
    assert_eq!(of_unit("ActiveState"), "active");
    fs::write(POLICY, good).expect("written");
    drop(systemctl(&["reload", "guard"]).succeeded());
    assert!(!status().contains("refused"), "{}", status());
    ground.refused(&ground.stage.agent(), &["read", "denied/secret"]);
}

/// In a home that only its owner may enter, with a repository in it.
fn others(ground: &Ground) {
    let scratch = ground.stage.scratch();
    for (name, text) in [("repo/.git/HEAD", "ref: refs/heads/main\n"), ("repo/kept", "x"), ("repo/below/plain", "x")]
    {
        scratch.write(format!("home/{name}"), text);
    }
    let home = scratch.join("home");
    drop(Job::new("chown", scratch.path()).args(["-R", "65534"]).arg(&home).run().succeeded());
    drop(Job::new("chmod", scratch.path()).arg("700").arg(&home).run().succeeded());
    let agent = ground.stage.agent();
    let bash = |script: &str| {
        let words = ["in", "fork", "exec", "/bin/bash", "-c", script];
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let done = Job::new(&agent, &home.join("repo/below")).args(words).under(nobody).run();
        (done.code(), done.out(), done.err())
    };
    // The top of the repository is found a moment after the session's start.
    let done = bash("for try in {1..300}; do cat ../kept > /dev/null 2>&1 || exit 9; sleep 0.1; done");
    assert_eq!(done.0, 9, "the repository is not found: {done:?}");
    // cgroup programs, and what is ended from user space.
    let done = bash("exec 3<> /dev/tcp/127.9.0.1/9");
    assert!(done.0 == 1 && done.2.contains("Operation not permitted"), "{done:?}");
    let (code, left, err) = bash("setsid sleep 300 > /dev/null 2>&1 & echo $!");
    assert_eq!(code, 0, "{err}");
    let left = Path::new("/proc").join(left.trim());
    wait("what was left behind is ended", || !left.exists());
}
