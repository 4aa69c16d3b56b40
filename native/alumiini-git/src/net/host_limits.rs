//! How many requests are under way at a time and begin in a second, to one host and in all. So no
//! server gets more requests than it should, and neither a host that is down nor a repository that
//! is broken uses up what others need.
//!
//! A host that has answered gets as many requests at a time as the limit says, and one that has not
//! answered yet a quarter of that. One that could not be reached gets one at a time, whose failure
//! is the answer to all that waited for it. One that says for how long it wants to be left alone
//! (`Retry-After`) gets no request in that time from the account that it said that to.
//!
//! At a host, repositories take turns (`turns.rs`). Those whose last request failed share a quarter
//! of the places, until one of their requests succeeds (`state.rs`). A repository that is new
//! counts as good: at the beginning all are new, and would have to share a quarter. A request that
//! hangs counts as failing once it has had no answer for ten seconds, and gives its place to others
//! where too many requests hang.

mod bucket;
mod failing;
mod host;
mod places;
mod settings;
mod state;
mod turns;

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Key, Result};
use crate::net::Endpoint;
pub(crate) use crate::net::host_limits::host::Seen;
use crate::net::host_limits::host::{Host, Share};
use crate::net::host_limits::places::{Place, Places};
use crate::net::host_limits::settings::Settings;
pub(crate) use crate::net::host_limits::state::Circuit;
use crate::net::host_limits::turns::Line;
use crate::net::proxy::Proxy;
use crate::net::url::NetUrl;
use crate::task::patience;

const ALL: usize = 256;
/// A request that gets its turn within this time does not count as one that waited.
const A_WAIT: Duration = Duration::from_millis(1);
/// Hosts that are remembered.
const MAX_HOSTS: usize = 4096;
/// Hosts that are shown, those at which most is waiting first, and repositories of each.
const MAX_SHOWN: usize = 256;
const MAX_SHOWN_REPOSITORIES: usize = 8;
/// Characters of a repository's URL that are shown.
const MAX_SHOWN_URL: usize = 500;

/// How many requests may talk to remotes at the same time, and in a second. `None` changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) all: Option<usize>,
    pub(crate) per_host: Option<usize>,
    pub(crate) per_second: Option<f64>,
}

/// The limits, and the hosts that were asked.
pub(crate) struct HostLimits {
    settings: Arc<Settings>,
    all: Arc<Places>,
    hosts: Mutex<HashMap<Destination, Arc<Host>>>,
    hasher: RandomState,
}

/// A host, and the way to it: if a proxy is down, the host itself may not be.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Destination {
    host: String,
    proxy: Option<Proxy>,
}

/// The right to ask a host, until it is dropped.
pub(super) struct Permit {
    share: Share,
    _all: Place,
}

/// A host as it may be shown, and its state.
pub(crate) struct SeenHost {
    pub(crate) host: String,
    pub(crate) proxy: Option<String>,
    pub(crate) seen: Seen,
}

impl Default for HostLimits {
    fn default() -> HostLimits {
        HostLimits {
            settings: Arc::default(),
            all: Places::new(ALL),
            hosts: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

impl HostLimits {
    /// Takes new limits. Requests that are under way go on.
    pub(crate) fn limit(&self, limits: Limits) {
        if let Some(all) = limits.all {
            self.all.limit(all);
        }
        if let Some(per_host) = limits.per_host {
            self.settings.per_host.store(per_host, Ordering::Relaxed);
        }
        if let Some(per_second) = limits.per_second {
            self.settings.set_per_second(per_second);
        }
        for (_, host) in self.known() {
            host.admit();
        }
    }

    /// Calls `ask` for `endpoint` once the host of `base` may be asked. `ask` returns the beginning
    /// of an answer; the permit is for the rest of it. `ask` may be called more than once: a
    /// request that is slow gives way to others, and is made again later.
    ///
    /// The errors of `ask`. `network`: the host could not be reached by a request for which this
    /// one waited. `rate_limited`: it does not want to be asked before this one's deadline.
    pub(super) async fn ask<T, F>(
        &self,
        endpoint: &Endpoint,
        base: &NetUrl,
        ask: impl Fn() -> F,
    ) -> Result<(T, Permit)>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            let permit = self.enter(endpoint, base).await?;
            let result = tokio::select! {
                biased;
                result = ask() => result,
                () = permit.share.withdrawn() => {
                    patience::again();
                    continue;
                }
            };
            permit.share.watch(&result);
            return result.map(|answer| (answer, permit));
        }
    }

    async fn enter(&self, endpoint: &Endpoint, base: &NetUrl) -> Result<Permit> {
        let host = self.host(Destination {
            host: base.authority(),
            proxy: endpoint.proxy(base).cloned(),
        });
        // A repository is known by the URL that was given, since the server decides where that
        // redirects to; and without credentials, since new credentials do not repair a repository.
        let line = Line {
            repository: self.hasher.hash_one(endpoint.url.identity()),
            account: self.hasher.hash_one(&endpoint.auth),
        };
        let shown = || {
            let url = endpoint.secrets().hide(&endpoint.url.redacted());
            match url.char_indices().nth(MAX_SHOWN_URL) {
                Some((end, _)) => format!("{}…", &url[..end]),
                None => url,
            }
        };
        let arrived = Instant::now();
        let share = host.enter(line, shown).await;
        let share = share.map_err(|failed| renamed(failed, base))?;
        // This comes after the host's place: a request that waits for a slow host holds up no
        // other.
        let all = self.all.enter().await?;
        share.begin();
        let waited = arrived.elapsed();
        if waited >= A_WAIT {
            patience::waited(waited);
        }
        Ok(Permit { share, _all: all })
    }

    fn host(&self, way: Destination) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let make = || Host::new(self.settings.clone());
        hosts.entry(way).or_insert_with(make).clone()
    }

    fn known(&self) -> Vec<(Destination, Arc<Host>)> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .map(|(destination, host)| (destination.clone(), host.clone()))
            .collect()
    }

    /// The hosts at which something is under way or waits, or that are held off; the busiest first.
    pub(crate) fn look(&self) -> Vec<SeenHost> {
        let seen = self.known().into_iter().filter_map(|(destination, host)| {
            Some(SeenHost {
                seen: host.look(MAX_SHOWN_REPOSITORIES)?,
                proxy: destination.proxy.map(|proxy| proxy.to_string()),
                host: destination.host,
            })
        });
        let mut seen: Vec<SeenHost> = seen.collect();
        seen.sort_by(|a, b| {
            let busy = |host: &SeenHost| (host.seen.waiting, host.seen.running);
            busy(b)
                .cmp(&busy(a))
                .then_with(|| (&a.host, &a.proxy).cmp(&(&b.host, &b.proxy)))
        });
        seen.truncate(MAX_SHOWN);
        seen
    }
}

/// The error of another request to the same host, with the URL of `base`.
fn renamed(mut failed: Error, base: &NetUrl) -> Error {
    let shown = base.redacted();
    if let Some(other) = failed.detail.get(&Key::Url).and_then(|url| url.as_str()) {
        failed.message = failed.message.replace(other, &shown);
    }
    failed.with(Key::Url, shown)
}

impl Permit {
    /// Notes, at the end of an answer, whether the repository succeeded or failed.
    pub(super) fn judge<T>(&self, result: Result<T>) -> Result<T> {
        self.share.judge(&result);
        result
    }
}

#[cfg(test)]
#[path = "host_limits_tests.rs"]
mod tests;
