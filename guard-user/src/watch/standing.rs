//! What goes on when the daemon is killed, and how the next one takes over.
//!
//! The programs are pinned and decide by themselves; nobody reads what they tell until another daemon is there. That one attaches its
//! own programs first, then enters whom the old ones guard, and only then removes those: in between both decide, and at no
//! moment neither. Records up to that removal are taken from the old ring buffers, those from then on from the new ones.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_common::tree::{COUNTERS, Id, Member, NO_AGENT, TOLD_IN_EVENTS};
use guard_common::words::Action;
use serde::{Deserialize, Serialize};

use super::{Call, LOSSES, Tally, Totals, Tree, Watch};
use crate::control::types::Gap;
use crate::kernel::{Folder, Left, Pins};
use crate::policy::{AgentInfo, RuleInfo};
use crate::record::clock;
use crate::record::decode::{Record, decode};
use crate::record::event::Event;

/// What is left by this name is [`Policies`].
const POLICIES: &str = "policies";
/// What is left by this name is [`Sessions`].
const SESSIONS: &str = "sessions";
/// How often what is known of sessions is left anew, where something has happened.
const EVERY: Duration = Duration::from_secs(1);

/// What daemons that died have left behind.
#[derive(Default)]
pub struct Inheritance(Vec<Estate>);

/// What one of them has.
struct Estate {
    left: Left,
    policies: Policies,
    sessions: Sessions,
}

/// What is needed to understand records.
#[derive(Default, Deserialize, Serialize)]
struct Policies {
    /// Names of the agents, by number.
    agents: Vec<String>,
    /// Rules by the number of the policy that they are of.
    rules: Vec<(u32, Vec<Rule>)>,
}

/// [`RuleInfo`].
#[derive(Deserialize, Serialize)]
struct Rule {
    name: String,
    action: u8,
    reason: Option<String>,
    line: u32,
    agent: bool,
}

/// What is known of sessions, and what happened so far.
#[derive(Default, Deserialize, Serialize)]
struct Sessions {
    trees: Vec<KnownTree>,
    calls: Vec<KnownCall>,
    tally: Tally,
    would_have: Tally,
    rules: HashMap<String, [u64; Action::ALL.len()]>,
    lost: HashMap<String, u64>,
    /// Counters of the kernel's that were told.
    counters: HashMap<String, u64>,
    left: u64,
    /// Bytes that sessions have sent that are over.
    #[serde(default)]
    sent: u64,
}

/// [`Tree`].
#[derive(Deserialize, Serialize)]
struct KnownTree {
    id: Id,
    root: (u32, u64),
    agent: Option<String>,
    uid: Option<u32>,
    started: String,
    agent_sessions: Vec<String>,
    labelled: u64,
    tally: Tally,
    calls: Vec<Id>,
}

/// [`Call`].
#[derive(Deserialize, Serialize)]
struct KnownCall {
    id: Id,
    session: Option<String>,
    label: Option<String>,
}

/// When what is known was left last.
#[derive(Debug, Default)]
pub(super) struct Standing {
    last: Option<Instant>,
    /// Something has happened since.
    pub(super) changed: bool,
    /// It was said that it can't be left.
    told: bool,
}

impl Inheritance {
    /// What is in `folder`.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(folder: &Folder) -> anyhow::Result<Self> {
        Ok(Self(folder.left_behind()?.into_iter().map(Estate::of).collect()))
    }

    /// A number for the first policy that none of theirs has.
    #[must_use]
    pub fn next_generation(&self) -> u32 {
        let numbers = self.0.iter().flat_map(|estate| &estate.policies.rules).map(|(number, _)| *number);
        numbers.max().unwrap_or(0) + 1
    }

    /// The entry of a process, with the agent's number by these `agents`.
    #[must_use]
    pub fn member(&self, pid: u32, agents: &[AgentInfo]) -> Option<Member> {
        self.0.iter().find_map(|estate| {
            let member = estate.left.member(pid)?;
            Some(Member { agent: estate.agent(member.agent, agents), ..member })
        })
    }

    /// Whether nothing was left behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Estate {
    fn of(left: Left) -> Self {
        // What another version has left may not be understood. Then less is told of what happened.
        let policies = left.read(POLICIES).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let sessions = left.read(SESSIONS).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { left, policies, sessions }
    }

    /// The number among `agents` of the agent that had `number` here.
    fn agent(&self, number: u8, agents: &[AgentInfo]) -> u8 {
        let name = self.policies.agents.get(usize::from(number));
        let place = name.and_then(|name| agents.iter().position(|agent| agent.name == *name));
        place.map_or(NO_AGENT, |place| place as u8)
    }
}

impl Watch<'_> {
    /// Has what is enforced outlive this process.
    ///
    /// # Errors
    /// Whatever bpffs says. Then nothing outlives it.
    pub fn stand(&mut self, pins: Pins) -> anyhow::Result<()> {
        self.kernel.stand(pins)?;
        self.leave_policies();
        self.leave_sessions();
        Ok(())
    }

    /// Ends it with this process.
    pub fn lift_pins(&mut self) {
        self.kernel.lift_pins();
    }

    /// Leaves a sign of life, and what changed since it was last left.
    pub(super) fn show_life(&mut self) {
        let Some(pins) = self.kernel.pins() else { return };
        let result = pins.alive(clock::now_since_boot());
        self.left(result);
        if self.standing.changed && self.standing.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.leave_sessions();
        }
    }

    /// Leaves what is known of sessions.
    pub fn leave_sessions(&mut self) {
        self.standing.changed = false;
        self.standing.last = Some(Instant::now());
        let known = self.known_sessions();
        self.leave(SESSIONS, &known);
    }

    /// Leaves what is known of policies.
    pub(super) fn leave_policies(&mut self) {
        let rules = |(number, rules): &(u32, Arc<Vec<RuleInfo>>)| (*number, rules.iter().map(Rule::of).collect());
        let known = Policies {
            agents: self.policy.agents.iter().map(|agent| agent.name.clone()).collect(),
            rules: self.policies.iter().map(rules).collect(),
        };
        self.leave(POLICIES, &known);
    }

    fn leave(&mut self, name: &'static str, what: &impl Serialize) {
        if self.kernel.pins().is_none() {
            return;
        }
        let result =
            serde_json::to_vec(what).map_err(Into::into).and_then(|text| self.kernel.leave_behind(name, &text));
        self.left(result);
    }

    /// What can't be left is no reason to stop; it is said once.
    fn left(&mut self, result: anyhow::Result<()>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.standing.told, true)
        {
            tracing::warn!("should guard be killed, the next one will know less of its sessions: {error:#}");
        }
    }

    fn known_sessions(&self) -> Sessions {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(ToOwned::to_owned);
        let tree = |(id, tree): (&Id, &Tree)| KnownTree {
            id: *id,
            root: tree.root,
            agent: tree.agent.clone(),
            uid: tree.uid,
            started: tree.started.clone(),
            agent_sessions: tree.agent_sessions.iter().map(|session| session.as_ref().to_owned()).collect(),
            labelled: tree.labelled,
            tally: tree.tally.clone(),
            calls: tree.calls.clone(),
        };
        let call =
            |(id, call): (&Id, &Call)| KnownCall { id: *id, session: text(&call.session), label: text(&call.label) };
        Sessions {
            // One that is over has only what it left behind.
            trees: self.trees.iter().filter(|(_, tree)| !tree.over).map(tree).collect(),
            calls: self.calls.iter().map(call).collect(),
            tally: self.totals.tally.clone(),
            would_have: self.totals.would_have.clone(),
            rules: self.totals.rules.clone(),
            lost: self.totals.lost.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            counters: self.counters.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            left: self.totals.left,
            sent: self.totals.sent,
        }
    }

    /// Takes over what was known of sessions, before their processes are entered.
    pub(super) fn inherit(&mut self, inheritance: &Inheritance) -> anyhow::Result<()> {
        for estate in &inheritance.0 {
            self.kernel.adopt(&estate.left)?;
            self.prevent_where_enforced();
            let known = &estate.sessions;
            self.totals.adopt(known);
            for tree in &known.trees {
                self.trees.insert(tree.id, Tree::of(tree));
            }
            for call in &known.calls {
                let text = |text: &Option<String>| text.as_deref().map(Into::into);
                self.calls.insert(call.id, Call { session: text(&call.session), label: text(&call.label) });
            }
            let rules = |rules: &Vec<Rule>| Arc::new(rules.iter().map(Rule::info).collect());
            let policies: VecDeque<_> =
                estate.policies.rules.iter().map(|(number, list)| (*number, rules(list))).collect();
            self.policies.extend(policies);
        }
        // The one in force is the last.
        self.policies.make_contiguous().sort_by_key(|(number, _)| *number);
        Ok(())
    }

    /// Removes what the dead have left enforcing, now that this guard enforces, and tells what happened since they died.
    pub fn take_over(&mut self, inheritance: Inheritance) {
        for estate in inheritance.0 {
            let since = estate.left.alive();
            let mut rings = estate.left.rings();
            // Both tell of what happens until the old programs are gone.
            self.from = clock::now_since_boot();
            let counters = estate.left.counters();
            let agents: Vec<u8> = (0..=u8::MAX).map(|number| estate.agent(number, &self.policy.agents)).collect();
            let (readable, told) = (estate.left.is_readable(), estate.sessions.counters);
            estate.left.release();
            let event = Event {
                time: clock::time_of_day(self.from),
                op: "gap",
                since: since.map(clock::time_of_day),
                ..Event::default()
            };
            self.publish(&event, None);
            self.gap = Some(Gap { since: event.since, until: event.time });
            let mut records = 0_u64;
            for ring in &mut rings {
                while let Some(item) = ring.next() {
                    let record = decode(&item);
                    drop(item);
                    records += 1;
                    match record {
                        Ok(record) if record.head.time >= self.from => {}
                        Ok(record) => self.handle(&translated(record, &agents)),
                        Err(_) => self.garbled += 1,
                    }
                }
            }
            let mut lost = 0;
            for (kind, count) in counters {
                let missed = count.saturating_sub(told.get(kind).copied().unwrap_or(0));
                if missed > 0 && !TOLD_IN_EVENTS.contains(&kind) {
                    lost += missed;
                    self.lose(kind, missed);
                }
            }
            let idle = since.map(|since| Duration::from_nanos(self.from.saturating_sub(since)));
            let how_long =
                idle.map_or("for an unknown time".to_owned(), |idle| format!("for {:.1} s", idle.as_secs_f64()));
            if readable {
                tracing::warn!(
                    "a guard that was killed has gone on enforcing; nobody recorded {how_long}: {records} records were \
                     waiting, {lost} are lost"
                );
            } else {
                tracing::warn!(
                    "a guard of another version that was killed has gone on enforcing; what it recorded since can't be read"
                );
            }
        }
        self.settle_empty();
        self.leave_policies();
        self.leave_sessions();
    }

    /// Sessions whose agents have ended while nobody looked are over.
    fn settle_empty(&mut self) {
        for tree in self.trees.values_mut().filter(|tree| tree.agents.is_empty()) {
            tree.settle = Some(Instant::now());
        }
    }
}

/// The record, with its agent's number as it is here.
fn translated(mut record: Record, agents: &[u8]) -> Record {
    record.head.agent = agents[usize::from(record.head.agent)];
    record
}

impl Tree {
    fn of(known: &KnownTree) -> Self {
        Self {
            root: known.root,
            agent: known.agent.clone(),
            uid: known.uid,
            started: known.started.clone(),
            agent_sessions: known.agent_sessions.iter().map(|session| session.as_str().into()).collect(),
            labelled: known.labelled,
            tally: known.tally.clone(),
            calls: known.calls.clone(),
            ..Self::default()
        }
    }
}

impl Rule {
    fn of(rule: &RuleInfo) -> Self {
        let RuleInfo { name, action, reason, line, agent } = rule.clone();
        Self { name, action: action as u8, reason, line, agent }
    }

    fn info(&self) -> RuleInfo {
        RuleInfo {
            name: self.name.clone(),
            action: Action::from_number(self.action).unwrap_or(Action::Deny),
            reason: self.reason.clone(),
            line: self.line,
            agent: self.agent,
        }
    }
}

impl Totals {
    /// Counts on from what another guard has counted.
    fn adopt(&mut self, known: &Sessions) {
        self.tally = known.tally.clone();
        self.would_have = known.would_have.clone();
        self.rules.clone_from(&known.rules);
        self.left = known.left;
        self.sent = known.sent;
        let kinds = LOSSES.iter().chain(COUNTERS);
        self.lost = kinds.filter_map(|kind| Some((*kind, *known.lost.get(*kind)?))).collect();
    }
}
