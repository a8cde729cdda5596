//! guard goes, comes back, and goes for good.

use std::fs;
use std::path::Path;

use support::run::Job;

use crate::Step;
use crate::changed::RULES;
use crate::drop_in::{FOLDER, in_force};
use crate::ground::{EVENTS, Ground, INSTALLED, POLICY, service, traces};
use crate::hammer::Hammer;
use crate::manager::{daemon, of_unit, successor, systemctl};

pub const STEPS: &[Step] = &[
    ("installed again, it keeps what is an administrator's, and enforces throughout", again),
    ("killed and uninstalled, it leaves what is an administrator's, and nothing else", uninstalled),
    ("installed with a bad policy, it starts as soon as that is put right", put_right),
    ("stopped, it enforces nothing, and says so", stopped),
    ("uninstalled, it leaves nothing", gone),
];

fn again(ground: &Ground) {
    let before = daemon();
    let hammer = Hammer::on(ground);
    let done = service(&["install"]).succeeded();
    hammer.was_stopped();
    assert!(done.out().contains(&format!("kept    {POLICY}, which was there\n")), "{}", done.out());
    assert!(done.out().contains("started guard.service: it enforces, now and from every boot on"), "{}", done.out());
    assert_ne!(daemon(), before);
    assert_eq!(fs::read_to_string(POLICY).expect("a policy"), ground.policy(RULES));
    in_force();
}

fn uninstalled(ground: &Ground) {
    drop(systemctl(&["kill", "--signal=SIGKILL", "guard"]).succeeded());
    // What it has left goes on, until it is uninstalled.
    ground.stopped();
    let done = service(&["uninstall"]).succeeded();
    for stays in [&format!("{POLICY}, which was changed"), FOLDER, "/var/log/guard, the events that were written"] {
        assert!(done.out().contains(&format!("stays   {stays}")), "{stays}\n{}", done.out());
    }
    assert_eq!(traces(), ["/etc/guard", FOLDER, "/var/log/guard"], "{}", done.out());
    assert_eq!(fs::read_to_string(POLICY).expect("a policy"), ground.policy(RULES));
    ground.allowed(&ground.stage.agent(), &["read", "denied/secret"]);
    let status = service(&["status"]);
    assert_eq!(status.code(), 3, "{}", status.out());
    assert!(
        status.out().contains("guard.service is not installed: sudo guard service install\n"),
        "{}",
        status.out()
    );
}

fn put_right(ground: &Ground) {
    fs::write(POLICY, "version = 7\n").expect("written");
    let done = service(&["install"]);
    assert_eq!(done.code(), 125, "{}", done.out());
    assert!(done.err().contains("it was installed, and does not start; why: journalctl"), "{}", done.err());
    let status = service(&["status"]);
    assert!(status.code() == 3 && status.out().contains("enforcing no\n"), "{}", status.out());
    ground.write_policy(RULES);
    let pid = successor(0);
    ground.stopped();
    // It was not installed anew by that.
    assert_eq!((of_unit("UnitFileState").as_str(), daemon()), ("enabled", pid));
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).expect("it runs"), Path::new(INSTALLED));
}

fn stopped(ground: &Ground) {
    drop(systemctl(&["stop", "guard"]).succeeded());
    assert_eq!(["ActiveState", "Result"].map(of_unit), ["inactive", "success"]);
    let status = service(&["status"]);
    assert_eq!(status.code(), 3, "{}", status.out());
    // How often it was started anew before is told as well.
    for part in ["unit      guard.service, enabled, inactive (dead)", "enforcing no\n"] {
        assert!(status.out().contains(part), "{part}\n{}", status.out());
    }
    ground.allowed(&ground.stage.agent(), &["read", "denied/secret"]);
    assert!(!Path::new("/run/guard").exists());
}

fn gone(_: &Ground) {
    // What is left is the administrator's to remove.
    fs::remove_dir_all(FOLDER).expect("removed");
    fs::remove_file(POLICY).expect("removed");
    let done = service(&["uninstall"]).succeeded();
    fs::remove_file(EVENTS).expect("removed");
    fs::remove_dir("/var/log/guard").expect("empty");
    fs::remove_dir("/etc/guard").expect("empty");
    let left = traces();
    assert!(left.is_empty(), "{left:#?}\n{}", done.out());
    let units = Job::new("systemctl", Path::new("/")).args(["list-units", "--all", "--no-legend", "guard*"]).run();
    assert_eq!(units.succeeded().out(), "");
}
