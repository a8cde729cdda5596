//! The way from the API to what watches: a bounded channel, and what was answered a moment ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::problem::Problem;
use super::types::{Session, SessionDetail};
use crate::session::users;
use crate::watch::request::{By, Change, Done, Refused, Request, Snapshot};

/// Requests that wait at most.
const WAITING: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old an answer about everything may be: many may ask, and putting it together holds up the watch.
const FRESH: Duration = Duration::from_millis(250);
/// Names of users that are remembered.
const NAMES: usize = 4096;

/// A desk, and what watches gets from it.
#[must_use]
pub fn open() -> (Desk, mpsc::Receiver<Request>) {
    let (requests, received) = mpsc::channel(WAITING);
    (Desk { requests, last: Mutex::default(), names: Mutex::default() }, received)
}

/// Where requests are handed in.
pub struct Desk {
    requests: mpsc::Sender<Request>,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    names: Mutex<HashMap<u32, Option<String>>>,
}

impl Desk {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        // Where so many wait already, another one only makes it worse.
        self.requests.try_send(request(reply)).map_err(|_| Problem::busy())?;
        answer.await.map_err(|_| Problem::busy())
    }

    /// How things are, or were a moment ago.
    ///
    /// # Errors
    /// If the daemon does not answer in time.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        timeout(PATIENCE, self.look()).await.map_err(|_| Problem::busy())?
    }

    async fn look(&self) -> Result<Arc<Snapshot>, Problem> {
        // Who finds somebody asking waits for the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(snapshot));
        }
        let mut snapshot = self.ask(Request::Snapshot).await?;
        self.name_users(&mut snapshot.sessions).await;
        let snapshot = Arc::new(snapshot);
        *last = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// One session with its processes; nothing where there is none.
    ///
    /// # Errors
    /// If the daemon does not answer in time.
    pub async fn session(&self, id: u64) -> Result<Option<SessionDetail>, Problem> {
        let ask = self.ask(|reply| Request::Session(id, reply));
        let Some(mut detail) = timeout(PATIENCE, ask).await.map_err(|_| Problem::busy())?? else { return Ok(None) };
        self.name_users(std::slice::from_mut(&mut detail.session)).await;
        spawn_blocking(move || {
            detail.processes.iter_mut().for_each(look_up);
            Some(detail)
        })
        .await
        .map_err(|_| Problem::busy())
    }

    /// Fails if who asks for a change is guarded. What watches looks again when the change is made.
    ///
    /// # Errors
    /// Says so.
    pub async fn may_change(&self, by: By) -> Result<By, Problem> {
        let ask = self.ask(|reply| Request::Guarded(by.pid, reply));
        let guarded = timeout(PATIENCE, ask).await.map_err(|_| Problem::busy())??;
        if guarded { Err(Refused::Guarded.into()) } else { Ok(by) }
    }

    /// Makes a change.
    ///
    /// # Errors
    /// Why it was not made.
    pub async fn change(&self, by: By, change: Change) -> Result<Done, Problem> {
        // It is made even if who has asked for it does not wait: no time limit that would say otherwise.
        let done = self.ask(|reply| Request::Change(by, change, reply)).await?;
        // What was known before is no longer so.
        *self.last.lock().await = None;
        Ok(done?)
    }

    /// A policy was refused before it got to what watches.
    pub fn refused(&self, by: By, why: String) {
        // Only a count and a line on standard error: lost where nobody has time for them.
        drop(self.requests.try_send(Request::PolicyRefused(by, why)));
    }

    /// Fills in the names of users.
    async fn name_users(&self, sessions: &mut [Session]) {
        let mut names = self.names.lock().await;
        let mut unknown: Vec<u32> = sessions.iter().filter_map(|session| session.uid).collect();
        unknown.retain(|uid| !names.contains_key(uid));
        unknown.dedup();
        if !unknown.is_empty() {
            if names.len() >= NAMES {
                names.clear();
            }
            // The database may ask the network: elsewhere, and not for long.
            let look = spawn_blocking(move || unknown.into_iter().map(|uid| (uid, users::name_of(uid))).collect());
            if let Ok(Ok(found)) = timeout(Duration::from_secs(1), look).await {
                let found: Vec<(u32, Option<String>)> = found;
                names.extend(found);
            }
        }
        for session in sessions {
            session.user = session.uid.and_then(|uid| names.get(&uid).cloned().flatten());
        }
    }
}

/// What only /proc says of a process.
fn look_up(member: &mut super::types::Member) {
    let tick = 1_000_000_000 / procfs::ticks_per_second();
    let Ok(process) = procfs::process::Process::new(member.pid as i32) else { return };
    let Ok(status) = process.status() else { return };
    // The id may be another's by now. Starts are told there in ticks.
    if process.stat().is_ok_and(|stat| stat.starttime == member.start / tick) {
        (member.ppid, member.uid) = (Some(status.ppid as u32), Some(status.ruid));
    }
}
