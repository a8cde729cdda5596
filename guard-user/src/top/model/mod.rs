//! What is known, made of events, whoever hands them in. It knows no screen and no source. However long it takes events
//! in, and whatever they hold, its size is bounded: what has ended goes first.

mod apply;
mod meter;
mod object;
mod outcome;
mod said;
mod session;
mod told;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use meter::Meter;
pub use object::{About, Id as ObjectId, Kind, Object, Objects, Use, Uses};
pub use outcome::{Outcome, Outcomes};
pub use said::Usage;
pub use session::{Call, Pid, Process, Session, Touch};
pub use told::Told;

use super::when;
use crate::control::types;

/// Sessions that are kept.
const MAX_SESSIONS: usize = 1_000;
/// Processes that are kept, of all sessions.
const MAX_PROCESSES: usize = 20_000;
/// Objects of processes that are kept, of all sessions.
const MAX_TOUCHES: usize = 200_000;
/// Verdicts that are kept.
const MAX_TOLD: usize = 10_000;
/// Bytes of a command line that are kept.
const MAX_LINE: usize = 1_024;
/// Names of rules and reasons that are kept once for all.
const MAX_WORDS: usize = 4_096;

/// Hashes numbers that the kernel has made, or that are hashes already: nobody can choose them.
pub type Quick = foldhash::fast::RandomState;

/// Looks up the name of a user.
pub type UserNames = fn(u32) -> Option<String>;

/// What is known.
#[derive(Clone, Debug)]
pub struct Model {
    /// The latest time that was told or reached.
    pub now: u64,
    /// When the first event was, or the daemon was first heard of.
    pub began: u64,
    /// The sessions by their trees.
    pub sessions: HashMap<u64, Session, Quick>,
    /// The last verdicts that are not `allow`, the oldest first.
    pub told: VecDeque<Told>,
    /// All such verdicts.
    pub told_ever: u64,
    /// What was touched.
    pub objects: Objects,
    /// What was lost, by kind.
    pub lost: BTreeMap<Box<str>, u64>,
    /// What all verdicts came to.
    pub outcomes: Outcomes,
    /// Events, in all.
    pub events: u64,
    /// Lines that were no events.
    pub garbage: u64,
    /// Events by time.
    pub rate: Meter,
    /// Execs by time.
    pub execs: Meter,
    /// Opens by time.
    pub opens: Meter,
    /// Connections by time.
    pub connects: Meter,
    /// What the daemon says of itself.
    pub status: Option<types::Status>,
    /// What the daemon costs, as from one status to the next.
    pub usage: Usage,
    processes: usize,
    touches: usize,
    clock: when::Reader,
    words: HashSet<Arc<str>>,
    users: HashMap<u32, Option<Arc<str>>>,
    names: UserNames,
}

impl Model {
    /// Nothing is known yet. `names` looks up the names of users.
    #[must_use]
    pub fn new(names: UserNames) -> Self {
        Self {
            now: 0,
            began: 0,
            sessions: HashMap::default(),
            told: VecDeque::new(),
            told_ever: 0,
            objects: Objects::default(),
            lost: BTreeMap::new(),
            outcomes: Outcomes::default(),
            events: 0,
            garbage: 0,
            rate: Meter::default(),
            execs: Meter::default(),
            opens: Meter::default(),
            connects: Meter::default(),
            status: None,
            usage: Usage::default(),
            processes: 0,
            touches: 0,
            clock: when::Reader::default(),
            words: HashSet::new(),
            users: HashMap::new(),
            names,
        }
    }

    /// The time has come to this, whether anything happened or not.
    pub fn advance(&mut self, time: u64) {
        self.now = self.now.max(time);
        if self.began == 0 {
            self.began = time;
        }
    }

    /// The process, in whatever session.
    #[must_use]
    pub fn process(&self, tree: u64, pid: Pid) -> Option<&Process> {
        self.sessions.get(&tree)?.processes.get(&pid)
    }

    /// Losses, in all.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// The verdict of this number, if it is kept.
    #[must_use]
    pub fn told(&self, number: u64) -> Option<&Told> {
        let first = self.told.front()?.number;
        self.told.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// A word that is the same in many places, kept once.
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return Arc::clone(word);
        }
        if self.words.len() >= MAX_WORDS {
            self.words.clear();
        }
        let word: Arc<str> = text.into();
        self.words.insert(Arc::clone(&word));
        word
    }

    /// A user's name.
    fn user(&mut self, uid: u32) -> Option<Arc<str>> {
        let names = self.names;
        if self.users.len() >= MAX_WORDS {
            self.users.clear();
        }
        self.users.entry(uid).or_insert_with(|| names(uid).map(Into::into)).clone()
    }

    /// Makes room for one more session.
    fn make_room_for_session(&mut self) {
        if self.sessions.len() < MAX_SESSIONS {
            return;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| (session.ended.is_none(), session.last));
        if let Some(tree) = oldest.map(|(tree, _)| *tree)
            && let Some(session) = self.sessions.remove(&tree)
        {
            self.processes -= session.processes.len();
            self.touches -= session.processes.values().map(|process| process.touches.len()).sum::<usize>();
        }
    }

    /// Makes room for more processes: a quarter goes, of those that have ended the ones longest unseen, then of the
    /// others.
    fn make_room_for_processes(&mut self) {
        if self.processes < MAX_PROCESSES && self.touches < MAX_TOUCHES {
            return;
        }
        let mut all: Vec<(bool, u64, u64, Pid)> = Vec::with_capacity(self.processes);
        for (tree, session) in &self.sessions {
            all.extend(
                session.processes.iter().map(|(pid, process)| {
                    (process.ended.is_none() || *pid == session.root, process.last, *tree, *pid)
                }),
            );
        }
        let quarter = all.len() / 4;
        if quarter > 0 {
            all.select_nth_unstable(quarter);
        }
        for (_, _, tree, pid) in &all[..quarter] {
            let Some(session) = self.sessions.get_mut(tree) else { continue };
            if let Some(process) = session.processes.remove(pid) {
                self.processes -= 1;
                self.touches -= process.touches.len();
                session.alive -= usize::from(process.ended.is_none());
            }
        }
    }
}
