//! How many requests are under way at a time, to one host and in all. It keeps us a polite client, and a host that is down from
//! using up what others need.
//!
//! A host that has answered is asked by as many as the limit says. One that has not yet, by a few. One that could not be reached, by
//! one at a time, and its failure is the answer to all who waited for it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{Error, Hint, Key, Result, panicked};
use crate::net::Endpoint;
use crate::net::proxy::Proxy;
use crate::net::url::NetUrl;

const ALL: usize = 256;
const PER_HOST: usize = 32;
/// The part of its limit that a host gets before it has answered anything.
const UNPROVEN: usize = 4;
/// Hosts whose standing is remembered.
const MAX_HOSTS: usize = 4096;

/// How many requests may be talking to remotes at a time. None: as before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) all: Option<usize>,
    pub(crate) per_host: Option<usize>,
}

/// The limits, and the hosts that were asked.
pub(crate) struct Gates {
    per_host: Arc<AtomicUsize>,
    all: Arc<Gate>,
    hosts: Mutex<HashMap<Way, Arc<Gate>>>,
}

/// A host, and how it is reached: behind a proxy that is down it is not down itself.
#[derive(PartialEq, Eq, Hash)]
struct Way {
    host: String,
    proxy: Option<Proxy>,
}

/// Lets so many through at a time, in the order they came.
struct Gate {
    limit: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    running: usize,
    standing: Standing,
    queue: VecDeque<oneshot::Sender<Result<Slot>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Unproven,
    Up,
    Down,
}

/// One of those that a gate lets through.
struct Slot(Arc<Gate>);

/// The right to ask a host, until it is dropped.
pub(super) struct Turn {
    host: Slot,
    _all: Slot,
}

impl Default for Gates {
    fn default() -> Gates {
        Gates {
            per_host: Arc::new(AtomicUsize::new(PER_HOST)),
            all: Gate::new(Arc::new(AtomicUsize::new(ALL)), Standing::Up),
            hosts: Mutex::default(),
        }
    }
}

impl Gates {
    /// Takes new limits. What is under way stays so.
    pub(crate) fn limit(&self, limits: Limits) {
        if let Some(all) = limits.all {
            self.all.limit.store(all, Ordering::Relaxed);
        }
        if let Some(per_host) = limits.per_host {
            self.per_host.store(per_host, Ordering::Relaxed);
        }
    }

    /// Waits until the host of `base` may be asked for `endpoint`.
    ///
    /// `network`: the host could not be reached by a request for which this one waited.
    pub(super) async fn enter(&self, endpoint: &Endpoint, base: &NetUrl) -> Result<Turn> {
        let gate = self.host(Way {
            host: base.authority(),
            proxy: endpoint.proxy(base).cloned(),
        });
        let host = gate.enter().await.map_err(|failed| renamed(failed, base))?;
        // After the host's: who waits for a slow host holds up nobody else.
        let all = self.all.enter().await?;
        Ok(Turn { host, _all: all })
    }

    fn host(&self, way: Way) -> Arc<Gate> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let make = || Gate::new(self.per_host.clone(), Standing::Unproven);
        hosts.entry(way).or_insert_with(make).clone()
    }
}

/// The failure of another request to the same host, told of `base`.
fn renamed(mut failed: Error, base: &NetUrl) -> Error {
    let shown = base.shown();
    if let Some(other) = failed.detail.get(&Key::Url).and_then(|url| url.as_str()) {
        failed.message = failed.message.replace(other, &shown);
    }
    failed.with(Key::Url, shown)
}

impl Gate {
    fn new(limit: Arc<AtomicUsize>, standing: Standing) -> Arc<Gate> {
        Arc::new(Gate {
            limit,
            state: Mutex::new(State {
                running: 0,
                standing,
                queue: VecDeque::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, state: &State) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        state.running
            < match state.standing {
                Standing::Up => limit,
                Standing::Unproven => (limit / UNPROVEN).max(1),
                Standing::Down => 1,
            }
    }

    async fn enter(self: &Arc<Self>) -> Result<Slot> {
        let turn = {
            let mut state = self.lock();
            if state.queue.is_empty() && self.room(&state) {
                state.running += 1;
                return Ok(Slot(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            state.queue.push_back(sender);
            turn
        };
        // The sender goes only with what it sends.
        turn.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Lets in whom there is room for.
    fn admit(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                if !self.room(&state) {
                    return;
                }
                let Some(next) = state.queue.pop_front() else { return };
                state.running += 1;
                next
            };
            // Who no longer waits drops the slot, and with it comes back here.
            let _ = next.send(Ok(Slot(self.clone())));
        }
    }

    fn stands(self: &Arc<Self>, standing: Standing) {
        let changed = std::mem::replace(&mut self.lock().standing, standing) != standing;
        if changed {
            self.admit();
        }
    }

    fn fail(&self, failed: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.standing = Standing::Down;
            std::mem::take(&mut state.queue)
        };
        for waiter in waiting {
            let _ = waiter.send(Err(failed.clone()));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.admit();
    }
}

impl Turn {
    /// Learns from what came of asking whether the host can be reached.
    pub(super) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Err(failed) if failed.hint == Some(Hint::Unreachable) => self.host.0.fail(failed),
            _ => self.host.0.stands(Standing::Up),
        }
        result
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
