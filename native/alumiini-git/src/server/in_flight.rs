//! The requests with an id that are not answered yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};

/// Each request by its id. Whoever takes one out of here answers it, so each is answered once.
#[derive(Default)]
pub(super) struct InFlight {
    requests: Mutex<HashMap<u64, By>>,
}

/// What a request is worked on by.
enum By {
    /// A task sees to the request's cancellation and deadline.
    Task(CancellationToken),
    /// A thread is reading the disk for it and sees to nothing else.
    Read {
        what: String,
        arrived: Instant,
        timeout: Duration,
    },
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, By>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }

    /// Adds a request that a thread reads the disk for; `what` is what errors call it.
    pub(super) fn add_read(&self, id: u64, what: String, arrived: Instant, timeout: Duration) {
        let read = By::Read {
            what,
            arrived,
            timeout,
        };
        self.lock().insert(id, read);
    }

    /// Adds a request that gets a task: see [`begin_task`](Self::begin_task).
    pub(super) fn add_task(&self, id: u64) {
        self.lock().insert(id, By::Task(CancellationToken::new()));
    }

    /// The token that a cancel of this request is told to from here on; none where it has been
    /// answered meanwhile.
    pub(super) fn begin_task(&self, id: u64) -> Option<CancellationToken> {
        let token = CancellationToken::new();
        *self.lock().get_mut(&id)? = By::Task(token.clone());
        Some(token)
    }

    /// Takes a request out. Whether it was still there, and is to be answered.
    pub(super) fn take(&self, id: u64) -> bool {
        self.lock().remove(&id).is_some()
    }

    /// Cancels a request. A task answers that by itself; what a read is answered with is returned.
    pub(super) fn cancel(&self, id: u64) -> Option<Error> {
        let mut requests = self.lock();
        match requests.get(&id)? {
            By::Task(token) => {
                token.cancel();
                None
            }
            By::Read { what, .. } => {
                let error = cancelled(what);
                requests.remove(&id);
                Some(error)
            }
        }
    }

    /// Takes out the reads whose deadline has passed, and what each is answered with.
    pub(super) fn expire(&self) -> Vec<(u64, Error)> {
        self.lock()
            .extract_if(|_, by| match by {
                By::Read {
                    arrived, timeout, ..
                } => arrived.elapsed() >= *timeout,
                By::Task(_) => false,
            })
            .filter_map(|(id, by)| match by {
                By::Read { what, timeout, .. } => Some((id, expired(&what, timeout))),
                By::Task(_) => None,
            })
            .collect()
    }
}

/// `cancelled`: the client does not want it any more.
pub(super) fn cancelled(what: &str) -> Error {
    Error::new(Kind::Cancelled, format!("{what} was cancelled"))
}

/// `timeout`: it did not end within the request's own.
pub(super) fn expired(what: &str, timeout: Duration) -> Error {
    let ms = timeout.as_millis();
    Error::new(
        Kind::Timeout,
        format!("{what} did not end within its timeout of {ms} ms"),
    )
}
