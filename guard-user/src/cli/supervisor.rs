//! What the daemon tells the service manager that started it, by `sd_notify(3)`: that it enforces, that it reloads, that it is
//! alive. Nobody is told where none has asked (`NOTIFY_SOCKET`).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Where this process is not its service, nothing is told.
    listens: bool,
    /// How often it is to hear that guard is alive; nothing where it does not ask.
    every: Option<Duration>,
    /// When it last heard so.
    told: Option<Instant>,
}

impl Supervisor {
    /// The one that started this process.
    pub fn of_environment() -> Self {
        // Three times before it gives guard up: one late turn is no death.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self { listens: true, every, told: None }
    }

    /// The policy is in force, and the control API answers. `how`: in a line what guards.
    pub fn ready(&self, how: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(how)]);
    }

    /// The policy is being read anew, until [`Self::ready`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// guard ends, as it was asked to.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Called by whoever guards, each time it had its turn: says so as often as was asked for.
    pub fn alive(&mut self) {
        if let Some(every) = self.every
            && self.told.is_none_or(|told| told.elapsed() >= every)
        {
            self.told = Some(Instant::now());
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(&self, what: &[NotifyState<'_>]) {
        if self.listens
            && let Err(error) = sd_notify::notify(what)
        {
            // It will stop guard if it waits for this; then the reason is in the log.
            tracing::error!("the service manager can't be told: {error}");
        }
    }
}
