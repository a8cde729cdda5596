//! What happened so far, in numbers: of a tree, and of everything.

use std::collections::HashMap;

use guard_common::words::{Action, Op};
use serde::{Deserialize, Serialize};

/// Operations, by number.
const OPS: usize = Op::ALL.len();
/// Actions, by number.
const ACTIONS: usize = Action::ALL.len();

/// What happens beside operations that are decided, by the event's `op`.
pub const LIFE: [&str; 8] = ["session-start", "session-end", "phase", "fork", "exit", "lost", "gap", "control"];

/// What user space loses, beside what the kernel counts.
pub const LOSSES: [&str; 4] = ["garbled", "not-written", "not-sent", "not-told"];

/// Counts of operations by verdict, and of the rest by name.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Tally {
    decided: [[u64; ACTIONS]; OPS],
    life: [u64; LIFE.len()],
    /// Verdicts on what is no operation of policies: children that may not run.
    others: [u64; ACTIONS],
}

impl Tally {
    /// An operation was decided.
    pub(super) fn decided(&mut self, op: Op, action: Action) {
        self.decided[op as usize][action as usize] += 1;
    }

    /// Something else happened, by the event's `op`; with a verdict where there is one.
    pub(super) fn happened(&mut self, what: &str, action: Option<Action>) {
        if let Some(at) = LIFE.iter().position(|name| *name == what) {
            self.life[at] += 1;
        }
        if let Some(action) = action {
            self.others[action as usize] += 1;
        }
    }

    /// How often an operation came to a verdict.
    #[must_use]
    pub fn count(&self, op: Op, action: Action) -> u64 {
        self.decided[op as usize][action as usize]
    }

    /// How often an operation was decided.
    #[must_use]
    pub fn of_op(&self, op: Op) -> u64 {
        self.decided[op as usize].iter().sum()
    }

    /// What happened beside operations.
    pub fn life(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LIFE.iter().copied().zip(self.life)
    }

    /// Verdicts of this action.
    #[must_use]
    pub fn of_action(&self, action: Action) -> u64 {
        self.decided.iter().map(|by_action| by_action[action as usize]).sum::<u64>() + self.others[action as usize]
    }

    /// The strictest verdict.
    #[must_use]
    pub fn worst(&self) -> Option<Action> {
        Action::ALL.iter().rev().copied().find(|action| self.of_action(*action) > 0)
    }
}

/// What happened so far, on the whole.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Everything.
    pub tally: Tally,
    /// Denials that the mode audit has kept from being carried out.
    pub would_have: Tally,
    /// Verdicts by rule, and by action as in [`Action::ALL`]. The default goes by the name `default`, and is counted where it
    /// does not allow.
    pub rules: HashMap<String, [u64; ACTIONS]>,
    /// Losses by kind.
    pub lost: HashMap<&'static str, u64>,
    /// Processes that outlived their session and were not ended.
    pub left: u64,
    /// Bytes that the connections of sessions have sent that are over.
    pub sent: u64,
}

impl Totals {
    /// A rule, or the default, has decided.
    pub(super) fn ruled(&mut self, rule: Option<&str>, action: Action) {
        let Some(rule) = rule.or((action != Action::Allow).then_some("default")) else { return };
        if let Some(counts) = self.rules.get_mut(rule) {
            counts[action as usize] += 1;
        } else {
            let mut counts = [0; ACTIONS];
            counts[action as usize] = 1;
            self.rules.insert(rule.to_owned(), counts);
        }
    }

    /// Rules that have decided anything else than to allow it, and how often; by name.
    #[must_use]
    pub fn applied(&self) -> Vec<(&str, u64)> {
        let strict = |counts: &[u64; ACTIONS]| counts.iter().sum::<u64>() - counts[Action::Allow as usize];
        let mut rules: Vec<_> = self.rules.iter().map(|(rule, counts)| (rule.as_str(), strict(counts))).collect();
        rules.retain(|(_, count)| *count > 0);
        rules.sort_unstable();
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut totals = Totals::default();
        totals.tally.decided(Op::Read, Action::Allow);
        totals.tally.decided(Op::Read, Action::Deny);
        totals.tally.happened("fork", None);
        assert_eq!((totals.tally.of_op(Op::Read), totals.tally.of_action(Action::Deny)), (2, 1));
        assert_eq!(totals.tally.worst(), Some(Action::Deny));
        totals.tally.happened("fork", Some(Action::Kill));
        assert_eq!(totals.tally.worst(), Some(Action::Kill));
        assert_eq!(totals.tally.life().find(|(name, _)| *name == "fork"), Some(("fork", 2)));
        assert_eq!(Tally::default().worst(), None);

        totals.ruled(None, Action::Allow);
        totals.ruled(Some("fine"), Action::Allow);
        totals.ruled(None, Action::Deny);
        totals.ruled(Some("secrets"), Action::Deny);
        assert_eq!(totals.applied(), [("default", 1), ("secrets", 1)]);
        assert_eq!(totals.rules.len(), 3);
    }
}
