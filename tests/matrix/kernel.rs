//! The kernel under test, and what can be expected of it.

use std::fmt::{Display, Formatter, Result};
use std::fs;

/// A kernel.
#[derive(Debug)]
pub struct Kernel {
    release: String,
    security: String,
}

impl Kernel {
    /// The one that runs.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self { release: read("/proc/sys/kernel/osrelease"), security: read("/sys/kernel/security/lsm") }
    }

    /// Whether guard is asked before something happens: where `bpf` is among the security modules.
    pub fn prevents(&self) -> bool {
        self.security.split(',').any(|module| module == "bpf")
    }

    /// Whether a file that is opened through `io_uring` is judged: before, or where `io_uring_complete` shows the result of a
    /// request when it is posted. 6.12 does not yet, 6.18 does.
    pub fn sees_uring(&self) -> bool {
        self.prevents() || self.version() > (6, 12)
    }

    /// Whether guard is asked before what an event would call `how` happens. 5.10 takes no programs on a hook with structures among
    /// its arguments, and has none for user namespaces.
    pub fn asks(&self, how: &str) -> bool {
        self.prevents() && (self.version() >= (6, 1) || !["chown", "user-namespace"].contains(&how))
    }

    /// The first two numbers of its release.
    pub fn version(&self) -> (u32, u32) {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => panic!("{} is no release", self.release),
        }
    }
}

impl Display for Kernel {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(out, "Linux {}, security modules {}", self.release, self.security)
    }
}
