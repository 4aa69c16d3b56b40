//! Work that several requests share: those who want the same wait together for one piece of work
//! that has not begun yet.
//!
//! A flight that has begun is not joined: its answer may be older than the newcomer's reason to
//! ask. So however many ask at once, two are flown: the one that is under way, and one for all who
//! came later.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Result, panicked};
use crate::task::job::Job;
use crate::task::patience;

/// The flights that may still be joined, by what they are for.
pub(crate) struct SingleFlight<K, V> {
    waiting: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

struct Flight<V> {
    /// Of the work itself; those of its members hear its events.
    job: Arc<Job>,
    answer: watch::Sender<Option<Result<V>>>,
    members: Mutex<usize>,
    task: Mutex<Option<AbortHandle>>,
}

/// A flight, for the work that leads it.
pub(crate) struct Lead<K, V> {
    flights: Arc<SingleFlight<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
}

impl<K: Eq + Hash, V> Lead<K, V> {
    /// The job of the shared work: cancelled when its last member has left.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.flight.job
    }

    /// From now on nobody joins.
    pub(crate) fn begin(&self) {
        self.flights.close(&self.key, &self.flight);
    }
}

/// One request's part in a flight. When the last member is dropped before the end, the flight is
/// given up.
struct Member<K: Eq + Hash, V> {
    flights: Arc<SingleFlight<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
    job: Arc<Job>,
}

impl<K: Eq + Hash, V> Drop for Member<K, V> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.flights.waiting);
        let mut members = lock(&self.flight.members);
        *members -= 1;
        if *members > 0 {
            return;
        }
        // Threads see the first, whatever awaits sees the second.
        self.flight.job.token().cancel();
        if let Some(task) = lock(&self.flight.task).take() {
            task.abort();
        }
        self.job.leave(&self.flight.job);
        // Nobody may join what is given up here.
        remove(&mut waiting, &self.key, &self.flight);
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        SingleFlight {
            waiting: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, V> SingleFlight<K, V> {
    fn close(&self, key: &K, flight: &Arc<Flight<V>>) {
        remove(&mut lock(&self.waiting), key, flight);
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer of a flight for `key` that begins after this call. Where one waits to begin, this
    /// joins it; else `go` starts one, and calls [`Lead::begin`] when nobody may join any more.
    /// Dropping this future leaves the flight, which goes on while others are in it. A request
    /// with a fault shares with nobody.
    ///
    /// # Errors
    /// Those of the work; `internal` where it panicked.
    pub(crate) async fn run<F>(
        self: &Arc<Self>,
        key: K,
        job: &Arc<Job>,
        go: impl FnOnce(Lead<K, V>) -> F,
    ) -> Result<V>
    where
        F: Future<Output = Result<V>> + Send + 'static,
    {
        let alone = job.fault.is_set();
        let joined = Instant::now();
        let (member, mut answer, before) = {
            let mut waiting = lock(&self.waiting);
            let flight = match waiting.get(&key).filter(|_| !alone) {
                Some(flight) => {
                    flight.job.patience.extend(job.patience.deadline());
                    flight.clone()
                }
                None => {
                    let flight = Arc::new(Flight {
                        job: Arc::new(Job::new(CancellationToken::new(), job.fault.clone())),
                        answer: watch::Sender::new(None),
                        members: Mutex::new(0),
                        task: Mutex::default(),
                    });
                    flight.job.patience.until(job.patience.deadline());
                    if !alone {
                        waiting.insert(key.clone(), flight.clone());
                    }
                    let lead = Lead {
                        flights: self.clone(),
                        key: key.clone(),
                        flight: flight.clone(),
                    };
                    let (work, led) = (go(lead), flight.clone());
                    let patience = flight.job.patience.clone();
                    let task = tokio::spawn(patience::scope(patience, async move {
                        let answer = AssertUnwindSafe(work).catch_unwind().await;
                        led.answer
                            .send_replace(Some(answer.unwrap_or_else(|_| Err(panicked()))));
                    }));
                    *lock(&flight.task) = Some(task.abort_handle());
                    flight
                }
            };
            *lock(&flight.members) += 1;
            flight.job.listen(job.clone());
            let answer = flight.answer.subscribe();
            let before = flight.job.patience.waited();
            let member = Member {
                flights: self.clone(),
                key,
                flight,
                job: job.clone(),
            };
            (member, answer, before)
        };
        let given = match answer.wait_for(Option::is_some).await {
            Ok(given) => given.clone(),
            Err(_) => None,
        };
        // What of its time in queues this request was there for.
        let waited = member.flight.job.patience.waited() - before;
        job.patience.add(waited.min(joined.elapsed()));
        job.patience.take_requests(&member.flight.job.patience);
        drop(member);
        given.unwrap_or_else(|| Err(panicked()))
    }
}

fn remove<K: Eq + Hash, V>(
    waiting: &mut HashMap<K, Arc<Flight<V>>>,
    key: &K,
    flight: &Arc<Flight<V>>,
) {
    if waiting
        .get(key)
        .is_some_and(|waiting| Arc::ptr_eq(waiting, flight))
    {
        waiting.remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "single_flight_tests.rs"]
mod tests;
