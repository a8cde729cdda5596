//! No more than so many in a while; the rest are counted.

use std::time::{Duration, Instant};

/// What may pass, and what did.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    most: u32,
    window: Duration,
    began: Option<Instant>,
    passed: u32,
    held: u64,
}

impl Limit {
    /// At most `most` in each `window`, which begins with the first.
    pub fn new(most: u32, window: Duration) -> Self {
        Self { most, window, began: None, passed: 0, held: 0 }
    }

    /// One more; whether it may pass. Else it is held.
    pub fn pass(&mut self, now: Instant) -> bool {
        let over = self.began.is_none_or(|began| now.duration_since(began) >= self.window);
        // What is held is told before a new window begins.
        if over && self.held == 0 {
            (self.began, self.passed) = (Some(now), 0);
        }
        let passes = self.passed < self.most && self.held == 0;
        if passes {
            self.passed += 1;
        } else {
            self.held += 1;
        }
        passes
    }

    /// How many were held, once the window is over. It is told in the next one, and counts there.
    pub fn held(&mut self, now: Instant) -> Option<u64> {
        let over = self.began.is_some_and(|began| now.duration_since(began) >= self.window);
        if !over || self.held == 0 {
            return None;
        }
        (self.began, self.passed) = (Some(now), 1);
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pass_and_the_rest_are_counted() {
        let second = Duration::from_secs(1);
        let (mut limit, start) = (Limit::new(2, second), Instant::now());
        assert_eq!(limit.held(start), None);
        let passed = (0..10).filter(|_| limit.pass(start)).count();
        assert_eq!((passed, limit.held(start)), (2, None));
        assert!(!limit.pass(start + second), "what is held comes first");
        assert_eq!(limit.held(start + second), Some(9));
        assert_eq!(limit.held(start + second * 2), None);
        // That it was told counts.
        assert!(limit.pass(start + second) && !limit.pass(start + second));
        assert_eq!(limit.held(start + second * 2), Some(1));
        let later = start + second * 10;
        assert!(limit.pass(later) && limit.pass(later) && !limit.pass(later));
    }
}
