//! Where events come from. Each source has a thread of its own, which hands what comes to the model; the screen only ever
//! waits for the model's lock, and that is never held for long.

pub mod daemon;
pub mod replay;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::app::{Abilities, Act};
use super::model::{Model, UserNames};

/// What a source and the screen share.
#[derive(Debug)]
pub struct Shared {
    model: Mutex<Model>,
    /// What has become of the source, if it is not simply going on.
    state: Mutex<Option<String>>,
    /// What came of what was done.
    said: Mutex<Option<String>>,
    /// The screen is gone, or wants to be.
    stop: AtomicBool,
    /// A record is not to be played on.
    paused: AtomicBool,
    /// How fast a record is played, as the bits of an `f64`; more than any number means as fast as it goes.
    speed: AtomicU64,
    /// There is enough to be shown: a record is at its end, the daemon has answered.
    complete: AtomicBool,
}

impl Shared {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(names: UserNames) -> Arc<Self> {
        Arc::new(Self {
            model: Mutex::new(Model::new(names)),
            state: Mutex::default(),
            said: Mutex::default(),
            stop: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            speed: AtomicU64::new(1f64.to_bits()),
            complete: AtomicBool::new(false),
        })
    }

    /// The model, for as long as this is held.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        // Who panicked with it in his hands has left it whole: each event is taken in by itself.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become of the source.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something has become of the source; none: it simply goes on.
    pub fn set_state(&self, state: Option<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// What came of what was done, said once.
    #[must_use]
    pub fn take_said(&self) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Something was done, or could not be.
    pub fn say(&self, said: String) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    /// Ends the source.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the source is to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Stops a record, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether a record is stopped.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// How fast a record is played.
    #[must_use]
    pub fn speed(&self) -> f64 {
        f64::from_bits(self.speed.load(Ordering::Relaxed))
    }

    /// Plays a record so fast.
    pub fn set_speed(&self, speed: f64) {
        self.speed.store(speed.to_bits(), Ordering::Relaxed);
    }

    /// Whether there is enough to be shown.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// There is enough to be shown.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }
}

/// A source that runs.
pub trait Source {
    /// What it is, in a few words.
    fn name(&self) -> String;

    /// What can be done to what it tells of.
    fn abilities(&self) -> Abilities;

    /// Does something; what came of it is said by [`Shared::say`].
    fn act(&self, act: &Act);

    /// Why it has ended, if it has and was not told to.
    fn failure(&mut self) -> Option<anyhow::Error>;

    /// Waits for its end, after [`Shared::stop`].
    fn join(&mut self);
}

/// A source's thread.
#[derive(Debug)]
pub struct Worker {
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// If the machine has no thread to spare.
    pub fn start(name: &str, work: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).context("no thread")?;
        Ok(Self { thread: Some(thread) })
    }

    /// Why it has ended, if it has and that was no good end.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        match thread.join() {
            Ok(result) => result.err(),
            Err(_) => Some(anyhow::anyhow!("reading events failed; see above")),
        }
    }

    /// Waits for its end.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // How it ended does not matter any more.
            let _ = thread.join();
        }
    }
}
