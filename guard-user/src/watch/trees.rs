//! What is known of trees and their calls: how a session begins, goes on and ends, and what is ended with it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_common::tree::{Id, MEMBER_AGENT, MEMBER_GROUP, MEMBER_RUN, Member};
use guard_common::words::{Action, Backend, Mode, Op, Scope};

use super::{Tally, Watch};
use crate::kernel::Target;
use crate::record::clock;
use crate::session::{repo, users};

/// How long a process may take to end by itself after its session has.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Members with one of these flags keep their session going.
pub(super) const KEEPS_GOING: u16 = MEMBER_AGENT | MEMBER_RUN | MEMBER_GROUP;

/// Of a session's agent sessions, so many are remembered.
const AGENT_SESSIONS: usize = 64;

/// What is known of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) session: Option<Arc<str>>,
    pub(super) label: Option<Arc<str>>,
}

/// What is known of a tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: (u32, u64),
    pub(super) agent: Option<String>,
    /// Whose it is: the user of its first process.
    pub(super) uid: Option<u32>,
    /// When its first process was started.
    pub(super) started: String,
    /// The agent's ids of what it serves.
    pub(super) agent_sessions: Vec<Arc<str>>,
    /// Calls that the agent labelled.
    pub(super) labelled: u64,
    /// What happened in it.
    pub(super) tally: Tally,
    /// Processes that keep the session going.
    pub(super) agents: HashSet<u32>,
    pub(super) calls: Vec<Id>,
    /// When to look at what was left behind.
    pub(super) settle: Option<Instant>,
    /// The session is over; what is left of the tree was judged.
    pub(super) over: bool,
}

impl Watch<'_> {
    /// Has a tree prevented what the policy and its own repository deny, by the places that are known.
    pub(super) fn begin_preventing(&mut self, tree: Id) {
        if let Some(places) = self.kernel.places(tree) {
            let (repo, home) = (&places.repo[..places.repo_len as usize], &places.home[..places.home_len as usize]);
            self.prevent_for(tree, repo, home);
            self.import(tree, repo);
        }
    }

    /// Enters `pid` as the root of a tree of its own, with `repo` and `home` as its places.
    ///
    /// # Errors
    /// If a map is full.
    pub fn enter_root(&mut self, pid: u32, mut member: Member, repo: &[u8], home: &[u8]) -> anyhow::Result<()> {
        self.add_mounts_of(pid);
        self.kernel.set_places(member.tree, repo, home)?;
        self.prevent_for(member.tree, repo, home);
        self.import(member.tree, repo);
        // Until its exec it runs guard itself, which is of no class.
        member.classes[self.kernel.active_place()].generation = self.generation;
        self.kernel.enter(pid, member)?;
        let tree = self.trees.entry(member.tree).or_default();
        tree.root = (pid, member.start);
        tree.started = clock::time_of_day(member.start);
        tree.agents.insert(pid);
        let event = self.event_of_start(&member, pid, clock::now_since_boot());
        self.publish(&event, Some(member.tree));
        Ok(())
    }

    /// An agent has become the root of a tree: finds its places.
    pub(super) fn enrolled(&mut self, head: &guard_common::event::Head, cwd: &[u8]) {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = std::path::Path::new(std::ffi::OsStr::from_bytes(cwd));
        let top = repo::top_level(folder);
        let home = users::home_of(head.uid).unwrap_or_default();
        self.add_mounts_of(head.tgid);
        // Without room for its places, the ones that the programs found stay.
        if self.kernel.set_places(head.tree, top.as_os_str().as_bytes(), &home).is_err() {
            self.garbled += 1;
        }
        let tree = Tree {
            root: (head.tgid, head.start),
            uid: Some(head.uid),
            started: clock::time_of_day(head.start),
            ..Tree::default()
        };
        self.trees.insert(head.tree, tree);
        self.prevent_for(head.tree, top.as_os_str().as_bytes(), &home);
        self.import(head.tree, top.as_os_str().as_bytes());
    }

    pub(super) fn exited(&mut self, head: &guard_common::event::Head) {
        self.processes.exited(head.tgid, head.start);
        if let Some(tree) = self.trees.get_mut(&head.tree)
            && (tree.over || tree.agents.remove(&head.tgid) && tree.agents.is_empty())
        {
            tree.settle = Some(Instant::now() + GRACE);
        }
    }

    /// Kills what is left of calls that were ended, each process held so that no other can be hit. The programs see
    /// to it that such a call's processes fork no more.
    pub(super) fn end_calls(&mut self) {
        if self.ending.is_empty() {
            return;
        }
        let mut alive = HashSet::new();
        let members: Vec<_> =
            self.kernel.members().filter(|(_, member)| self.ending.contains_key(&member.call)).collect();
        for (pid, member) in members {
            alive.insert(member.call);
            self.kill(pid, &member);
        }
        // A fork under way when the call was ended may show its child a moment later.
        self.ending.retain(|call, since| alive.contains(call) || since.elapsed() < GRACE);
    }

    /// Kills a member, if it still is the same process.
    pub(super) fn kill(&self, pid: u32, member: &Member) -> bool {
        match Target::hold(pid) {
            Ok(Some(target)) if self.kernel.member(pid).is_some_and(|now| now.start == member.start) => {
                target.kill().unwrap_or(false)
            }
            _ => false,
        }
    }

    /// A session's last agent process has ended: judges what it left behind once it had time to go by itself. What
    /// may stay is guarded on; the tree is forgotten when nothing of it is left.
    pub(super) fn settle(&mut self, id: Id) {
        let members: Vec<_> = self.kernel.members().filter(|(_, member)| member.tree == id).collect();
        let Some(tree) = self.trees.get_mut(&id) else { return };
        let keeps_going = |member: &Member| member.flags & KEEPS_GOING != 0;
        if members.iter().any(|(_, member)| keeps_going(member)) {
            // Another process of the tree became an agent in the meantime.
            tree.agents.extend(members.iter().filter(|(_, member)| keeps_going(member)).map(|(pid, _)| *pid));
            tree.settle = None;
            return;
        }
        if !members.is_empty() && tree.settle.is_some_and(|due| Instant::now() < due) {
            return;
        }
        tree.settle = None;
        if !std::mem::replace(&mut tree.over, true) {
            let (root, agent) = (tree.root, tree.agent.clone());
            self.drain();
            for (pid, member) in &members {
                self.judge_left(*pid, member);
            }
            let member = Member { tree: id, start: root.1, ..Member::default() };
            let mut event = self.event_about("session-end", &member, root.0, clock::now_since_boot());
            (event.agent, event.scope) = (agent, None);
            self.publish(&event, Some(id));
        }
        if members.is_empty()
            && let Some(tree) = self.trees.remove(&id)
        {
            for call in &tree.calls {
                self.calls.remove(call);
            }
            self.totals.sent += self.kernel.sent(id);
            self.kernel.forget_tree(id, tree.calls);
            self.prevent_no_more(id);
            self.forget_import(id);
        }
    }

    /// Judges a process that outlived its session.
    pub(super) fn judge_left(&mut self, pid: u32, member: &Member) {
        let scope = Scope::from_number(member.scope).unwrap_or(Scope::Tool);
        let decision = self.policy.tables().decide(
            Op::Outlive,
            scope,
            &crate::policy::Object::Unknown,
            &crate::policy::Places::default(),
            0,
        );
        let kills = decision.action >= Action::Deny && self.mode_of(Some(member.tree)) == Mode::Enforce;
        let enforced = kills && self.kill(pid, member);
        if !enforced {
            self.totals.left += 1;
        }
        let mut event = self.event_about(Op::Outlive.word(), member, pid, clock::now_since_boot());
        event.path = event.process.as_ref().and_then(|process| process.exe.clone());
        let backend = if enforced { Backend::Signal } else { Backend::None };
        event.verdict = Some(self.verdict(self.generation, decision.rule, decision.action, enforced, backend));
        self.publish(&event, Some(member.tree));
    }

    /// Whether a tree's session is over and its end was told.
    #[must_use]
    pub fn ended(&self, tree: Id) -> bool {
        self.trees.get(&tree).is_none_or(|tree| tree.over)
    }
}

impl Tree {
    /// One of its calls belongs to this session of the agent's.
    pub(super) fn serves(&mut self, session: Option<&Arc<str>>) {
        if let Some(session) = session
            && self.agent_sessions.len() < AGENT_SESSIONS
            && !self.agent_sessions.contains(session)
        {
            self.agent_sessions.push(Arc::clone(session));
        }
    }
}
