//! The daemon is killed, and hangs.

use std::fs;
use std::path::Path;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use support::run::Job;
use support::stage::text;

use crate::Step;
use crate::drop_in::in_force;
use crate::ground::{Ground, INSTALLED, events, stopped};
use crate::hammer::Hammer;
use crate::manager::{daemon, journal_text, of_unit, successor, systemctl, systemd_said, wait};

pub const STEPS: &[Step] = &[
    ("killed, it enforces throughout, and is started again", kill),
    ("hung, it is ended and started again, and enforces throughout", hung),
];

/// A session goes on from one daemon to the next.
fn kill(ground: &Ground) {
    let before = daemon();
    let go = ground.stage.path().join("go");
    let words = ["after", go.to_str().expect("a path of ASCII"), "read", "denied/secret"];
    let session = Job::new(ground.stage.agent(), ground.stage.path()).args(words).start();
    let status = || Job::new(INSTALLED, Path::new("/")).args(["service", "status"]).run().out();
    wait("the session is known", || status().contains("sessions  1\n"));
    let hammer = Hammer::on(ground);
    drop(systemctl(&["kill", "--signal=SIGKILL", "guard"]).succeeded());
    let after = successor(before);
    hammer.was_stopped();
    wait("the session is known still", || status().contains("sessions  1\n"));
    let said = status();
    assert!(said.contains("unit      guard.service, enabled, active (running), started anew 1 times\n"), "{said}");
    assert!(said.contains(&format!("daemon    process {after}, ")), "{said}");
    fs::write(&go, "").expect("written");
    let done = session.wait();
    assert!(stopped(&done), "{} {:?} {:?}", done.code(), done.out(), done.err());
    wait("the next daemon tells of it", || {
        let told = events();
        told.rule("secrets").any(|event| text(event, "/process/argv/1") == "after")
    });
}

fn hung(ground: &Ground) {
    let before = daemon();
    let hammer = Hammer::on(ground);
    signal::kill(Pid::from_raw(before as i32), Signal::SIGSTOP).expect("it takes signals");
    successor(before);
    hammer.was_stopped();
    assert_eq!(of_unit("NRestarts"), "2");
    assert!(systemd_said("Watchdog timeout"), "{}", journal_text());
    in_force();
}
