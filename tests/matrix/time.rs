//! Clocks that are set, and a machine that sleeps. Only a machine of the matrix is treated so.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::Value;
use support::guard::Guarded;
use support::stage::{FINE, text};

use crate::Check;
use crate::ground::{Ground, job};

pub const CHECKS: &[Check] = &[
    ("time: a clock that is set changes no verdict, and is followed", clock),
    ("time: nothing gets out of a machine that sleeps and wakes", sleep),
];

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;
/// How often it sleeps.
const SLEEPS: u32 = 3;

fn clock(ground: &Ground) {
    let [disk, _] = &ground.places;
    let clock = ClockId::CLOCK_REALTIME;
    let now = || clock_gettime(clock).expect("the time of day");
    for days in [-1, 1] {
        clock_settime(clock, now() + TimeSpec::new(days * DAY, 0)).expect("root may set the clock");
        near(&ground.denied("secrets", disk, ["read", "denied/secret"]));
        assert_eq!(ground.allowed(disk, ["read", "allowed/fine"]), FINE);
    }
}

/// Fails unless the event is of the last minute, by the clock as it is now.
fn near(event: &Value) {
    let time: jiff::Timestamp = text(event, "/time").parse().expect("a time");
    let age = SystemTime::now().duration_since(time.into()).expect("a time that was");
    assert!(age < Duration::from_mins(1), "{age:?}: {event}");
}

/// All of user space is halted and goes on, as in every sleep, again and again while an agent tries to read. What a sleeping
/// machine does to its devices is left out: those of these machines don't wake.
fn sleep(ground: &Ground) {
    let [disk, _] = &ground.places;
    fs::write("/sys/power/pm_test", "freezer").expect("this kernel tries it out");
    fs::write("/sys/module/suspend/parameters/pm_test_delay", "1").expect("for so many seconds");
    let slept = || -> u32 {
        let text = fs::read_to_string("/sys/power/suspend_stats/success").expect("a file");
        text.trim().parse().expect("a number")
    };
    let before = slept();
    let attempts = job(disk, ["each", "200", "read", "denied/secret"]);
    let Guarded { done, events } = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..SLEEPS {
                fs::write("/sys/power/state", "freeze").expect("it sleeps");
                thread::sleep(Duration::from_millis(20));
            }
        });
        ground.run(&attempts)
    });
    assert_eq!(slept() - before, SLEEPS);
    let ended = if ground.kernel.prevents() { r#""refused":200,"killed":0"# } else { r#""refused":0,"killed":200"# };
    assert_eq!(done.out(), "", "bytes got out");
    assert!(done.err().contains(&format!(r#"{{"done":0,{ended},"else":0}}"#)), "{}", done.err());
    assert_eq!(events.rule("secrets").count(), 200, "{events}");
    near(&ground.denied("secrets", disk, ["read", "denied/secret"]));
    assert_eq!(ground.allowed(disk, ["read", "allowed/fine"]), FINE);
}
