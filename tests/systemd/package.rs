//! The same by the Debian package, which dpkg installs, upgrades, removes and purges while systemd runs.

use std::fs;
use std::path::Path;

use support::dist::packed;
use support::run::{Finished, Job};

use crate::Step;
use crate::changed::RULES;
use crate::ground::{Ground, POLICY, traces};
use crate::hammer::Hammer;
use crate::manager::{daemon, of_unit, systemctl};

pub const STEPS: &[Step] = &[
    ("installed by its package, it is started, and enforces", installed),
    ("upgraded by a newer package, it enforces throughout, by the policy that is an administrator's", upgraded),
    ("its package removed, it enforces nothing, and keeps what is an administrator's", removed),
    ("its package purged, it leaves nothing", purged),
];

/// guard, where the package puts it.
const PROGRAM: &str = "/usr/bin/guard";

fn dpkg(arguments: &[&str]) -> Finished {
    let job = Job::new("dpkg", Path::new("/")).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    job.run().succeeded()
}

fn install(package: &Path) {
    drop(dpkg(&["--install", package.to_str().expect("a path of ASCII")]));
    assert_eq!(["ActiveState", "UnitFileState"].map(of_unit), ["active", "enabled"]);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", daemon())).expect("it runs"), Path::new(PROGRAM));
}

fn installed(ground: &Ground) {
    install(&packed("guard_", "-1_amd64.deb"));
    assert!(of_unit("FragmentPath").ends_with("/lib/systemd/system/guard.service"), "{}", of_unit("FragmentPath"));
    // By the policy that it brings along.
    ground.refused(&ground.codex, &["read", ".env"]);
    ground.allowed(&ground.codex, &["read", "allowed/fine"]);
    let status = Job::new(PROGRAM, Path::new("/")).args(["service", "status"]).run().succeeded();
    assert!(status.out().contains("enforcing yes, by lsm"), "{}", status.out());
}

fn upgraded(ground: &Ground) {
    ground.write_policy(RULES);
    drop(systemctl(&["reload", "guard"]).succeeded());
    let before = daemon();
    let hammer = Hammer::on(ground);
    install(&packed("guard_", "+newer_amd64.deb"));
    hammer.was_stopped();
    assert_ne!(daemon(), before);
    let shown = Job::new("dpkg-query", Path::new("/")).args(["--show", "--showformat=${Version}", "guard"]).run();
    assert!(shown.out().ends_with("+newer"), "{}{}", shown.out(), shown.err());
    assert_eq!(fs::read_to_string(POLICY).expect("a policy"), ground.policy(RULES));
    ground.refused(&ground.stage.agent(), &["read", "denied/secret"]);
}

fn removed(ground: &Ground) {
    let done = dpkg(&["--remove", "guard"]);
    assert_eq!(of_unit("ActiveState"), "inactive", "{}{}", done.out(), done.err());
    ground.allowed(&ground.stage.agent(), &["read", "denied/secret"]);
    for gone in [PROGRAM, "/run/guard", "/sys/fs/bpf/guard", "/usr/lib/systemd/system/guard.service"] {
        assert!(!Path::new(gone).exists(), "{gone} is there still");
    }
    assert_eq!(fs::read_to_string(POLICY).expect("a policy"), ground.policy(RULES));
    assert!(Path::new(crate::ground::EVENTS).exists());
}

fn purged(_: &Ground) {
    let done = dpkg(&["--purge", "guard"]);
    let left = traces();
    assert!(left.is_empty(), "{left:#?}\n{}{}", done.out(), done.err());
    for gone in ["/usr/share/guard", "/usr/share/doc/guard", "/usr/share/man/man1/guard.1.gz"] {
        assert!(!Path::new(gone).exists(), "{gone} is there still");
    }
    let units = Job::new("systemctl", Path::new("/")).args(["list-units", "--all", "--no-legend", "guard*"]).run();
    assert_eq!(units.succeeded().out(), "");
}
