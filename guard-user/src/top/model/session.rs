//! A session, its calls and its processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Quick;
use super::meter::Meter;
use super::object::{Id, Kind, Use, Uses};
use super::outcome::{Outcome, Outcomes};
use crate::control::types;
use crate::top::seen::Exit;

/// Objects that are kept of one process.
const MAX_TOUCHES: usize = 64;
/// Calls that are kept of one session.
const MAX_CALLS: usize = 1_000;
/// The agent's own session ids that are kept of one session.
const MAX_NAMES: usize = 16;

/// What names a process: its id, and when it was started, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid {
    /// Process id.
    pub pid: u32,
    /// Start.
    pub start: u64,
}

/// What a process did to an object.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The object.
    pub object: Id,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// What was done.
    pub uses: Uses,
    /// What the strictest verdict came to, and the rule.
    pub worst: Option<(Outcome, Option<Arc<str>>)>,
}

impl Touch {
    /// What was done to it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let named = [
            (Use::Read, "read"),
            (Use::Write, "write"),
            (Use::Exec, "exec"),
            (Use::Connect, "connect"),
            (Use::Other, "other"),
        ];
        let words: Vec<String> = named
            .into_iter()
            .filter_map(|(what, word)| match self.uses.of(what) {
                0 => None,
                1 => Some(word.to_owned()),
                count => Some(format!("{word} x{count}")),
            })
            .collect();
        words.join(", ")
    }
}

/// A process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its parent's id, where it was last told.
    pub ppid: Option<u32>,
    /// True path of its executable.
    pub exe: Box<str>,
    /// Its command line, with a NUL between words.
    pub argv: Box<str>,
    /// Its working folder at the exec.
    pub cwd: Box<str>,
    /// The call that it belongs to; 0 is the agent's own work.
    pub call: u32,
    /// When it was first seen.
    pub began: u64,
    /// When it was last seen.
    pub last: u64,
    /// When it was known to run what it runs.
    pub(super) imaged: u64,
    /// When and how it has ended.
    pub ended: Option<(u64, Exit)>,
    /// It had a parent in the session, which has gone before it.
    pub orphan: bool,
    /// It was still there when its session had ended.
    pub left: bool,
    /// What it touched.
    pub touches: Vec<Touch>,
    /// Objects beyond those.
    pub more: u64,
    /// What its verdicts came to.
    pub outcomes: Outcomes,
}

impl Process {
    /// Counts a touch; whether one more object is kept.
    pub(super) fn touch(&mut self, touched: Touched<'_>) -> bool {
        let Touched { object, kind, name, what, count, outcome, rule, full } = touched;
        let at = self.touches.iter().position(|touch| touch.object == object);
        let new = at.is_none();
        let at = match at {
            Some(at) => at,
            // What a verdict is about takes the place of what none is about.
            None if full || self.touches.len() >= MAX_TOUCHES => {
                self.more += 1;
                let plain = self.touches.iter().position(|touch| touch.worst.is_none());
                let Some(at) = plain.filter(|_| outcome.is_some()) else { return false };
                self.touches.remove(at);
                self.push(object, kind, name)
            }
            None => self.push(object, kind, name),
        };
        let touch = &mut self.touches[at];
        touch.uses.add(what, count);
        if let Some(outcome) = outcome
            && touch.worst.as_ref().is_none_or(|(worst, _)| *worst <= outcome)
        {
            touch.worst = Some((outcome, rule.cloned()));
        }
        new
    }

    fn push(&mut self, object: Id, kind: Kind, name: &Arc<str>) -> usize {
        let name = Arc::clone(name);
        self.touches.push(Touch { object, kind, name, uses: Uses::default(), worst: None });
        self.touches.len() - 1
    }

    /// The base name of what it runs.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.exe.rsplit('/').next().unwrap_or_default();
        if name.is_empty() { "?" } else { name }
    }

    /// How it ended, in words.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        let (_, exit) = self.ended?;
        Some(match (exit.code, exit.signal) {
            (_, Some(signal)) => format!("signal {signal}"),
            (Some(code), None) => format!("exit {code}"),
            (None, None) => "ended".to_owned(),
        })
    }
}

/// A touch, as [`Process::touch`] takes it.
#[derive(Clone, Copy)]
pub(super) struct Touched<'a> {
    pub object: Id,
    pub kind: Kind,
    pub name: &'a Arc<str>,
    pub what: Use,
    pub count: u32,
    pub outcome: Option<Outcome>,
    pub rule: Option<&'a Arc<str>>,
    /// There is no room for more objects.
    pub full: bool,
}

/// A call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The agent's own id of it.
    pub label: Box<str>,
    /// When it was first seen.
    pub began: u64,
    /// What its verdicts came to.
    pub outcomes: Outcomes,
}

/// A session: one tree.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The agent's own ids, the latest last.
    pub names: Vec<Box<str>>,
    /// The agent's name in the policy.
    pub agent: Option<Box<str>>,
    /// User id of its root.
    pub uid: Option<u32>,
    /// That user's name.
    pub user: Option<Arc<str>>,
    /// Its repository.
    pub repo: Option<Box<str>>,
    /// Its user's home.
    pub home: Option<Box<str>>,
    /// Whether verdicts are carried out, as far as that was told or seen.
    pub enforce: Option<bool>,
    /// Its phase.
    pub phase: Option<Box<str>>,
    /// Its root.
    pub root: Pid,
    /// When it began, or was first seen.
    pub began: u64,
    /// When it was last seen.
    pub last: u64,
    /// When its last agent process ended.
    pub ended: Option<u64>,
    /// Execs.
    pub execs: Meter,
    /// Opens.
    pub opens: Meter,
    /// Connections and datagrams.
    pub connects: Meter,
    /// What its verdicts came to.
    pub outcomes: Outcomes,
    /// Its calls; none is 0, which is the agent's own work.
    pub calls: BTreeMap<u32, Call>,
    /// Calls there have been.
    pub calls_seen: u32,
    pub(super) labels: HashMap<Box<str>, u32>,
    /// The call of the last event: mostly that of the next too.
    pub(super) latest_call: Option<(u32, Box<str>)>,
    /// Its processes.
    pub processes: HashMap<Pid, Process, Quick>,
    /// Those that have not ended.
    pub alive: usize,
    /// What the daemon says of it.
    pub said: Option<types::Session>,
}

impl Session {
    /// The number of a call, which is new if it was not seen before.
    pub(super) fn call(&mut self, label: &str, time: u64) -> u32 {
        if let Some((number, _)) = self.latest_call.as_ref().filter(|(_, latest)| **latest == *label) {
            return *number;
        }
        let number = self.call_of(label, time);
        self.latest_call = Some((number, label.into()));
        number
    }

    fn call_of(&mut self, label: &str, time: u64) -> u32 {
        if let Some(number) = self.labels.get(label) {
            return *number;
        }
        if self.calls.len() >= MAX_CALLS {
            let oldest = self.calls.keys().next().copied().unwrap_or(0);
            if let Some(call) = self.calls.remove(&oldest) {
                self.labels.remove(&call.label);
            }
        }
        self.calls_seen += 1;
        let number = self.calls_seen;
        self.labels.insert(label.into(), number);
        self.calls.insert(number, Call { label: label.into(), began: time, outcomes: Outcomes::default() });
        number
    }

    /// The agent's own id of it is this too.
    pub(super) fn name(&mut self, name: &str) {
        if self.names.last().is_some_and(|last| &**last == name) {
            return;
        }
        self.names.retain(|known| &**known != name);
        if self.names.len() >= MAX_NAMES {
            self.names.remove(0);
        }
        self.names.push(name.into());
    }

    /// A short name: the end of the agent's own id, whose beginning is the time and the same for many; else the root's
    /// process id.
    #[must_use]
    pub fn short(&self) -> String {
        match self.names.last() {
            Some(name) => name[name.floor_char_boundary(name.len().saturating_sub(8))..].to_owned(),
            None => format!("pid {}", self.root.pid),
        }
    }

    /// How many calls there have been.
    #[must_use]
    pub fn calls(&self) -> u64 {
        u64::from(self.calls_seen).max(self.said.as_ref().map_or(0, |said| said.calls))
    }

    /// How many processes run.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.said.as_ref().map_or(self.alive as u64, |said| said.processes)
    }

    /// How many verdicts had this action.
    #[must_use]
    pub fn verdicts(&self, action: &str) -> u64 {
        let said = self.said.as_ref().and_then(|said| said.verdicts.get(action)).copied().unwrap_or(0);
        self.outcomes.action(action).max(said)
    }

    /// Bytes that it has sent, where that is known.
    #[must_use]
    pub fn bytes_out(&self) -> Option<u64> {
        self.said.as_ref().and_then(|said| said.bytes_out)
    }

    /// What its strictest verdict came to.
    #[must_use]
    pub fn worst(&self) -> Option<Outcome> {
        let said = match self.said.as_ref().and_then(|said| said.worst.as_deref()) {
            Some("log") => Some(Outcome::Log),
            Some("deny") if self.enforce == Some(false) => Some(Outcome::WouldDeny),
            Some("kill") if self.enforce == Some(false) => Some(Outcome::WouldKill),
            Some("deny") => Some(Outcome::Deny),
            Some("kill") => Some(Outcome::Kill),
            _ => None,
        };
        self.outcomes.worst().max(said)
    }

    /// `enforce` or `audit`; nothing where neither was told.
    #[must_use]
    pub fn mode(&self) -> Option<&'static str> {
        self.enforce.map(|enforce| if enforce { "enforce" } else { "audit" })
    }

    /// Whether that is its own, and not the policy's.
    #[must_use]
    pub fn own_mode(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.own_mode)
    }

    /// How long it has run at this time.
    #[must_use]
    pub fn age(&self, now: u64) -> u64 {
        self.ended.unwrap_or(now).saturating_sub(self.began)
    }
}
