//! The ways out: each ends as it is expected to on this kernel, and docs/threat-model.md says so.

use std::path::Path;
use std::time::Duration;

use support::guard::binary;
use support::place::{built, target};
use support::require_kernel;
use support::run::{Finished, Job};

fn evasion(flags: &[&str]) -> Finished {
    require_kernel();
    let job = Job::new(built("guard-evasion"), Path::new("/")).args(flags).limit(Duration::from_mins(10));
    job.env("GUARD_BIN", binary()).env("CARGO_TARGET_DIR", target()).run()
}

#[test]
fn every_way_ends_as_expected_and_the_page_says_so() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/threat-model.md");
    let done = evasion(&["--page", page]);
    let out = done.out();
    let unexpected: Vec<&str> = out.lines().filter(|line| line.starts_with("NOT ")).collect();
    assert!(done.status.success(), "{}\n{}", unexpected.join("\n"), done.err());
    assert!(out.lines().filter(|line| line.starts_with("ok ")).count() >= 60, "{out}");
    println!("{out}");
}

/// With a guard that carries nothing out, all of them get through: the suite would notice.
#[test]
fn ways_that_get_through_are_noticed() {
    let ways = ["cat", "append", "exec", "command", "tcp", "unix-stream", "docker", "cron"];
    let done = evasion(&[&["--audit"][..], &ways].concat());
    assert_eq!(done.code(), 1, "{}", done.err());
    let through = |line: &&str| line.starts_with("NOT ") && line.contains(" seen (expected: ");
    assert_eq!(done.out().lines().filter(through).count(), ways.len(), "{}", done.out());
}
