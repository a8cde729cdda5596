//! What a verdict came to.

use crate::top::seen::Decided;

/// What a verdict that is not `allow` came to, the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It happened, and is noted.
    Log,
    /// It would have been refused, were it enforced.
    WouldDeny,
    /// The call would have been ended, were it enforced.
    WouldKill,
    /// It was refused, or its process killed.
    Deny,
    /// The whole call was ended.
    Kill,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Log, Self::WouldDeny, Self::WouldKill, Self::Deny, Self::Kill];

    /// That of a verdict; none where it let through.
    #[must_use]
    pub fn of(verdict: &Decided<'_>) -> Option<Self> {
        match (&*verdict.action, verdict.enforced) {
            ("log", _) => Some(Self::Log),
            ("deny", true) => Some(Self::Deny),
            ("deny", false) => Some(Self::WouldDeny),
            ("kill", true) => Some(Self::Kill),
            ("kill", false) => Some(Self::WouldKill),
            _ => None,
        }
    }

    /// In a word or two.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::WouldDeny => "would deny",
            Self::WouldKill => "would kill",
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }

    /// The policy's word for it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::WouldDeny | Self::Deny => "deny",
            Self::WouldKill | Self::Kill => "kill",
        }
    }
}

/// How many verdicts came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// One more.
    pub fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// How many came to this.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many had this action, enforced or not.
    #[must_use]
    pub fn action(&self, action: &str) -> u64 {
        Outcome::ALL.iter().filter(|outcome| outcome.action() == action).map(|outcome| self.of(*outcome)).sum()
    }

    /// How many there were.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The strictest.
    #[must_use]
    pub fn worst(&self) -> Option<Outcome> {
        Outcome::ALL.into_iter().rev().find(|outcome| self.of(*outcome) > 0)
    }
}
