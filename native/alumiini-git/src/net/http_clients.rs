//! The HTTP clients. Requests share one where their connections are made with the same settings.

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
/// TLS configurations that clients share. Each holds the roots.
const MAX_CONFIGURATIONS: usize = 64;
/// Idle connections to a host that a client keeps.
const MAX_IDLE: usize = 32;
/// curl's limits, by and large.
const MAX_HEADERS: usize = 1000;
const MAX_HEADER_BYTES: u32 = 300 << 10;
/// Some servers tell Git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (alumiini-git ", env!("CARGO_PKG_VERSION"), ")");

/// The clients that were used last, each with its pool of connections.
pub(super) struct Clients {
    clients: Arc<Mutex<Used<ClientKey, Client>>>,
    configurations: Mutex<Used<Configuration, ClientConfig>>,
}

/// Values by key, each made once. Beyond `most`, the value that was not used for the longest time
/// goes.
struct Used<K, V> {
    map: HashMap<K, (u64, Arc<OnceCell<V>>)>,
    uses: u64,
    most: usize,
}

/// What a connection is made with. Connections with equal keys may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    /// A client is for one server, so that giving up a client disturbs no request to another
    /// server.
    server: String,
    /// `None` for plain `http`: it then works on a system without roots, and holds no memory for
    /// them.
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    addresses: Arc<Addresses>,
    connections: Connections,
    http2: bool,
}

/// What a TLS configuration is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration {
    tls: Tls,
    http2: bool,
    handshakes: Handshakes,
}

/// A request that uses a client. If it is dropped before it has [`ended`](Self::ended), the request
/// was given up. HTTP/2 gives up a request without closing the connection, so the client is
/// forgotten: its connection closes with the last of the other requests on it, at once if there are
/// none.
pub(super) struct Pending {
    clients: Arc<Mutex<Used<ClientKey, Client>>>,
    client: Weak<OnceCell<Client>>,
    /// `None` once it has ended.
    key: Option<Box<ClientKey>>,
}

/// Which connections a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Connections {
    /// A connection that was kept, if there is one.
    Kept,
    /// For second attempts: each request on a connection of its own.
    New,
}

impl Pending {
    /// The request has ended. The HTTP client decides what becomes of its connection.
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
        // Dropped after the lock was released, so that nobody waits while its connections close.
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
    /// The client for `url`, with the TLS settings and the proxy of `endpoint`. Makes it if there
    /// is none yet.
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
        // Our certificate is for the server of the URL that was asked for. Neither the target of a
        // redirect nor a proxy on the way to plain `http` gets it.
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
            // In HTTP/1, a connection whose answer is not read to its end closes by itself.
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
        // On a blocking thread, since it reads the roots from files.
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

    /// Removes the value at `key`, if it is still `one`.
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

/// Checks the hosts that the client does not check itself: it asks [`Resolver`] for names only, and
/// connects to addresses as they are.
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
    // With `socks5` the names are resolved here. The client's resolver does not check the proxy's
    // name, which may be the URL's name, too.
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
    // Headers and bodies pass unchanged: no decompression (the features are off), no proxy of the
    // environment. Headers are accepted as Git accepts them (curl's limits).
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
        // Some answers on an HTTP/2 connection wait for an indexer. Their unread bytes count
        // against the connection's window: with hyper's defaults, three such answers would stop all
        // others.
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(64 << 20)
        // Otherwise a connection that a firewall forgot would hold each new request until its
        // deadline.
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
        // Then the client resolves the proxy's name only.
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
        // For SOCKS, reqwest reads the credentials from the URL only.
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
