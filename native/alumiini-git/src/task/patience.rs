//! Until when a request is worth waiting for, and what has been spent on it: time in queues at
//! hosts, and requests to remotes.
//!
//! Whoever waits in the network layer is far from the request: this goes along with the task that
//! runs it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static OF_THIS_TASK: Arc<Patience>;
}

/// The deadline of a piece of work, and what was spent on it.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// `None`: there is no end to it.
    deadline: Mutex<Option<Instant>>,
    /// In microseconds.
    waited: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

/// What was spent on a piece of work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    /// For its turns at hosts.
    pub(crate) waited: Duration,
    /// Questions that were sent to remotes, each a round trip at least.
    pub(crate) requests: u64,
    /// How many of them were sent again, since the first time came to nothing.
    pub(crate) retries: u64,
}

impl Patience {
    /// Ends at `deadline`.
    pub(crate) fn until(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the longer of the two does.
    pub(crate) fn extend(&self, deadline: Option<Instant>) {
        let longer = match (self.deadline(), deadline) {
            (Some(ours), Some(theirs)) => Some(ours.max(theirs)),
            _ => None,
        };
        self.until(longer);
    }

    pub(crate) fn add(&self, waited: Duration) {
        self.waited
            .fetch_add(waited.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent {
            waited: self.waited(),
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Takes over the requests of shared work. Of those who share it the first one gets them, so
    /// that their sum is what remotes were asked.
    pub(crate) fn take_requests(&self, shared: &Patience) {
        for (ours, theirs) in [
            (&self.requests, &shared.requests),
            (&self.retries, &shared.retries),
        ] {
            ours.fetch_add(theirs.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Runs `work` as a part of what has this patience.
pub(crate) fn scope<F: Future>(
    patience: Arc<Patience>,
    work: F,
) -> impl Future<Output = F::Output> {
    OF_THIS_TASK.scope(patience, work)
}

/// When nobody waits for this task's work any more. `None`: there is no end to it.
pub(crate) fn deadline() -> Option<Instant> {
    OF_THIS_TASK
        .try_with(|patience| patience.deadline())
        .unwrap_or_default()
}

/// This task has waited for its turn.
pub(crate) fn waited(time: Duration) {
    let _ = OF_THIS_TASK.try_with(|patience| patience.add(time));
}

/// This task asks a remote.
pub(crate) fn asked() {
    let _ = OF_THIS_TASK.try_with(|patience| patience.requests.fetch_add(1, Ordering::Relaxed));
}

/// This task asks a remote again, since the first time came to nothing.
pub(crate) fn again() {
    let _ = OF_THIS_TASK.try_with(|patience| patience.retries.fetch_add(1, Ordering::Relaxed));
}
