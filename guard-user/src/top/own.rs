//! What `top` itself takes.

use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

/// Measures processor time and memory of this process.
#[derive(Debug, Default)]
pub struct Own {
    before: Option<(Instant, f64)>,
    /// Processor time since it was last looked at, as a part of a core.
    pub cpu: Option<f64>,
    /// Memory (resident set), in bytes.
    pub memory: Option<u64>,
}

impl Own {
    /// Looks.
    pub fn look(&mut self) {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return };
        let used = seconds(usage.user_time()) + seconds(usage.system_time());
        if let Some((at, before)) = self.before {
            self.cpu = Some((used - before) / at.elapsed().as_secs_f64().max(0.001));
        }
        self.before = Some((Instant::now(), used));
        let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: Option<u64> = status.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        self.memory = pages.map(|pages| pages * procfs::page_size());
    }
}
