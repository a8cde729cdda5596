//! How often something happens, by the time of the events themselves: a record that is played faster or slower shows
//! the rates of when it was written.

use crate::top::when::SECOND;

/// Seconds over which a rate is taken.
pub const WINDOW: u64 = 5;
/// Whole seconds that are kept: the window's, and some for events that come late.
const SLOTS: usize = 8;

/// Counts by second, for the last few.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    slots: [(u64, u32); SLOTS],
}

impl Meter {
    /// It happened at this time.
    pub fn tick(&mut self, time: u64) {
        self.tick_often(time, 1);
    }

    /// It happened so often at this time.
    pub fn tick_often(&mut self, time: u64, count: u32) {
        let second = time / SECOND;
        let slot = &mut self.slots[second as usize % SLOTS];
        if slot.0 < second {
            *slot = (second, 0);
        }
        // One that comes too late has had its slot taken.
        if slot.0 == second {
            slot.1 = slot.1.saturating_add(count);
        }
    }

    /// How often a second, over the window that ends `now`, or since `began` where that is later.
    #[must_use]
    pub fn rate(&self, now: u64, began: u64) -> f64 {
        let first = (now / SECOND + 1).saturating_sub(WINDOW);
        let in_window = |slot: &&(u64, u32)| (first..=now / SECOND).contains(&slot.0);
        let count: u64 = self.slots.iter().filter(in_window).map(|slot| u64::from(slot.1)).sum();
        let length = now.saturating_sub(began.max(first * SECOND)).max(SECOND);
        count as f64 * SECOND as f64 / length as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_events_times() {
        let mut meter = Meter::default();
        let (begin, hundredth) = (1_000 * SECOND, SECOND / 100);
        for number in 0..1000 {
            meter.tick(begin + number * hundredth);
        }
        let near = |rate: f64, expected: f64| (rate - expected).abs() < 1.0;
        assert!(near(meter.rate(begin + 10 * SECOND - 1, 0), 100.0));
        // Half a window later, half of it is silence.
        assert!(near(meter.rate(begin + 10 * SECOND + 5 * SECOND / 2, 0), 45.0));
        assert!(near(meter.rate(begin + 20 * SECOND, 0), 0.0));
        // Who is younger than the window has the rate of his time.
        let mut young = Meter::default();
        (0..200).for_each(|number| young.tick(begin + number * hundredth));
        assert!(near(young.rate(begin + 2 * SECOND, begin), 100.0));
        // What comes too late is left out.
        meter.tick(begin);
        assert!(near(meter.rate(begin + 10 * SECOND - 1, 0), 100.0));
    }
}
