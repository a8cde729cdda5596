//! Sends events to a receiver over HTTP, a batch a request.
//!
//! Whoever watches only puts a line into a queue that is bounded in bytes. A thread of its own takes lines from there into a
//! [`spool`] on disk, which is bounded too and survives the daemon, and delivers batch by batch from that, the oldest first, until
//! the receiver has taken it. A batch keeps its content and its key however often it is sent, so that a receiver can tell
//! one that it was sent twice: each event arrives at least once, unless it had to be dropped, which is counted.

mod pace;
mod post;
mod spool;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use guard_common::words::Action;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use self::pace::Pace;
use self::post::{Outcome, Post};
use self::spool::{Batch, Spool};
use super::clock;
use super::event::Event;

pub use self::post::{Headers, Receiver};

/// Bytes that may wait for the thread: a moment's worth, as the disk is only behind for a moment.
const QUEUE: usize = 4 << 20;
/// The kind of loss that an event is which was dropped.
pub const LOSS: &str = "not-sent";
/// How long guard's end may be put off to deliver what is left.
const LAST: Duration = Duration::from_secs(2);

/// Where events are sent, which, and where they wait.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who receives them.
    pub receiver: Receiver,
    /// What every request says beside.
    pub headers: Headers,
    /// Verdicts that are sent.
    pub actions: Vec<Action>,
    /// Events in a request, at most.
    pub batch: u64,
    /// The folder in which they wait.
    pub spool: PathBuf,
    /// Bytes that may wait there.
    pub spool_size: u64,
}

/// What came of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Events that the receiver has taken.
    pub sent: u64,
    /// Requests that came to nothing.
    pub failed: u64,
    /// Events that were dropped.
    pub dropped: u64,
    /// Events that wait.
    pub spooled: u64,
    /// Bytes that they take.
    pub spooled_bytes: u64,
    /// What is wrong; nothing once the receiver has taken something again.
    pub failure: Option<String>,
}

#[derive(Default)]
struct Queue {
    lines: Vec<Bytes>,
    bytes: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    news: Notify,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// Of those, the ones that the receiver was not told of.
    untold: AtomicU64,
    spooled: AtomicU64,
    spooled_bytes: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// What is behind a lock; whoever panicked has left numbers behind at worst.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn drop_events(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.untold.fetch_add(count, Ordering::Relaxed);
    }

    /// Says what the spool holds.
    fn measure(&self, spool: &Spool) {
        self.spooled.store(spool.events(), Ordering::Relaxed);
        self.spooled_bytes.store(spool.bytes(), Ordering::Relaxed);
    }

    /// Takes what has come into the spool.
    fn keep(&self, spool: &mut Spool) {
        let lines = std::mem::take(&mut *locked(&self.queue)).lines;
        self.drop_events(lines.iter().map(|line| spool.add(line)).sum());
        self.measure(spool);
    }
}

/// The webhook, from the side of whoever watches. Dropped, it delivers what it can in a moment; the rest waits on disk.
pub struct Webhook {
    shared: Arc<Shared>,
    actions: Vec<&'static str>,
    /// Losses that were told.
    told: u64,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Begins to deliver what waits, and what comes.
    ///
    /// # Errors
    /// If the spool can't be used, or there are no certificates to know the receiver by.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let (spool, lost) = Spool::open(&settings.spool, settings.batch, settings.spool_size)?;
        let post = Post::new(&settings.receiver, &settings.headers)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Names are looked up there.
            .max_blocking_threads(1)
            .thread_name("guard-webhook")
            .build()
            .context("no runtime for the webhook")?;
        let shared = Arc::new(Shared::default());
        shared.drop_events(lost);
        shared.measure(&spool);
        let (stop, stopped) = oneshot::channel();
        let sender = Sender::new(Arc::clone(&shared), spool, post);
        let thread = std::thread::Builder::new()
            .name("guard-webhook".to_owned())
            .spawn(move || {
                runtime.block_on(sender.work(stopped));
                // A name that is still looked up holds up nothing.
                runtime.shutdown_background();
            })
            .context("no thread for the webhook")?;
        let actions = settings.actions.iter().map(|action| action.word()).collect();
        Ok(Self { shared, actions, told: 0, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether an event is to be sent: a verdict that was asked for, or a loss, which may have been one. What was lost on the way
    /// to the receiver, it is told when it takes something again.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        event.op == "lost" && event.kind != Some(LOSS)
            || event.verdict.as_ref().is_some_and(|verdict| self.actions.contains(&verdict.action))
    }

    /// Takes an event, as its line of the record without the end of the line. Never waits; without room, it is dropped.
    pub fn take(&self, line: &[u8]) {
        let mut queue = locked(&self.shared.queue);
        if queue.bytes + line.len() > QUEUE {
            drop(queue);
            self.shared.drop_events(1);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push(Bytes::copy_from_slice(line));
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Events that were dropped since this was last asked.
    pub fn lost(&mut self) -> u64 {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        dropped - std::mem::replace(&mut self.told, dropped)
    }

    /// What came of it so far.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let shared = &self.shared;
        Numbers {
            sent: of(&shared.sent),
            failed: of(&shared.failed),
            dropped: of(&shared.dropped),
            spooled: of(&shared.spooled),
            spooled_bytes: of(&shared.spooled_bytes),
            failure: locked(&shared.failure).clone(),
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What the thread works with: two tasks, one that fills the spool and one that empties it.
struct Sender {
    shared: Arc<Shared>,
    spool: RefCell<Spool>,
    post: Post,
    /// There is something in the spool.
    filled: Notify,
    /// guard ends: what waits is tried once more, and no longer waited for.
    ending: Cell<bool>,
    ends: Notify,
}

impl Sender {
    fn new(shared: Arc<Shared>, spool: Spool, post: Post) -> Self {
        let spool = RefCell::new(spool);
        Self { shared, spool, post, filled: Notify::new(), ending: Cell::new(false), ends: Notify::new() }
    }

    async fn work(self, stopped: oneshot::Receiver<()>) {
        let mut deliver = std::pin::pin!(self.deliver());
        tokio::select! {
            () = &mut deliver => {}
            () = self.fill() => {}
            // The other end is dropped, not sent anything.
            _ = stopped => {}
        }
        self.shared.keep(&mut self.spool.borrow_mut());
        self.ending.set(true);
        self.ends.notify_one();
        self.filled.notify_one();
        let _some_wait_on = timeout(LAST, deliver).await;
    }

    /// Takes what comes into the spool.
    async fn fill(&self) {
        loop {
            self.shared.news.notified().await;
            self.shared.keep(&mut self.spool.borrow_mut());
            self.filled.notify_one();
        }
    }

    /// Delivers what is in the spool; until guard ends, and then until nothing is left or something fails.
    async fn deliver(&self) {
        let mut pace = Pace::default();
        loop {
            let (batch, lost) = self.spool.borrow_mut().oldest();
            self.shared.drop_events(lost);
            let Some(batch) = batch else {
                self.shared.measure(&self.spool.borrow());
                if self.ending.get() {
                    return;
                }
                self.filled.notified().await;
                continue;
            };
            match self.post.send(&batch).await {
                Outcome::Taken => {
                    self.shared.sent.fetch_add(batch.events, Ordering::Relaxed);
                    self.settled(&batch);
                    self.tell_losses();
                    pace = Pace::default();
                    if locked(&self.shared.failure).take().is_some() {
                        tracing::info!("the webhook at {} takes events again", self.post.name());
                    }
                }
                Outcome::Refused(why) => {
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    self.shared.drop_events(batch.events);
                    self.settled(&batch);
                    tracing::error!(
                        "the webhook at {} refuses {} events for good, and they are dropped: {why}",
                        self.post.name(),
                        batch.events
                    );
                }
                Outcome::Failed(why, after) => {
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    if locked(&self.shared.failure).replace(why.clone()).is_none() {
                        tracing::warn!(
                            "the webhook at {} takes no events, which wait to be sent again: {why}",
                            self.post.name()
                        );
                    }
                    if self.ending.get() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(pace.next(after)) => {}
                        // One more try.
                        () = self.ends.notified() => {}
                    }
                }
            }
        }
    }

    /// Tells a receiver that takes events how many it was not sent. One that takes none would be sent ever more.
    fn tell_losses(&self) {
        let count = self.shared.untold.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let event = Event {
            time: clock::time_of_day(clock::now_since_boot()),
            op: "lost",
            kind: Some(LOSS),
            count: Some(count),
            ..Event::default()
        };
        let mut spool = self.spool.borrow_mut();
        let dropped = serde_json::to_vec(&event).map_or(1, |line| spool.add(&line));
        self.shared.drop_events(dropped);
        self.shared.measure(&spool);
    }

    fn settled(&self, batch: &Batch) {
        let mut spool = self.spool.borrow_mut();
        spool.settled(batch);
        self.shared.measure(&spool);
    }
}
