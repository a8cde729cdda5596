//! How long to wait before trying again.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most, where the receiver does not ask for more.
const LONGEST: Duration = Duration::from_mins(1);
/// At most, whatever the receiver asks for.
const ASKED: Duration = Duration::from_mins(10);

/// Twice as long after each failure, and not all at the same moment: many machines may have lost the same receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    failures: u32,
}

impl Pace {
    /// How long to wait after one more failure. `asked`: for how long the receiver wants to be left alone.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        longest.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default().min(ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_limit_and_varies() {
        let mut pace = Pace::default();
        for longest in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = pace.next(None).as_secs_f64();
            let longest = f64::from(longest);
            assert!((longest / 2.0..=longest).contains(&wait), "{wait} of {longest}");
        }
        let varied: std::collections::BTreeSet<_> = (0..10).map(|_| pace.next(None)).collect();
        assert!(varied.len() > 5, "{varied:?}");
        assert_eq!(Pace::default().next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(Pace::default().next(Some(Duration::from_hours(7))), ASKED);
        assert!((0..100).all(|_| pace.next(None) <= LONGEST));
    }
}
