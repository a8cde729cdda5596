//! Where most tests take place: a denied file, an allowed one beside it, and the program that attempts things.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::guard::{Guard, Guarded};
use crate::place::{Scratch, built};
use crate::run::Job;

/// What the denied file holds.
pub const SECRET: &str = "none of these bytes may get out\n";
/// What the allowed file holds.
pub const FINE: &str = "these bytes may be read\n";
/// Why the denied file is denied.
pub const REASON: &str = "Nobody's business.";

/// The place of one test.
#[derive(Debug)]
pub struct Stage {
    scratch: Scratch,
    attempt: PathBuf,
}

impl Stage {
    /// Sets it up.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.write("denied/secret", SECRET);
        scratch.write("allowed/fine", FINE);
        let attempt = scratch.program(&built("attempt"), "attempt");
        Self { scratch, attempt }
    }

    /// Its folder.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Its folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The file that may not be opened.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.scratch.join("denied/secret")
    }

    /// The file that may.
    #[must_use]
    pub fn fine(&self) -> PathBuf {
        self.scratch.join("allowed/fine")
    }

    /// The program that attempts things.
    #[must_use]
    pub fn attempt(&self) -> &Path {
        &self.attempt
    }

    /// The same program as the agent that [`Self::policy`] names.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        let agent = self.scratch.join("agent");
        if agent.exists() { agent } else { self.scratch.program(&built("attempt"), "agent") }
    }

    /// A policy: this stage's agent, the denied folder, and the rules of `more` before that. `{stage}` stands for the
    /// stage's folder.
    #[must_use]
    pub fn policy(&self, more: &str) -> String {
        let text = format!(
            r#"version = 1

[agent.tester]
exe = ["{{stage}}/agent"]

{more}

[[rule]]
name = "secrets"
on = ["read", "write"]
path = ["{{stage}}/denied/**"]
action = "deny"
reason = "{REASON}"
"#
        );
        text.replace("{stage}", &self.path().display().to_string())
    }

    /// guard with that policy.
    #[must_use]
    pub fn guard(&self, more: &str) -> Guard {
        Guard::new(&self.scratch, &self.policy(more))
    }

    /// An attempt, not yet under guard.
    #[must_use]
    pub fn job<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Job {
        Job::new(&self.attempt, self.path()).args(words)
    }

    /// A shell script, not yet under guard. It finds the stage's folder in `$stage`, and `attempt` there.
    #[must_use]
    pub fn script(&self, script: &str) -> Job {
        Job::new("sh", self.path()).args(["-c", script]).env("stage", self.path())
    }

    /// Makes an attempt under the plain policy.
    #[must_use]
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Guarded {
        self.guard("").run(&self.job(words))
    }
}

/// Fails unless the job was killed without a word, and exactly one denial was told, which it returns.
///
/// # Panics
/// Then.
#[must_use]
pub fn killed_in_silence(guarded: &Guarded) -> &Value {
    let Guarded { done, events } = guarded;
    assert_eq!(done.code(), 137, "{}\n{events}", done.err());
    assert_eq!(done.out(), "", "bytes got out");
    events.none_lost();
    let denials: Vec<&Value> = events.denials().collect();
    assert_eq!(denials.len(), 1, "{events}");
    denials[0]
}

/// A member of an event by its path, as text; empty where it is absent.
#[must_use]
pub fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until something is so.
///
/// # Panics
/// When it isn't within ten seconds.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
