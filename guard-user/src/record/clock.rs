//! From the kernel's nanoseconds since boot to the time of day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// The time of day at a moment given in nanoseconds since boot, in UTC with nanoseconds.
///
/// The distance between both clocks is taken anew each time, so a clock that is set or a machine that sleeps is
/// followed.
#[must_use]
pub fn time_of_day(since_boot: u64) -> String {
    let now = now_since_boot();
    let age = SignedDuration::from_nanos(now.saturating_sub(since_boot) as i64);
    let time = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

/// Nanoseconds since boot, now.
#[must_use]
pub fn now_since_boot() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_the_contract_says() {
        let text = time_of_day(now_since_boot());
        assert_eq!(text.len(), "2026-11-20T23:48:01.123456789Z".len(), "{text}");
        assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text}");
    }
}
