//! The kernel under test, and what can be expected of it.

use std::fmt::{Display, Formatter, Result};
use std::fs;
use std::path::Path;

use support::kernel::hooks;

/// What the first process of such a machine has put there (`xtask/src/vm/init.sh`).
const MADE: &str = "/.guest/command";

/// A kernel.
#[derive(Debug)]
pub struct Kernel {
    release: String,
    security: String,
    /// By which way guard says that it is asked; `none`, if it says that it isn't.
    hooks: String,
    /// It runs in a machine that was made for these checks.
    made: bool,
}

impl Kernel {
    /// The one that runs.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            release: read("/proc/sys/kernel/osrelease"),
            security: read("/sys/kernel/security/lsm"),
            hooks: hooks(),
            made: Path::new(MADE).exists(),
        }
    }

    /// Whether guard is asked before something happens. `cargo xtask vm` knows by which way it has to be on each machine.
    pub fn prevents(&self) -> bool {
        self.hooks != "none"
    }

    /// Whether it runs in a machine that was made for these checks.
    pub fn is_of_the_matrix(&self) -> bool {
        self.made
    }

    /// Whether it is asked before the security modules are: what these find out is not known then.
    pub fn asks_first(&self) -> bool {
        self.hooks == "modified-return"
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
        write!(out, "Linux {}, security modules {}\nhooks: {}", self.release, self.security, self.hooks)
    }
}
