//! How many requests are under way at a time, to one host and in all. So no server gets more
//! requests than it should, and a host that is down does not use up what others need.
//!
//! A host that has answered gets as many requests at a time as the limit says, and one that has not
//! answered yet a quarter of that. One that could not be reached gets one at a time, whose failure
//! is the answer to all that waited for it.

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
const HALF_OPEN: usize = 4;
/// Hosts whose circuit is remembered.
const MAX_HOSTS: usize = 4096;

/// How many requests may talk to remotes at the same time. `None` changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) all: Option<usize>,
    pub(crate) per_host: Option<usize>,
}

/// The limits, and the hosts that were asked.
pub(crate) struct HostLimits {
    per_host: Arc<AtomicUsize>,
    all: Arc<Limiter>,
    hosts: Mutex<HashMap<Destination, Arc<Limiter>>>,
}

/// A host, and how it is reached: behind a proxy that is down it is not down itself.
#[derive(PartialEq, Eq, Hash)]
struct Destination {
    host: String,
    proxy: Option<Proxy>,
}

/// Lets so many through at a time, in the order they came.
struct Limiter {
    limit: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    running: usize,
    circuit: Circuit,
    queue: VecDeque<oneshot::Sender<Result<Share>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Circuit {
    /// Not reached yet, or not since it could not be.
    HalfOpen,
    /// It answers.
    Closed,
    /// It could not be reached.
    Open,
}

/// One of those that a gate lets through.
struct Share(Arc<Limiter>);

/// The right to ask a host, until it is dropped.
pub(super) struct Permit {
    host: Share,
    _all: Share,
}

impl Default for HostLimits {
    fn default() -> HostLimits {
        HostLimits {
            per_host: Arc::new(AtomicUsize::new(PER_HOST)),
            all: Limiter::new(Arc::new(AtomicUsize::new(ALL)), Circuit::Closed),
            hosts: Mutex::default(),
        }
    }
}

impl HostLimits {
    /// Takes new limits. Requests that are under way go on.
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
    pub(super) async fn enter(&self, endpoint: &Endpoint, base: &NetUrl) -> Result<Permit> {
        let gate = self.host(Destination {
            host: base.authority(),
            proxy: endpoint.proxy(base).cloned(),
        });
        let host = gate.enter().await.map_err(|failed| renamed(failed, base))?;
        // After the host's: who waits for a slow host holds up nobody else.
        let all = self.all.enter().await?;
        Ok(Permit { host, _all: all })
    }

    fn host(&self, way: Destination) -> Arc<Limiter> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let make = || Limiter::new(self.per_host.clone(), Circuit::HalfOpen);
        hosts.entry(way).or_insert_with(make).clone()
    }
}

/// The failure of another request to the same host, told of `base`.
fn renamed(mut failed: Error, base: &NetUrl) -> Error {
    let shown = base.redacted();
    if let Some(other) = failed.detail.get(&Key::Url).and_then(|url| url.as_str()) {
        failed.message = failed.message.replace(other, &shown);
    }
    failed.with(Key::Url, shown)
}

impl Limiter {
    fn new(limit: Arc<AtomicUsize>, circuit: Circuit) -> Arc<Limiter> {
        Arc::new(Limiter {
            limit,
            state: Mutex::new(State {
                running: 0,
                circuit,
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
            < match state.circuit {
                Circuit::Closed => limit,
                Circuit::HalfOpen => (limit / HALF_OPEN).max(1),
                Circuit::Open => 1,
            }
    }

    async fn enter(self: &Arc<Self>) -> Result<Share> {
        let permit = {
            let mut state = self.lock();
            if state.queue.is_empty() && self.room(&state) {
                state.running += 1;
                return Ok(Share(self.clone()));
            }
            let (sender, permit) = oneshot::channel();
            state.queue.push_back(sender);
            permit
        };
        // The sender goes only with what it sends.
        permit.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Lets in whom there is room for.
    fn admit(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                if !self.room(&state) {
                    return;
                }
                let Some(next) = state.queue.pop_front() else {
                    return;
                };
                state.running += 1;
                next
            };
            // Who no longer waits drops the slot, and with it comes back here.
            let _ = next.send(Ok(Share(self.clone())));
        }
    }

    fn stands(self: &Arc<Self>, circuit: Circuit) {
        let changed = std::mem::replace(&mut self.lock().circuit, circuit) != circuit;
        if changed {
            self.admit();
        }
    }

    fn fail(&self, failed: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.circuit = Circuit::Open;
            std::mem::take(&mut state.queue)
        };
        for waiter in waiting {
            let _ = waiter.send(Err(failed.clone()));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.admit();
    }
}

impl Permit {
    /// Learns from what came of asking whether the host can be reached.
    pub(super) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Err(failed) if failed.hint == Some(Hint::Unreachable) => self.host.0.fail(failed),
            _ => self.host.0.stands(Circuit::Closed),
        }
        result
    }
}

#[cfg(test)]
#[path = "host_limits_tests.rs"]
mod tests;
