//! The limits that are the same for all hosts. They may change while requests are under way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Requests to one host at a time, unless a server is told otherwise.
const PER_HOST: usize = 32;

/// Settings that are the same for all hosts.
pub(super) struct Settings {
    pub(super) per_host: AtomicUsize,
    /// The bits of an `f64`. 0 stands for no limit.
    per_second: AtomicU64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            per_host: AtomicUsize::new(PER_HOST),
            per_second: AtomicU64::new(0),
        }
    }
}

impl Settings {
    pub(super) fn set_per_second(&self, rate: f64) {
        self.per_second.store(rate.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        Some(f64::from_bits(self.per_second.load(Ordering::Relaxed))).filter(|rate| *rate > 0.0)
    }
}
