//! The clients that requests over HTTP share, by what their connections are made with.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::ClientConfig;
use tokio::sync::OnceCell;

use crate::error::{Error, Kind, Result};
use crate::net::client_certificate::PerConnection;
use crate::net::dial::CONNECT_TIMEOUT;
use crate::net::proxy::{Proxy, ProxyScheme};
use crate::net::resolver::Resolver;
use crate::net::tls::{Handshakes, Tls};
use crate::net::url::{HttpUrl, NetUrl};
use crate::net::{Endpoint, connection_failure};
use crate::policy::addresses::Addresses;

/// Clients that are kept, each with the connections to one server.
const MAX_CLIENTS: usize = 512;
/// Configurations of TLS that they share, each with its roots.
const MAX_CONFIGURATIONS: usize = 64;
/// Connections to a host that are kept for later.
const MAX_IDLE: usize = 32;
/// curl's limits, by and large.
const MAX_HEADERS: usize = 1000;
const MAX_HEADER_BYTES: u32 = 300 << 10;
/// Some servers tell Git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (alumiini-git ", env!("CARGO_PKG_VERSION"), ")");

/// The clients, each with its pool of connections; those used last.
pub(super) struct Clients {
    clients: Arc<Mutex<Used<ClientKey, Client>>>,
    configurations: Mutex<Used<Configuration, ClientConfig>>,
}

/// Things that are made once, the most that are kept.
struct Used<K, V> {
    map: HashMap<K, (u64, Arc<OnceCell<V>>)>,
    uses: u64,
    most: usize,
}

/// What connections that may serve the same requests have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    /// One server. A client that is given up then disturbs no requests to others.
    server: String,
    /// None: without TLS, so that plain `http` works on a system without roots, and costs none of
    /// their memory.
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    addresses: Arc<Addresses>,
    connections: Connections,
    http2: bool,
}

/// What handshakes have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration {
    tls: Tls,
    http2: bool,
    handshakes: Handshakes,
}

/// A request that a client was taken for. While it has not [`ended`](Self::ended), it may be given
/// up, which HTTP/2 does without closing the connection: the client is then forgotten, so that the
/// connection closes with the last of the other requests on it, at once if there are none.
pub(super) struct Pending {
    clients: Arc<Mutex<Used<ClientKey, Client>>>,
    client: Weak<OnceCell<Client>>,
    /// `None` once it has ended.
    key: Option<Box<ClientKey>>,
}

/// What a request may be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Connections {
    /// One that was kept, where there is one.
    Kept,
    /// For second attempts: each request on a connection of its own.
    New,
}

impl Pending {
    /// What becomes of its connection is the HTTP client's business.
    pub(super) fn ended(&mut self) {
        self.key = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else {
            return;
        };
        let forgotten = lock(&self.clients).remove(&key, &self.client);
        // Closes what it has without anybody else waiting for it.
        drop(forgotten);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            clients: Arc::new(Mutex::new(Used::new(MAX_CLIENTS))),
            configurations: Mutex::new(Used::new(MAX_CONFIGURATIONS)),
        }
    }
}

impl Clients {
    /// The client for `url`, made where it is the first with what `endpoint` says of TLS and
    /// proxies.
    ///
    /// `unsupported` where the host of `url` is an address to which no connection may be made.
    pub(super) async fn of(
        &self,
        endpoint: &Endpoint,
        url: &HttpUrl,
        connections: Connections,
        http2: bool,
    ) -> Result<(Client, Pending)> {
        let proxy = endpoint.proxy(&NetUrl::Http(url.clone()));
        may_go(endpoint, url, proxy).await?;
        let mut tls = endpoint.tls.clone();
        // The URL that was asked for is who our certificate is for: not where it redirects, nor a
        // proxy on the way to plain `http`.
        let is_for_it = match &endpoint.url {
            NetUrl::Http(first) => first.same_origin(url) && !url.is_plaintext(),
            _ => false,
        };
        if !is_for_it {
            tls.client = None;
        }
        let encrypted =
            !url.is_plaintext() || proxy.is_some_and(|proxy| proxy.scheme == ProxyScheme::Https);
        let key = ClientKey {
            server: NetUrl::Http(url.clone()).authority(),
            tls: encrypted.then_some(tls),
            proxy: proxy.cloned(),
            addresses: endpoint.addresses.clone(),
            connections,
            http2,
        };
        let cell = lock(&self.clients).at(&key);
        let client = cell.get_or_try_init(|| self.build(&key)).await?.clone();
        let pending = Pending {
            clients: self.clients.clone(),
            client: Arc::downgrade(&cell),
            // By HTTP/1 a connection that does not get to the end of an answer is closed.
            key: (key.http2 && key.tls.is_some()).then(|| Box::new(key)),
        };
        Ok((client, pending))
    }

    async fn build(&self, key: &ClientKey) -> Result<Client> {
        let Some(tls) = key.tls.clone() else {
            return build(key, None);
        };
        let configuration = Configuration {
            tls,
            http2: key.http2,
            handshakes: key.handshakes(),
        };
        let cell = lock(&self.configurations).at(&configuration);
        // On a blocking thread: the roots are files.
        let config = cell
            .get_or_try_init(|| async move {
                tokio::task::spawn_blocking(move || configuration.load())
                    .await
                    .map_err(|_| Error::new(Kind::Internal, "the HTTP client cannot be built"))?
            })
            .await?;
        build(key, Some(config.clone()))
    }
}

impl Configuration {
    fn load(&self) -> Result<ClientConfig> {
        let protocols: &[&[u8]] = if self.http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        self.tls.config(protocols, self.handshakes)
    }
}

impl ClientKey {
    fn handshakes(&self) -> Handshakes {
        match &self.proxy {
            Some(proxy) if proxy.scheme == ProxyScheme::Https => Handshakes::ProxyFirst,
            _ => Handshakes::Direct,
        }
    }
}

impl<K: Clone + Eq + Hash, V> Used<K, V> {
    fn new(most: usize) -> Used<K, V> {
        Used {
            map: HashMap::new(),
            uses: 0,
            most,
        }
    }

    /// Takes what is at `key` out, if it is still the same.
    fn remove(&mut self, key: &K, one: &Weak<OnceCell<V>>) -> Option<Arc<OnceCell<V>>> {
        let (_, found) = self.map.get(key)?;
        let is_same = std::ptr::eq(Arc::as_ptr(found), one.as_ptr());
        is_same
            .then(|| self.map.remove(key))
            .flatten()
            .map(|(_, cell)| cell)
    }

    fn at(&mut self, key: &K) -> Arc<OnceCell<V>> {
        self.uses += 1;
        let now = self.uses;
        if let Some((used, cell)) = self.map.get_mut(key) {
            *used = now;
            return cell.clone();
        }
        if self.map.len() >= self.most {
            let oldest = self.map.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.map.remove(&oldest);
            }
        }
        let cell = Arc::<OnceCell<V>>::default();
        self.map.insert(key.clone(), (now, cell.clone()));
        cell
    }
}

/// Asks of hosts what the client does not: it takes addresses as they are, and asks [`Resolver`]
/// for names.
async fn may_go(endpoint: &Endpoint, url: &HttpUrl, proxy: Option<&Proxy>) -> Result<()> {
    let (addresses, net) = (&endpoint.addresses, NetUrl::Http(url.clone()));
    if addresses.is_any() {
        return Ok(());
    }
    let host = net.host();
    let checked = match proxy {
        None => addresses.check(host),
        Some(_) => addresses.check_behind_proxy(host),
    };
    checked.map_err(|denied| connection_failure::denied(&denied, &url.redacted()))?;
    // Where names are resolved here, the client's resolver does not ask of the proxy, whose name
    // may be the URL's, too.
    match proxy {
        Some(proxy)
            if proxy.scheme == ProxyScheme::Socks5 && proxy.host.eq_ignore_ascii_case(host) =>
        {
            let found = Resolver::new(addresses.clone()).lookup(host).await;
            found.map(|_| ()).map_err(|error| {
                connection_failure::dial(error.as_ref(), &url.redacted(), host, None)
            })
        }
        _ => Ok(()),
    }
}

fn build(key: &ClientKey, config: Option<ClientConfig>) -> Result<Client> {
    // Every header and byte is Git's: no decompression (its features are off), no proxy of the
    // environment. What Git takes of headers (curl's limits), we take.
    let builder = Client::builder()
        .http1_max_headers(MAX_HEADERS)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        // Of one HTTP/2 connection's answers, some wait for an indexer. Their unread bytes count
        // against the connection's window: at hyper's defaults, three of them would stop all
        // others.
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(64 << 20)
        // Else a connection that a firewall forgot would hold each new request until its deadline.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(20));
    let kept = match key.connections {
        Connections::Kept => MAX_IDLE,
        Connections::New => 0,
    };
    let builder = builder.pool_max_idle_per_host(kept);
    let builder = match key.handshakes() {
        Handshakes::ProxyFirst => builder.connector_layer(PerConnection),
        Handshakes::Direct => builder,
    };
    let builder = match config {
        Some(config) if key.http2 => builder.tls_backend_preconfigured(config),
        Some(config) => builder.tls_backend_preconfigured(config).http1_only(),
        None => builder.tls_certs_only([]),
    };
    let builder = match &key.proxy {
        Some(proxy) => builder.proxy(through(proxy).map_err(|e| connection_failure::client(&e))?),
        None => builder,
    };
    let builder = match &key.proxy {
        _ if key.addresses.is_any() => builder,
        None => builder.dns_resolver(Resolver::new(key.addresses.clone())),
        Some(proxy) if proxy.scheme == ProxyScheme::Socks5 => {
            builder.dns_resolver(Resolver::new(key.addresses.clone()).but_for(&proxy.host))
        }
        // It resolves the proxy's own name only.
        Some(_) => builder,
    };
    builder.build().map_err(|e| connection_failure::client(&e))
}

fn through(proxy: &Proxy) -> reqwest::Result<reqwest::Proxy> {
    match (proxy.scheme, &proxy.login) {
        (_, None) => reqwest::Proxy::all(proxy.url()),
        (ProxyScheme::Http | ProxyScheme::Https, Some((user, password))) => {
            Ok(reqwest::Proxy::all(proxy.url())?.basic_auth(user, password))
        }
        // For SOCKS it reads them from the URL only.
        (ProxyScheme::Socks5 | ProxyScheme::Socks5h, Some(_)) => {
            reqwest::Proxy::all(proxy.url_with_login())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_used_last_are_kept() {
        let mut used: Used<usize, ()> = Used::new(MAX_CONFIGURATIONS);
        let first = used.at(&0);
        for key in 1..MAX_CONFIGURATIONS * 3 {
            used.at(&key);
            // One that is used all the time stays.
            assert!(Arc::ptr_eq(&used.at(&0), &first));
        }
        assert_eq!(used.map.len(), MAX_CONFIGURATIONS);
        assert!(used.map.contains_key(&(MAX_CONFIGURATIONS * 3 - 1)));
        assert!(!used.map.contains_key(&1));
    }
}
