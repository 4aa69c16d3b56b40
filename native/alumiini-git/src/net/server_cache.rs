//! What is remembered of repositories' servers, and how far it is believed.
//!
//! Git remembers nothing: it begins at the URL each time. What is remembered here saves requests,
//! so whatever failure it could have caused makes the same call begin at the URL, once, and on new
//! connections.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::error::{Error, Hint, Key, Kind, Result};
use crate::net::Endpoint;
use crate::net::git::capabilities::Capabilities;
use crate::net::http::Connections;
use crate::net::identity::Identity;
use crate::net::url::NetUrl;

/// Servers that are remembered. At so many, all are forgotten: each saves one request.
const MAX_KNOWN: usize = 16_384;

/// A repository's server: where it is after redirects, and what it can do.
#[derive(Debug)]
pub(super) struct ServerInfo {
    pub(super) base: NetUrl,
    pub(super) capabilities: Capabilities,
    /// Until when the redirects that led there are believed.
    pub(super) until: Option<Instant>,
    /// Whether the list that it sends unasked in v0 is too long to be worth reading.
    pub(super) v0_too_long: AtomicBool,
}

impl ServerInfo {
    /// Whether redirects led to it.
    pub(super) fn is_elsewhere(&self, endpoint: &Endpoint) -> bool {
        self.base.identity() != endpoint.url.identity()
    }
}

/// What is remembered, per endpoint.
#[derive(Default)]
pub(crate) struct ServerCache {
    map: Mutex<HashMap<ServerKey, Memory>>,
    hasher: RandomState,
}

type ServerKey = (Identity, u64);

#[derive(Default)]
struct Memory {
    server: Option<Arc<ServerInfo>>,
    /// Whether the last call failed, so that kept connections are not trusted either: they may lead
    /// to what was there before.
    doubted: bool,
}

impl ServerCache {
    /// By a hash of the credentials too: a redirect that one user was given says nothing for
    /// another. The credentials themselves are not kept.
    fn key(&self, endpoint: &Endpoint) -> ServerKey {
        (
            endpoint.url.identity(),
            self.hasher
                .hash_one((&endpoint.auth, &endpoint.tls, &endpoint.route)),
        )
    }

    /// A panic while it is held leaves a whole map, so poisoning says nothing here.
    fn lock(&self) -> MutexGuard<'_, HashMap<ServerKey, Memory>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, endpoint: &Endpoint, change: impl FnOnce(&mut Memory)) {
        let key = self.key(endpoint);
        let mut map = self.lock();
        if map.len() >= MAX_KNOWN && !map.contains_key(&key) {
            map.clear();
        }
        change(map.entry(key).or_default());
    }

    pub(super) fn get(&self, endpoint: &Endpoint) -> Option<Arc<ServerInfo>> {
        let server = self.lock().get(&self.key(endpoint))?.server.clone()?;
        let holds = server.until.is_none_or(|until| Instant::now() < until);
        holds.then_some(server)
    }

    /// What a request of `endpoint` may be sent on.
    pub(super) fn connections(&self, endpoint: &Endpoint) -> Connections {
        match self.lock().get(&self.key(endpoint)) {
            Some(memory) if memory.doubted => Connections::New,
            _ => Connections::Kept,
        }
    }

    pub(super) fn insert(&self, endpoint: &Endpoint, server: Arc<ServerInfo>) {
        self.change(endpoint, |memory| memory.server = Some(server));
    }

    /// Forgets what is known, and uses no kept connection until a call has succeeded.
    pub(super) fn doubt(&self, endpoint: &Endpoint) {
        self.change(endpoint, |memory| {
            *memory = Memory {
                server: None,
                doubted: true,
            }
        });
    }

    /// Learns from the end of a call.
    pub(super) fn judge<T>(&self, endpoint: &Endpoint, done: Result<T>) -> Result<T> {
        match &done {
            Ok(_) => {
                if let Some(memory) = self.lock().get_mut(&self.key(endpoint)) {
                    memory.doubted = false;
                }
            }
            // A server that is behind the others may be the one at the other end of a kept
            // connection.
            Err(e) if e.kind == Kind::RefNotFound => self.doubt(endpoint),
            Err(e) => {
                let server = self
                    .lock()
                    .get(&self.key(endpoint))
                    .and_then(|memory| memory.server.clone());
                let asked = server.as_ref().map_or(&endpoint.url, |server| &server.base);
                if could_cause(endpoint, asked, e) {
                    self.doubt(endpoint);
                }
            }
        }
        done
    }
}

/// Whether what was remembered could be why `error` came of asking `asked` for `endpoint`.
pub(super) fn could_cause(endpoint: &Endpoint, asked: &NetUrl, error: &Error) -> bool {
    if error.hint == Some(Hint::NoToken) {
        return false;
    }
    match error.kind {
        // Ours, or of what was asked for.
        Kind::Cancelled | Kind::Invalid | Kind::TooLarge | Kind::RefNotFound | Kind::Internal => {
            false
        }
        _ if asked.identity() != endpoint.url.identity() => true,
        // What the URL's own host says to whoever asks, whatever that is: another request would
        // only be one more.
        Kind::RateLimited | Kind::Certificate | Kind::HostKey => false,
        Kind::Auth => matches!(asked, NetUrl::Http(_)),
        _ => error.hint != Some(Hint::Unreachable) && !error.detail.contains_key(&Key::RetryAfter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::proxy::ProxySettings;
    use crate::net::url::{Location, RemoteUrl};

    #[test]
    fn so_many_servers_are_remembered() {
        let cache = ServerCache::default();
        for n in 0..MAX_KNOWN * 2 + 10 {
            let url = format!("https://h{n}/r");
            let Location::Network(url) = RemoteUrl::parse(url.as_bytes()).unwrap().location else {
                panic!("{url}");
            };
            let route = ProxySettings::new(None, None).unwrap();
            let endpoint =
                Endpoint::new(url, None, false, Default::default(), route, Arc::default()).unwrap();
            cache.change(&endpoint, |_| {});
            assert!(cache.lock().len() <= MAX_KNOWN);
        }
    }
}
