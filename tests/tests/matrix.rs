//! What is checked on every kernel of the matrix holds on this machine's own.

use std::path::Path;
use std::time::Duration;

use support::guard;
use support::place::{built, target};
use support::require_kernel;
use support::run::Job;

#[test]
fn on_this_kernel() {
    require_kernel();
    let job = Job::new(built("guard-matrix"), Path::new("/")).limit(Duration::from_mins(5));
    let done = job.env("GUARD_BIN", guard::binary()).env("CARGO_TARGET_DIR", target()).run();
    println!("{}", done.out());
    assert_eq!(done.code(), 0, "{}", done.err());
}
