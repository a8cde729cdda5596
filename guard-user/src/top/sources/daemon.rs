//! A running daemon, asked through its control API: the stream of its events, and once a second what it says of itself
//! and of its sessions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use guard_common::words::Mode;
use http_body_util::BodyExt as _;
use hyper::Method;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{interval, sleep};

use super::{Shared, Source, Worker};
use crate::control::Http;
use crate::control::types::{Kill, Killed, SessionDetail, SessionMode, Sessions, Status};
use crate::top::app::{Abilities, Act};
use crate::top::seen::Seen;
use crate::top::when;

/// What is followed: verdicts and lives each, and of the many that are allowed their number.
const EVENTS: &str = "/v1/events?allowed=counted";
/// How often the daemon is asked how it is.
const ASK: Duration = Duration::from_secs(1);
/// How often it is looked whether the screen is gone; the time goes on meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// How long is waited before a daemon that is gone is looked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest line that is taken for an event, in bytes.
const MAX_LINE: usize = 1 << 20;
/// Sessions whose processes are asked for at once.
const MAX_DETAILS: usize = 250;

/// A client of the daemon.
#[derive(Debug)]
pub struct Client {
    name: String,
    shared: Arc<Shared>,
    worker: Worker,
    acts: UnboundedSender<Act>,
}

impl Client {
    /// Connects to the daemon that listens at `path`; `name` is what people read of it.
    ///
    /// # Errors
    /// If none listens there: the error says how to start one.
    pub fn start(path: &Path, name: String, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        std::os::unix::net::UnixStream::connect(path).map_err(|error| {
            anyhow!(
                "no daemon answers at {}: {error}\nStart one with `sudo guard daemon`, or let top guard by itself: \
                 `sudo guard top --standalone`.\nIf one listens elsewhere, name its place with --socket; \
                 --replay FILE plays a record.",
                path.display()
            )
        })?;
        let (acts, mut wanted) = unbounded_channel();
        let (path, worker_shared) = (path.to_owned(), Arc::clone(shared));
        let worker = Worker::start("guard-client", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
            runtime.block_on(follow_on(&path, &worker_shared, &mut wanted))
        })?;
        Ok(Self { name, shared: Arc::clone(shared), worker, acts })
    }
}

impl Source for Client {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn abilities(&self) -> Abilities {
        let access = self.shared.model().status.as_ref().map(|status| status.access.clone());
        let kill = match access.as_deref() {
            Some("all") => Ok(()),
            Some(access) => Err(format!("only root may, and your access is `{access}`")),
            None => Err("the daemon has not answered yet".to_owned()),
        };
        Abilities { mode: kill.clone(), kill, speed: false }
    }

    fn act(&self, act: &Act) {
        if self.acts.send(act.clone()).is_err() {
            self.shared.say("Nothing was done: the daemon is gone.".to_owned());
        }
    }

    fn failure(&mut self) -> Option<anyhow::Error> {
        self.worker.failure()
    }

    fn join(&mut self) {
        self.worker.join();
    }
}

/// Follows the daemon, and the next one where it is started anew.
async fn follow_on(path: &Path, shared: &Shared, acts: &mut UnboundedReceiver<Act>) -> anyhow::Result<()> {
    loop {
        match follow(path, shared, acts).await {
            Ok(()) => return Ok(()),
            Err(error) if !shared.complete() => return Err(error),
            Err(_) => shared.set_state(Some("gone, looked for again".to_owned())),
        }
        for _ in 0..AGAIN.as_millis() / LOOK.as_millis() {
            if shared.stopped() {
                return Ok(());
            }
            shared.model().advance(when::now());
            sleep(LOOK).await;
        }
    }
}

/// Follows the daemon until the screen is gone.
async fn follow(path: &Path, shared: &Shared, acts: &mut UnboundedReceiver<Act>) -> anyhow::Result<()> {
    let mut asking = Http::connect(path).await?;
    let mut streaming = Http::connect(path).await?;
    let mut stream = streaming.send(Method::GET, EVENTS, Bytes::new()).await?.into_body();
    let mut lines = Lines::default();
    ask(&mut asking, shared).await?;
    shared.set_complete();
    shared.set_state(None);
    let (mut due, mut look) = (interval(ASK), interval(LOOK));
    loop {
        tokio::select! {
            frame = stream.frame() => {
                let frame = frame.context("the daemon has ended")?.context("the daemon's events can't be read")?;
                if let Some(data) = frame.data_ref() {
                    lines.take(data, shared);
                }
            }
            _ = due.tick() => ask(&mut asking, shared).await?,
            _ = look.tick() => {
                if shared.stopped() {
                    return Ok(());
                }
                shared.model().advance(when::now());
            }
            Some(act) = acts.recv() => {
                let said = act_on(&mut asking, &act).await.unwrap_or_else(|error| format!("Nothing was done: {error:#}"));
                shared.say(said);
            }
        }
    }
}

/// Asks how the daemon is, which sessions run, and for the processes of those that are new.
async fn ask(http: &mut Http, shared: &Shared) -> anyhow::Result<()> {
    let status: Status = http.get("/v1/status").await?;
    let Sessions { sessions } = http.get("/v1/sessions").await?;
    let new: Vec<String> = {
        let mut model = shared.model();
        let now = when::now();
        model.hear_status(status, now);
        let unknown = |id: &String| {
            let tree = u64::from_str_radix(id, 16).unwrap_or(0);
            model.sessions.get(&tree).is_none_or(|session| session.said.is_none())
        };
        let new = sessions.iter().map(|session| session.id.clone()).filter(unknown).take(MAX_DETAILS).collect();
        model.hear_sessions(sessions, now);
        new
    };
    for id in new {
        // One that ended meanwhile has no processes to tell of.
        if let Ok(detail) = http.get::<SessionDetail>(&format!("/v1/sessions/{id}")).await {
            shared.model().hear_detail(&detail, when::now());
        }
    }
    Ok(())
}

/// Does it; what came of it, in a sentence.
async fn act_on(http: &mut Http, act: &Act) -> anyhow::Result<String> {
    let (tree, call) = match act {
        Act::KillCall { tree, call } => (tree, Some(call.clone())),
        Act::KillSession { tree } => (tree, None),
        Act::Switch { tree, audit } => return switch(http, *tree, *audit).await,
    };
    let what = call.as_ref().map_or_else(|| "session".to_owned(), |call| format!("call {call}"));
    let body = serde_json::to_vec(&Kill { call })?;
    let killed: Killed = http.ask(Method::POST, &format!("/v1/sessions/{tree:016x}/kill"), body.into()).await?;
    let number = killed.processes;
    let processes = if number == 1 { "process" } else { "processes" };
    Ok(format!("The {what} was ended: {number} {processes} killed."))
}

/// Has a session enforce, or only watched; what came of it.
async fn switch(http: &mut Http, tree: u64, audit: bool) -> anyhow::Result<String> {
    let mode = if audit { Mode::Audit } else { Mode::Enforce }.word().to_owned();
    let body = serde_json::to_vec(&SessionMode { mode })?;
    let now: SessionMode = http.ask(Method::PUT, &format!("/v1/sessions/{tree:016x}/mode"), body.into()).await?;
    Ok(format!("The session is in mode {} from here on.", now.mode))
}

/// The lines of a stream of server-sent events.
#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes what has come, and hands the events in it over.
    fn take(&mut self, data: &[u8], shared: &Shared) {
        let Some(end) = data.iter().rposition(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(data);
            if self.begun.len() > MAX_LINE {
                self.begun.clear();
                shared.model().garbage += 1;
            }
            return;
        };
        let (whole, rest) = data.split_at(end + 1);
        self.begun.extend_from_slice(whole);
        let mut model = shared.model();
        for line in self.begun.split(|byte| *byte == b'\n') {
            let Some(line) = line.strip_prefix(b"data:") else { continue };
            match std::str::from_utf8(line).ok().and_then(|line| Seen::parse(line).ok()) {
                Some(seen) => model.apply(&seen),
                None => model.garbage += 1,
            }
        }
        drop(model);
        self.begun.clear();
        self.begun.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_however_they_are_cut() {
        let event = |number: u32| {
            format!(
                "data: {{\"time\":\"2026-11-20T10:00:00Z\",\"op\":\"lost\",\"kind\":\"k\",\"count\":{number}}}\n\n"
            )
        };
        let text = format!(": hello\n\n{}{}data: nonsense\n\n{}", event(1), event(10), event(100));
        for size in [1, 7, 64, text.len()] {
            let shared = Shared::new(|_| None);
            let mut lines = Lines::default();
            text.as_bytes().chunks(size).for_each(|chunk| lines.take(chunk, &shared));
            let model = shared.model();
            assert_eq!((model.lost(), model.events, model.garbage), (111, 3, 1), "{size}");
        }
    }
}
