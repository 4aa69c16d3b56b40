//! Many who ask the same at the same time, and one who goes and asks.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::error::{Result, panicked};

/// How long an flight may take before the next one for the same does not wait for it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// SingleFlight by what they are for.
///
/// An flight that has begun is not joined: its answer may be older than the newcomer's reason to ask. Newcomers wait together for the
/// next one, which begins when that one has ended. So however many ask at once, two are sent.
pub(crate) struct SingleFlight<K, V> {
    map: Mutex<HashMap<K, Queue<V>>>,
}

struct Queue<V> {
    running: Option<watch::Receiver<bool>>,
    waiting: Option<Arc<Flight<V>>>,
}

struct Flight<V> {
    answer: watch::Sender<Option<Result<V>>>,
    members: Mutex<usize>,
    task: Mutex<Option<AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who waits for an flight's answer. When the last one is dropped, the flight is given up.
struct Member<K: Eq + Hash + Clone, V> {
    flights: Arc<SingleFlight<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
}

impl<K: Eq + Hash + Clone, V> Drop for Member<K, V> {
    fn drop(&mut self) {
        let mut map = lock(&self.flights.map);
        let mut members = lock(&self.flight.members);
        *members -= 1;
        if *members > 0 {
            return;
        }
        // Nobody may join what is given up here.
        if let Some(queue) = map.get_mut(&self.key)
            && queue
                .waiting
                .as_ref()
                .is_some_and(|waiting| Arc::ptr_eq(waiting, &self.flight))
        {
            queue.waiting = None;
        }
        if let Some(task) = lock(&self.flight.task).take() {
            task.abort();
        }
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        SingleFlight { map: Mutex::default() }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer of an flight for `key` that begins after this call: of one that waits to begin, or else of `go`.
    pub(crate) async fn run<F>(self: &Arc<Self>, key: K, go: F) -> Result<V>
    where
        F: Future<Output = Result<V>> + Send + 'static,
    {
        let (member, mut answer) = {
            let mut map = lock(&self.map);
            let queue = map.entry(key.clone()).or_insert(Queue {
                running: None,
                waiting: None,
            });
            let flight = match &queue.waiting {
                Some(waiting) => waiting.clone(),
                None => {
                    let flight = Arc::new(Flight {
                        answer: watch::Sender::new(None),
                        members: Mutex::new(0),
                        task: Mutex::new(None),
                    });
                    queue.waiting = Some(flight.clone());
                    let before = queue.running.clone();
                    let task = tokio::spawn(self.clone().lead(key.clone(), flight.clone(), before, go));
                    *lock(&flight.task) = Some(task.abort_handle());
                    flight
                }
            };
            *lock(&flight.members) += 1;
            let answer = flight.answer.subscribe();
            let member = Member {
                flights: self.clone(),
                key,
                flight,
            };
            (member, answer)
        };
        let given = match answer.wait_for(Option::is_some).await {
            Ok(given) => given.clone(),
            Err(_) => None,
        };
        drop(member);
        given.unwrap_or_else(|| Err(panicked()))
    }

    async fn lead<F>(self: Arc<Self>, key: K, flight: Arc<Flight<V>>, before: Option<watch::Receiver<bool>>, go: F)
    where
        F: Future<Output = Result<V>> + Send + 'static,
    {
        if let Some(mut before) = before {
            // An error means that it was given up: its sender is gone.
            let ended = before.wait_for(|ended| *ended);
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        // Dropped with this future, also when it is aborted: whoever waits then goes on.
        let (_running, ended) = watch::channel(false);
        if let Some(queue) = lock(&self.map).get_mut(&key) {
            queue.running = Some(ended.clone());
            if queue
                .waiting
                .as_ref()
                .is_some_and(|waiting| Arc::ptr_eq(waiting, &flight))
            {
                queue.waiting = None;
            }
        }
        let _forget = Forget {
            flights: self,
            key,
            ended,
        };
        let answer = AssertUnwindSafe(go)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(panicked()));
        flight.answer.send_replace(Some(answer));
    }
}

/// Takes a queue away that nobody is in any more.
struct Forget<K: Eq + Hash, V> {
    flights: Arc<SingleFlight<K, V>>,
    key: K,
    ended: watch::Receiver<bool>,
}

impl<K: Eq + Hash, V> Drop for Forget<K, V> {
    fn drop(&mut self) {
        let mut map = lock(&self.flights.map);
        let Some(queue) = map.get_mut(&self.key) else { return };
        if queue
            .running
            .as_ref()
            .is_some_and(|running| running.same_channel(&self.ended))
        {
            queue.running = None;
        }
        if queue.running.is_none() && queue.waiting.is_none() {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[path = "single_flight_tests.rs"]
mod tests;
