//! How long to wait before a server is asked again for an object that it listed and then denied.
//!
//! A branch that moved meanwhile needs no pause. Behind one URL there may be several servers, and
//! one that lags behind the others needs some seconds.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
/// Attempts after the first request. Their pauses are some 16 seconds in all.
const MAX: u32 = 7;

/// The pauses before each further attempt: none before the first one, then growing ones. Each is up
/// to half longer or shorter, at random, so that requests that failed together do not all return at
/// the same moment.
#[derive(Default)]
pub(crate) struct Pauses {
    taken: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.taken == MAX {
            return None;
        }
        self.taken += 1;
        let Some(doublings) = self.taken.checked_sub(2) else {
            return Some(Duration::ZERO);
        };
        let chance = RandomState::new().hash_one(self.taken) as f64 / u64::MAX as f64;
        Some(FIRST.mul_f64((1 << doublings) as f64 * (0.5 + chance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_and_end() {
        let all: Vec<f64> = Pauses::default().map(|pause| pause.as_secs_f64()).collect();
        assert_eq!((all.len(), all[0]), (MAX as usize, 0.0));
        for (n, pause) in all[1..].iter().enumerate() {
            let middle = 0.25 * f64::from(1 << n);
            assert!(
                (middle * 0.5..=middle * 1.5).contains(pause),
                "{n}: {pause}"
            );
        }
        let again: Vec<f64> = Pauses::default().map(|pause| pause.as_secs_f64()).collect();
        assert_ne!(all, again, "by chance");
        assert!(all.iter().sum::<f64>() < 24.0);
    }
}
