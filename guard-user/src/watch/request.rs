//! What can be asked of a watch that runs, from other threads: it answers between records.

use std::sync::Arc;

use guard_common::tree::Id;
use guard_common::words::Mode;
use tokio::sync::oneshot::Sender;

use crate::control::types::{Gap, PolicyInForce, Program, Protection, Reloads, Session, SessionDetail};
use crate::policy::{Source, Whole};
use crate::prevent::Marks;
use crate::record::webhook::Numbers;

use super::Totals;

/// Something that is asked. Who has asked may be gone by the time of the answer.
pub enum Request {
    /// How things are.
    Snapshot(Sender<Snapshot>),
    /// One session, with its processes; nothing where there is none.
    Session(Id, Sender<Option<SessionDetail>>),
    /// Whether the process of this id is guarded.
    Guarded(u32, Sender<bool>),
    /// Something is to be changed.
    Change(By, Change, Sender<Result<Done, Refused>>),
    /// A policy was refused before it got here; why.
    PolicyRefused(By, String),
}

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct By {
    /// The client's process.
    pub pid: u32,
    /// Its start, in nanoseconds since boot.
    pub start: u64,
    /// Its user.
    pub uid: u32,
}

/// A change.
pub enum Change {
    /// Another policy.
    Policy(Box<Whole>),
    /// A session goes into a phase, by its name.
    Phase(Id, String),
    /// A session gets another mode.
    Mode(Id, Mode),
    /// A session ends, or one call of it, by the agent's id or by guard's.
    Kill(Id, Option<String>),
}

/// What a change has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The policy is in force, under this number.
    Policy(u32),
    /// The session is in the phase.
    Phase,
    /// The session is in this mode.
    Mode(Mode),
    /// So many processes were killed.
    Killed(u64),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Who asks is guarded: that decides nothing about guard.
    Guarded,
    /// There is no such session, call or phase.
    Absent(String),
    /// It can't be done as things are.
    Conflict(String),
    /// The kernel refused it.
    Failed(String),
}

/// How things are.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `enforce` or `audit`.
    pub mode: &'static str,
    /// The policy, in short.
    pub policy: PolicyInForce,
    /// What was written.
    pub source: Arc<Source>,
    /// The backends in use.
    pub backends: Vec<String>,
    /// Operations that the policy denies and this kernel does not show.
    pub unenforced: Vec<String>,
    /// What becomes of what is denied.
    pub protection: Vec<Protection>,
    /// Files that are marked, where guard is asked by fanotify.
    pub marks: Option<Marks>,
    /// What is enforced goes on should the daemon die.
    pub stands: bool,
    /// When nobody recorded.
    pub gap: Option<Gap>,
    /// The sessions, the oldest first.
    pub sessions: Vec<Session>,
    /// Guarded processes.
    pub processes: u64,
    /// Room for guarded processes.
    pub max_processes: u64,
    /// What happened so far.
    pub totals: Totals,
    /// The kernel's counters.
    pub counters: Vec<(&'static str, u64)>,
    /// The programs.
    pub programs: Vec<Program>,
    /// Changes of the policy.
    pub reloads: Reloads,
    /// The longest that a record has waited lately, in seconds, where events are recorded.
    pub store_lag_seconds: Option<f64>,
    /// What came of the webhook, where there is one.
    pub webhook: Option<Numbers>,
}
