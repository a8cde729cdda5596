//! Events for those who follow them as they come: one queue for all readers, bounded in bytes.
//!
//! Whoever tells never waits. What is pushed out before a reader has read it is counted for that reader, if it is something it
//! would have been given. Verdicts and lives have a queue of their own, so that allowed operations can't push them out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use guard_common::tree::Id;
use tokio::sync::Notify;

/// Bytes that are kept of verdicts and lives.
const VERDICT_BYTES: usize = 4 << 20;
/// Bytes that are kept of allowed operations.
const BULK_BYTES: usize = 8 << 20;
/// What an event takes beside its line.
const OVERHEAD: usize = 128;
/// Readers at once.
const MAX_READERS: usize = 64;
/// Readers of one user, root excepted.
const MAX_OF_USER: usize = 8;
/// Events that are looked at for a reader at a time: whoever tells may be waiting for the lock.
const LOOKS: usize = 1024;
/// Bytes that a reader takes at a time.
const TAKES: usize = 128 << 10;

/// Whom an event may be told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    All,
    /// Those who may see everything, and the user of this id.
    User(u32),
    /// Those who may see everything.
    Trusted,
}

/// What an event is of: not everybody wants all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A verdict that is not `allow`, a life, or what is of guard itself.
    Rest,
    /// An allowed exec, which makes known what a process is.
    Execs,
    /// Another allowed operation.
    Allowed,
    /// Allowed operations by their number.
    Counted,
}

/// How allowed operations are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Not at all.
    #[default]
    No,
    /// By their number, execs each.
    Counted,
    /// Each.
    Each,
}

impl Allowed {
    fn takes(self, of: Of) -> bool {
        match of {
            Of::Rest => true,
            Of::Execs => self != Self::No,
            Of::Allowed => self == Self::Each,
            Of::Counted => self == Self::Counted,
        }
    }
}

/// An event, told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its line of the record, without the end of the line.
    pub line: Bytes,
    /// Its tree.
    pub tree: Option<Id>,
    /// Whom it may be told to.
    pub audience: Audience,
    /// Its operation.
    pub op: &'static str,
    /// What was decided, if anything was.
    pub action: Option<&'static str>,
    /// What it is of.
    pub of: Of,
    /// Events that it stands for: those that are missed with it.
    pub stands_for: u64,
}

/// Which events a reader wants, and may have.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only those of this user's sessions.
    pub user: Option<u32>,
    /// Only those of this tree.
    pub tree: Option<Id>,
    /// Only these operations; empty for all.
    pub ops: Vec<String>,
    /// Only these actions; empty for all, and for events without a verdict.
    pub actions: Vec<String>,
    /// Allowed operations too.
    pub allowed: Allowed,
}

impl Choice {
    fn takes(&self, told: &Told) -> bool {
        let may = match told.audience {
            Audience::All => true,
            Audience::User(owner) => self.user.is_none_or(|user| user == owner),
            Audience::Trusted => self.user.is_none(),
        };
        may && self.allowed.takes(told.of)
            && self.tree.is_none_or(|tree| told.tree.is_none_or(|of| of == tree))
            && (self.ops.is_empty() || self.ops.iter().any(|op| op == told.op))
            && (self.actions.is_empty()
                || told.action.is_some_and(|action| self.actions.iter().any(|one| one == action)))
    }
}

/// What a reader is given.
#[derive(Debug, Default)]
pub struct Taken {
    /// Events that it has missed before these.
    pub missed: u64,
    /// The events.
    pub events: Vec<Told>,
    /// There may be more.
    pub more: bool,
}

#[derive(Default)]
struct Queue {
    told: VecDeque<Told>,
    /// Number of the first.
    first: u64,
    bytes: usize,
}

impl Queue {
    fn end(&self) -> u64 {
        self.first + self.told.len() as u64
    }

    fn pop(&mut self) -> Option<(u64, Told)> {
        let told = self.told.pop_front()?;
        self.bytes -= told.line.len() + OVERHEAD;
        self.first += 1;
        Some((self.first - 1, told))
    }
}

struct Reader {
    choice: Choice,
    user: u32,
    /// Numbers of the next to read, in both queues.
    next: [u64; 2],
    missed: u64,
}

#[derive(Default)]
struct State {
    queues: [Queue; 2],
    readers: BTreeMap<u64, Reader>,
    last_reader: u64,
    missed: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
    readers: AtomicUsize,
    /// Those who want allowed operations each, and those who want them counted.
    readers_of_each: AtomicUsize,
    readers_of_counted: AtomicUsize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has left numbers behind at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many want allowed operations in this way, if it is one.
    fn readers_of(&self, allowed: Allowed) -> Option<&AtomicUsize> {
        match allowed {
            Allowed::No => None,
            Allowed::Counted => Some(&self.readers_of_counted),
            Allowed::Each => Some(&self.readers_of_each),
        }
    }
}

/// The events as they come.
#[derive(Clone, Default)]
pub struct Stream(Arc<Shared>);

impl Stream {
    /// Whether anybody wants events of this.
    #[must_use]
    pub fn wanted(&self, of: Of) -> bool {
        let any = |readers: &AtomicUsize| readers.load(Ordering::Relaxed) > 0;
        match of {
            Of::Rest => any(&self.0.readers),
            Of::Execs => any(&self.0.readers_of_each) || any(&self.0.readers_of_counted),
            Of::Allowed => any(&self.0.readers_of_each),
            Of::Counted => any(&self.0.readers_of_counted),
        }
    }

    /// Tells events, and takes them out of `batch`.
    pub fn tell(&self, batch: &mut Vec<Told>) {
        if batch.is_empty() {
            return;
        }
        let mut state = self.0.state();
        let State { queues, readers, missed, .. } = &mut *state;
        if readers.is_empty() {
            batch.clear();
        }
        for told in batch.drain(..) {
            let bulk = told.of != Of::Rest;
            let which = usize::from(bulk);
            let (queue, limit) = (&mut queues[which], if bulk { BULK_BYTES } else { VERDICT_BYTES });
            queue.bytes += told.line.len() + OVERHEAD;
            queue.told.push_back(told);
            while queue.bytes > limit {
                let Some((number, gone)) = queue.pop() else { break };
                for reader in readers.values_mut().filter(|reader| reader.next[which] <= number) {
                    let wanted = u64::from(reader.choice.takes(&gone)) * gone.stands_for;
                    reader.missed += wanted;
                    *missed += wanted;
                }
            }
        }
        for (which, queue) in queues.iter_mut().enumerate() {
            // What everybody has read.
            let low = readers.values().map(|reader| reader.next[which]).min().unwrap_or(u64::MAX);
            while queue.first < low && queue.pop().is_some() {}
        }
        drop(state);
        self.0.news.notify_waiters();
    }

    /// Begins to read, from now on, for the user `user`.
    ///
    /// # Errors
    /// Says how many readers there are, if these are all that there can be.
    pub fn read(&self, choice: Choice, user: u32) -> Result<Reading, String> {
        let mut state = self.0.state();
        let of_user = state.readers.values().filter(|reader| reader.user == user).count();
        if state.readers.len() >= MAX_READERS {
            return Err(format!("{MAX_READERS} clients follow the events already, as many as can"));
        }
        if user != 0 && of_user >= MAX_OF_USER {
            return Err(format!("{MAX_OF_USER} clients of uid {user} follow the events already, as many as can"));
        }
        let allowed = choice.allowed;
        let next = [state.queues[0].end(), if allowed == Allowed::No { u64::MAX } else { state.queues[1].end() }];
        state.last_reader += 1;
        let id = state.last_reader;
        state.readers.insert(id, Reader { choice, user, next, missed: 0 });
        drop(state);
        self.0.readers.fetch_add(1, Ordering::Relaxed);
        if let Some(readers) = self.0.readers_of(allowed) {
            readers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Reading { shared: Arc::clone(&self.0), id, allowed })
    }

    /// How many read.
    #[must_use]
    pub fn readers(&self) -> u64 {
        self.0.readers.load(Ordering::Relaxed) as u64
    }

    /// Events that readers have missed, each counted for each reader.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.0.state().missed
    }
}

/// A reader's place in the stream; dropped, nothing is kept for it any more.
pub struct Reading {
    shared: Arc<Shared>,
    id: u64,
    allowed: Allowed,
}

impl Reading {
    /// What there is for this reader, without waiting.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut taken = Taken::default();
        let mut state = self.shared.state();
        let State { queues, readers, .. } = &mut *state;
        let Some(reader) = readers.get_mut(&self.id) else { return taken };
        taken.missed = std::mem::take(&mut reader.missed);
        let (mut looks, mut bytes) = (0, 0);
        for (which, queue) in queues.iter().enumerate() {
            let next = &mut reader.next[which];
            if *next == u64::MAX {
                continue;
            }
            *next = (*next).max(queue.first);
            while let Some(told) = queue.told.get((*next - queue.first) as usize) {
                if looks == LOOKS || bytes >= TAKES {
                    taken.more = true;
                    return taken;
                }
                *next += 1;
                looks += 1;
                if reader.choice.takes(told) {
                    bytes += told.line.len();
                    taken.events.push(told.clone());
                }
            }
        }
        taken
    }

    /// Waits until there may be something. Safe to drop at any moment.
    pub async fn wait(&self) {
        let mut news = std::pin::pin!(self.shared.news.notified());
        // From here on nothing is overheard, and what was told before is seen by the look.
        news.as_mut().enable();
        if !self.nothing() {
            return;
        }
        news.await;
    }

    fn nothing(&self) -> bool {
        let state = self.shared.state();
        state.readers.get(&self.id).is_none_or(|reader| {
            reader.missed == 0
                && state.queues.iter().zip(reader.next).all(|(queue, next)| next == u64::MAX || next >= queue.end())
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.readers.remove(&self.id);
        if state.readers.is_empty() {
            for queue in &mut state.queues {
                queue.first = queue.end();
                queue.told = VecDeque::new();
                queue.bytes = 0;
            }
        }
        drop(state);
        self.shared.readers.fetch_sub(1, Ordering::Relaxed);
        if let Some(readers) = self.shared.readers_of(self.allowed) {
            readers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(op: &'static str, owner: u32, allowed: bool, size: usize) -> Told {
        Told {
            line: Bytes::from(vec![b'x'; size]),
            tree: Some(7),
            audience: Audience::User(owner),
            op,
            action: Some(if allowed { "allow" } else { "deny" }),
            of: if allowed { Of::Allowed } else { Of::Rest },
            stands_for: 1,
        }
    }

    fn all(reading: &Reading) -> (u64, Vec<&'static str>) {
        let (mut missed, mut ops) = (0, Vec::new());
        loop {
            let taken = reading.take();
            missed += taken.missed;
            ops.extend(taken.events.iter().map(|told| told.op));
            if !taken.more {
                return (missed, ops);
            }
        }
    }

    #[test]
    fn each_reader_is_given_what_it_chose_and_may_see() {
        let stream = Stream::default();
        assert!(!stream.wanted(Of::Rest) && !stream.wanted(Of::Allowed));
        let everything = stream.read(Choice { allowed: Allowed::Each, ..Choice::default() }, 0).expect("room");
        let verdicts = stream.read(Choice::default(), 0).expect("room");
        let own =
            stream.read(Choice { allowed: Allowed::Each, user: Some(5), ..Choice::default() }, 5).expect("room");
        let connects = stream.read(Choice { ops: vec!["connect".to_owned()], ..Choice::default() }, 0).expect("room");
        assert!(stream.wanted(Of::Rest) && stream.wanted(Of::Allowed));
        let lost = Told { audience: Audience::All, tree: None, action: None, ..told("lost", 0, false, 1) };
        stream.tell(&mut vec![
            told("read", 5, true, 1),
            told("write", 6, false, 1),
            told("connect", 5, false, 1),
            lost,
        ]);
        assert_eq!(all(&everything).1, ["write", "connect", "lost", "read"]);
        assert_eq!(all(&verdicts).1, ["write", "connect", "lost"]);
        assert_eq!(all(&own).1, ["connect", "lost", "read"]);
        assert_eq!(all(&connects).1, ["connect"]);
        assert_eq!(all(&everything), (0, Vec::new()));
        drop((everything, own));
        assert!(stream.wanted(Of::Rest) && !stream.wanted(Of::Allowed) && !stream.wanted(Of::Execs));
    }

    /// Who wants numbers is given numbers and execs, and misses as many events as a line stood for.
    #[test]
    fn who_wants_numbers_is_given_those() {
        let stream = Stream::default();
        let counting = stream.read(Choice { allowed: Allowed::Counted, ..Choice::default() }, 0).expect("room");
        assert!(stream.wanted(Of::Counted) && stream.wanted(Of::Execs) && !stream.wanted(Of::Allowed));
        let each = stream.read(Choice { allowed: Allowed::Each, ..Choice::default() }, 0).expect("room");
        let of = |op, of, stands_for| Told { of, stands_for, ..told(op, 5, true, 1) };
        let all_kinds = || {
            vec![
                of("read", Of::Allowed, 1),
                of("exec", Of::Execs, 1),
                of("counted", Of::Counted, 7),
                told("write", 5, false, 1),
            ]
        };
        stream.tell(&mut all_kinds());
        assert_eq!(all(&counting).1, ["write", "exec", "counted"]);
        assert_eq!(all(&each).1, ["write", "read", "exec"]);
        let large = |which, stands_for| Told { of: which, stands_for, ..told("counted", 5, true, BULK_BYTES / 2) };
        stream.tell(&mut vec![large(Of::Counted, 7), large(Of::Counted, 5), large(Of::Counted, 3)]);
        let (missed, ops) = all(&counting);
        assert_eq!((missed, ops.len()), (12, 1));
        assert_eq!(all(&each), (0, Vec::new()));
    }

    /// The one that reads has everything, the one that doesn't has a count, exact and only of what it would have been given.
    #[test]
    fn who_is_slow_misses_a_counted_number_and_no_verdict_for_the_bulk() {
        let stream = Stream::default();
        let choice = Choice { allowed: Allowed::Each, ..Choice::default() };
        let (slow, own) =
            (stream.read(choice.clone(), 0), stream.read(Choice { user: Some(5), ..choice.clone() }, 5));
        let (slow, own) = (slow.expect("room"), own.expect("room"));
        let fast = stream.read(choice, 0).expect("room");
        stream.tell(&mut vec![told("write", 5, false, 10)]);
        let (mut sent, mut read) = (0, 0);
        for round in 0..200 {
            let owner = if round % 4 == 0 { 5 } else { 6 };
            stream.tell(&mut (0..100).map(|_| told("read", owner, true, 1000)).collect());
            sent += 100;
            read += all(&fast).1.iter().filter(|op| **op == "read").count();
        }
        assert_eq!(read, sent);
        let (missed, ops) = all(&slow);
        assert_eq!(ops[0], "write");
        assert_eq!(missed + ops.len() as u64, sent as u64 + 1);
        assert!(missed > 10_000, "{missed}");
        let (missed_own, ops_own) = all(&own);
        assert_eq!(missed_own + ops_own.len() as u64, sent as u64 / 4 + 1);
        assert_eq!(stream.missed(), missed + missed_own);
    }

    #[test]
    fn readers_are_counted() {
        let stream = Stream::default();
        let readings: Vec<_> = (0..MAX_OF_USER).map(|_| stream.read(Choice::default(), 5).expect("room")).collect();
        assert!(stream.read(Choice::default(), 5).is_err());
        let more: Vec<_> =
            (MAX_OF_USER..MAX_READERS).map(|_| stream.read(Choice::default(), 0).expect("room")).collect();
        assert!(stream.read(Choice::default(), 0).is_err());
        assert_eq!(stream.readers(), MAX_READERS as u64);
        drop((readings, more));
        assert_eq!(stream.readers(), 0);
        assert!(stream.read(Choice::default(), 5).is_ok());
    }
}
