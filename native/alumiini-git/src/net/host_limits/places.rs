//! Limits the requests to all hosts together. They get their places in the order in which they
//! came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{Result, panicked};

pub(super) struct Places {
    state: Mutex<State>,
}

struct State {
    limit: usize,
    taken: usize,
    queue: VecDeque<oneshot::Sender<Place>>,
}

/// One of the places, until it is dropped.
pub(super) struct Place(Arc<Places>);

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Places> {
        let state = State {
            limit,
            taken: 0,
            queue: VecDeque::new(),
        };
        Arc::new(Places {
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a new limit. Places that are taken stay taken.
    pub(super) fn limit(self: &Arc<Self>, limit: usize) {
        self.lock().limit = limit;
        self.admit();
    }

    pub(super) async fn enter(self: &Arc<Self>) -> Result<Place> {
        let place = {
            let mut state = self.lock();
            if state.queue.is_empty() && state.taken < state.limit {
                state.taken += 1;
                return Ok(Place(self.clone()));
            }
            let (sender, place) = oneshot::channel();
            state.queue.push_back(sender);
            place
        };
        // The sender goes only with what it sends.
        place.await.map_err(|_| panicked())
    }

    fn admit(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                if state.taken >= state.limit {
                    return;
                }
                let Some(next) = state.queue.pop_front() else {
                    return;
                };
                state.taken += 1;
                next
            };
            // A request that no longer waits drops its place, which calls this function again.
            let _ = next.send(Place(self.clone()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn lets_through_as_many_as_it_says_in_order() {
        let places = Places::new(2);
        let first = places.enter().now_or_never().unwrap().unwrap();
        let _second = places.enter().now_or_never().unwrap().unwrap();
        let mut gone = Box::pin(places.enter());
        let mut third = Box::pin(places.enter());
        let mut fourth = Box::pin(places.enter());
        for waiting in [&mut gone, &mut third, &mut fourth] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(gone);
        drop(first);
        assert!((&mut fourth).now_or_never().is_none());
        drop(third.now_or_never().unwrap().unwrap());
        assert!(fourth.now_or_never().unwrap().is_ok());
        assert_eq!(places.lock().taken, 1);
    }

    #[test]
    fn a_higher_limit_lets_in_who_waits() {
        let places = Places::new(1);
        let _first = places.enter().now_or_never().unwrap().unwrap();
        let mut second = Box::pin(places.enter());
        assert!((&mut second).now_or_never().is_none());
        places.limit(2);
        assert!(second.now_or_never().unwrap().is_ok());
    }
}
