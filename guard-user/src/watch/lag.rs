//! How long records have waited before they were written.

use std::time::{Duration, Instant};

/// How long is remembered: at least this, and less than twice this.
const WINDOW: Duration = Duration::from_secs(10);

/// The longest wait lately.
#[derive(Debug)]
pub(super) struct Lag {
    began: Instant,
    now: Duration,
    before: Duration,
}

impl Default for Lag {
    fn default() -> Self {
        Self { began: Instant::now(), now: Duration::ZERO, before: Duration::ZERO }
    }
}

impl Lag {
    /// A record has waited for so long.
    pub(super) fn add(&mut self, wait: Duration) {
        let elapsed = self.began.elapsed();
        if elapsed >= WINDOW {
            self.before = if elapsed < 2 * WINDOW { self.now } else { Duration::ZERO };
            self.now = Duration::ZERO;
            self.began = Instant::now();
        }
        self.now = self.now.max(wait);
    }

    /// The longest of them.
    pub(super) fn longest(&self) -> Duration {
        match self.began.elapsed() {
            elapsed if elapsed >= 2 * WINDOW => Duration::ZERO,
            elapsed if elapsed >= WINDOW => self.now,
            _ => self.now.max(self.before),
        }
    }
}
