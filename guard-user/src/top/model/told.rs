//! Verdicts that are not `allow`, as they came.

use std::sync::Arc;

use super::object::Kind;
use super::outcome::Outcome;
use super::session::Pid;

/// A verdict that is not `allow`, and all that a person wants to know of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number: verdicts are counted from 1.
    pub number: u64,
    /// When.
    pub time: u64,
    /// The tree.
    pub tree: u64,
    /// The session's short name.
    pub session: Box<str>,
    /// The process.
    pub process: Pid,
    /// What it runs.
    pub exe: Box<str>,
    /// Its command line, or the one that was attempted, with a NUL between words.
    pub argv: Box<str>,
    /// What it came to.
    pub outcome: Outcome,
    /// What was attempted.
    pub op: Box<str>,
    /// What kind of thing it was attempted on, where that has a name.
    pub kind: Option<Kind>,
    /// On what.
    pub object: Box<str>,
    /// Its protocol.
    pub proto: Option<Box<str>>,
    /// The rule; absent where the default decided.
    pub rule: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// By what it was carried out.
    pub backend: Option<Box<str>>,
    /// What had happened before, and stays.
    pub happened: Box<str>,
    /// The call.
    pub call: Option<Box<str>>,
    /// On whose behalf.
    pub scope: Option<Box<str>>,
}

impl Told {
    /// The base name of what the process runs.
    #[must_use]
    pub fn program(&self) -> &str {
        let name = self.exe.rsplit('/').next().unwrap_or_default();
        if name.is_empty() { "?" } else { name }
    }

    /// The rule's name; the default has none.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rule.as_deref().unwrap_or("(default)")
    }

    /// What was done about it, in a sentence.
    #[must_use]
    pub fn done(&self) -> String {
        let done = match (self.outcome, self.backend.as_deref()) {
            (Outcome::Log, _) => "It happened, and is noted".to_owned(),
            (Outcome::WouldDeny, _) => "It happened: the verdict was not carried out".to_owned(),
            (Outcome::WouldKill, _) => "It happened: the call was not ended".to_owned(),
            (Outcome::Deny, Some("signal")) => "The process was killed".to_owned(),
            (Outcome::Deny, Some(backend)) => format!("It failed with EPERM, by {backend}"),
            (Outcome::Deny, None) => "It was refused".to_owned(),
            (Outcome::Kill, _) => "The whole call was ended".to_owned(),
        };
        if self.happened.is_empty() { done } else { format!("{done}; the file was {} before", self.happened) }
    }
}
