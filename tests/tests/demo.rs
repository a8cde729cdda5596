//! The demo itself: that it shows what it says, and that its checks would notice if it didn't.

use support::guard::{binary, shipped};
use support::place::{Scratch, built, target};
use support::run::{Finished, Job};
use support::{codex, require_kernel};

fn demo(flags: &[&str]) -> Finished {
    require_kernel();
    let scratch = Scratch::new("demo");
    let job = Job::new(built("guard-demo"), scratch.path()).arg("--policy").arg(shipped()).args(flags);
    job.env("GUARD_BIN", binary()).env("GUARD_CODEX_DIR", codex::installed()).env("CARGO_TARGET_DIR", target()).run()
}

#[test]
fn five_fears_are_stopped_and_three_fine_things_are_done() {
    let out = demo(&[]).succeeded().out();
    assert_eq!(out.matches(": STOPPED\n").count(), 5, "{out}");
    assert_eq!(out.matches(": DONE\n").count(), 3, "{out}");
    for rule in ["secrets", "ci-files", "pipe-to-shell", "left-behind"] {
        assert!(out.contains(&format!("rule \"{rule}\": ")), "{out}");
    }
}

#[test]
fn without_guard_they_happen() {
    let out = demo(&["--unguarded"]).succeeded().out();
    assert_eq!((out.matches(": IT HAPPENED\n").count(), out.matches(": DONE\n").count()), (5, 3), "{out}");
}
