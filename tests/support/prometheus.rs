//! The real Prometheus, and its promtool.

use std::path::{Path, PathBuf};

use crate::place::target;
use crate::run::Job;

/// One of its programs.
///
/// # Panics
/// Where it isn't there.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("GUARD_PROMETHEUS_DIR").map_or_else(|| target().join("prometheus"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there: `cargo xtask test` gets what the tests need", path.display());
    path
}

/// `promtool`, in this folder.
#[must_use]
pub fn promtool(folder: &Path) -> Job {
    Job::new(program("promtool"), folder)
}
