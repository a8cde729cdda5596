//! Ends sessions and calls on demand.

use std::collections::HashSet;
use std::time::Instant;

use guard_common::tree::{Id, Member};

use super::request::Refused;
use super::{GRACE, Watch};

/// Times that is looked for what was forked meanwhile. What is left after them is seen to at each tick.
const ROUNDS: usize = 16;

impl Watch<'_> {
    /// Ends a session, or one call of it; how many of its processes that has ended by now.
    ///
    /// The calls' processes are kept from forking, executing and opening by the programs. An agent's own processes are not, so
    /// that their children may show up later: they are killed at the next ticks.
    pub(super) fn end(&mut self, tree: Id, call: Option<&str>) -> Result<u64, Refused> {
        self.known(tree)?;
        let members: Vec<(u32, Member)> = self.kernel.members().filter(|(_, member)| member.tree == tree).collect();
        let Some(wanted) = call else {
            self.ending_trees.insert(tree, Instant::now());
            let calls: HashSet<Id> =
                members.iter().map(|(_, member)| member.call).filter(|call| *call != 0).collect();
            for call in calls {
                self.mark_ended(tree, call);
            }
            return Ok(self.kill_members(members, |member| member.tree == tree));
        };
        let known = self.trees.get(&tree).map(|tree| tree.calls.as_slice()).unwrap_or_default();
        let of_members = members.iter().map(|(_, member)| member.call);
        let found = known.iter().copied().chain(of_members).find(|id| {
            let label = self.calls.get(id).and_then(|call| call.label.as_deref());
            *id != 0 && (label == Some(wanted) || format!("{id:016x}") == wanted)
        });
        let Some(call) = found else {
            return Err(Refused::Absent(format!("the session {tree:016x} has no call `{wanted}`")));
        };
        self.ending.insert(call, Instant::now());
        self.mark_ended(tree, call);
        let members = members.into_iter().filter(|(_, member)| member.call == call).collect();
        Ok(self.kill_members(members, |member| member.call == call))
    }

    /// Has the programs stop whatever a call does next.
    fn mark_ended(&mut self, tree: Id, call: Id) {
        // Without room for the mark its processes are ended from here alone; that is told as a loss.
        if self.kernel.end_call(call).is_err() {
            self.unmarked += 1;
        }
        // It is forgotten with the tree.
        if let Some(tree) = self.trees.get_mut(&tree)
            && !tree.calls.contains(&call)
        {
            tree.calls.push(call);
        }
    }

    /// Kills the `first` and all members that are meant, those too that they fork meanwhile. One that the programs were quicker to
    /// kill counts like the others.
    fn kill_members(&self, first: Vec<(u32, Member)>, meant: impl Fn(&Member) -> bool) -> u64 {
        let mut killed: HashSet<(u32, u64)> = HashSet::new();
        let mut count = 0;
        let mut new = first;
        for _ in 0..ROUNDS {
            for (pid, member) in new {
                let is_gone = || self.kernel.member(pid).is_none_or(|now| now.start != member.start);
                count += u64::from(self.kill(pid, &member) || is_gone());
                killed.insert((pid, member.start));
            }
            let members = self.kernel.members();
            new = members.filter(|(pid, member)| meant(member) && !killed.contains(&(*pid, member.start))).collect();
            if new.is_empty() {
                break;
            }
        }
        count
    }

    /// Kills what is left of sessions that are being ended.
    pub(super) fn end_trees(&mut self) {
        if self.ending_trees.is_empty() {
            return;
        }
        let members: Vec<_> =
            self.kernel.members().filter(|(_, member)| self.ending_trees.contains_key(&member.tree)).collect();
        let alive: HashSet<Id> = members.iter().map(|(_, member)| member.tree).collect();
        for (pid, member) in members {
            self.kill(pid, &member);
        }
        self.ending_trees.retain(|tree, since| alive.contains(tree) || since.elapsed() < GRACE);
    }
}
