//! How many requests a second: a bucket that fills with tokens at that rate, and holds as many as
//! come in a second, at least one. A request takes one.

use std::time::Duration;

use tokio::time::Instant;

/// A token counts as whole where it lacks no more than this, because of rounding.
const ROUNDED: f64 = 1e-6;

/// The tokens of one host.
#[derive(Default)]
pub(super) struct Bucket {
    /// How many tokens were there, and when. `None`: the bucket is full.
    counted: Option<(f64, Instant)>,
}

impl Bucket {
    /// How many tokens there are at `now`, at this rate.
    pub(super) fn level(&self, rate: f64, now: Instant) -> f64 {
        let full = rate.max(1.0);
        match self.counted {
            None => full,
            Some((level, at)) => {
                let since = now.saturating_duration_since(at).as_secs_f64();
                full.min(level + rate * since)
            }
        }
    }

    /// Takes a token, if there is one. Without a rate there always is.
    pub(super) fn take(&mut self, rate: Option<f64>, now: Instant) -> bool {
        let Some(rate) = rate else {
            self.counted = None;
            return true;
        };
        let level = self.level(rate, now);
        let there = level + ROUNDED >= 1.0;
        if there {
            self.counted = Some(((level - 1.0).max(0.0), now));
        }
        there
    }

    /// Gives back a token that was not used.
    pub(super) fn give_back(&mut self, rate: Option<f64>, now: Instant) {
        self.counted = rate.map(|rate| (rate.max(1.0).min(self.level(rate, now) + 1.0), now));
    }

    /// When the next token is there. `None`: there is one now.
    pub(super) fn next(&self, rate: Option<f64>, now: Instant) -> Option<Instant> {
        let rate = rate?;
        let missing = 1.0 - self.level(rate, now);
        (missing > ROUNDED).then(|| now + Duration::from_secs_f64(missing / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let (start, rate) = (Instant::now(), Some(4.0));
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, now| (0..9).filter(|_| bucket.take(rate, now)).count();
        assert_eq!(taken(&mut bucket, start), 4);
        assert_eq!(bucket.next(rate, start), Some(at(start, 250)));
        assert_eq!(taken(&mut bucket, at(start, 249)), 0);
        assert_eq!(taken(&mut bucket, at(start, 250)), 1);
        assert_eq!(taken(&mut bucket, at(start, 1_000)), 3);
        // However long the pause was, the bucket holds no more than the tokens of a second.
        assert_eq!(taken(&mut bucket, at(start, 60_000)), 4);
        bucket.give_back(rate, at(start, 60_000));
        assert_eq!(taken(&mut bucket, at(start, 60_000)), 1);
    }

    #[test]
    fn less_than_one_a_second_begins_with_one() {
        let (start, rate) = (Instant::now(), Some(0.5));
        let mut bucket = Bucket::default();
        assert!(bucket.take(rate, start) && !bucket.take(rate, start));
        assert_eq!(bucket.next(rate, start), Some(at(start, 2_000)));
        assert!(!bucket.take(rate, at(start, 1_999)) && bucket.take(rate, at(start, 2_000)));
    }

    #[test]
    fn without_a_rate_there_always_is_one() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        assert!((0..1_000).all(|_| bucket.take(None, start)));
        assert_eq!(bucket.next(None, start), None);
    }
}
