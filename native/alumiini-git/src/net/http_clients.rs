//! The clients that requests over HTTP share, by what their connections are made with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, redirect};
use tokio::sync::OnceCell;

use crate::error::{Error, Kind, Result};
use crate::net::client_certificate::PerConnection;
use crate::net::dial::CONNECT_TIMEOUT;
use crate::net::proxy::{Proxy, ProxyScheme};
use crate::net::resolver::Resolver;
use crate::net::tls::{Handshakes, Tls};
use crate::net::url::{HttpUrl, NetUrl};
use crate::net::{Endpoint, failure};
use crate::policy::addresses::Addresses;

/// Clients that are kept, each with its connections and roots.
const MAX_CLIENTS: usize = 64;
/// Connections to a host that are kept for later.
const MAX_IDLE: usize = 32;
/// curl's limits, by and large.
const MAX_HEADERS: usize = 1000;
const MAX_HEADER_BYTES: u32 = 300 << 10;
/// Some servers tell Git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (alumiini-git ", env!("CARGO_PKG_VERSION"), ")");

/// The clients, each with its pool of connections; those used last.
#[derive(Default)]
pub(super) struct Clients {
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    map: HashMap<ClientKey, (u64, Arc<OnceCell<Client>>)>,
    uses: u64,
}

/// What connections have in common that may serve the same requests.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    /// None: without TLS, so that plain `http` works on a system without roots, and costs none of their memory.
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    addresses: Arc<Addresses>,
    connections: Connections,
    http2: bool,
}

/// What a request may be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Connections {
    /// One that was kept, where there is one.
    Kept,
    /// For second attempts: each request on a connection of its own.
    New,
}

impl Clients {
    /// The client for `url`, made where it is the first with what `endpoint` says of TLS and proxies.
    ///
    /// `unsupported` where the host of `url` is an address to which no connection may be made.
    pub(super) async fn of(
        &self,
        endpoint: &Endpoint,
        url: &HttpUrl,
        connections: Connections,
        http2: bool,
    ) -> Result<Client> {
        let proxy = endpoint.proxy(&NetUrl::Http(url.clone()));
        may_go(endpoint, url, proxy).await?;
        let mut tls = endpoint.tls.clone();
        // The URL that was asked for is who our certificate is for: not where it redirects, nor a proxy on the way to plain `http`.
        let is_for =
            |first: &NetUrl| matches!(first, NetUrl::Http(first) if first.same_origin(url) && !url.is_plaintext());
        if !is_for(&endpoint.url) {
            tls.client = None;
        }
        let encrypted = !url.is_plaintext() || proxy.is_some_and(|proxy| proxy.scheme == ProxyScheme::Https);
        let key = ClientKey {
            tls: encrypted.then_some(tls),
            proxy: proxy.cloned(),
            addresses: endpoint.addresses.clone(),
            connections,
            http2,
        };
        let cell = self.used.lock().unwrap_or_else(PoisonError::into_inner).at(&key);
        // On a blocking thread: the roots are files.
        let client = cell
            .get_or_try_init(|| async move {
                tokio::task::spawn_blocking(move || build(&key))
                    .await
                    .map_err(|_| Error::new(Kind::Internal, "the HTTP client cannot be built"))?
            })
            .await?;
        Ok(client.clone())
    }
}

impl Used {
    fn at(&mut self, key: &ClientKey) -> Arc<OnceCell<Client>> {
        self.uses += 1;
        let now = self.uses;
        if let Some((used, cell)) = self.map.get_mut(key) {
            *used = now;
            return cell.clone();
        }
        if self.map.len() >= MAX_CLIENTS {
            let oldest = self.map.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.map.remove(&oldest);
            }
        }
        let cell = Arc::<OnceCell<Client>>::default();
        self.map.insert(key.clone(), (now, cell.clone()));
        cell
    }
}

/// Asks of hosts what the client does not: it takes addresses as they are, and asks [`Resolver`] for names.
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
    checked.map_err(|denied| failure::denied(&denied, &url.redacted()))?;
    // Where names are resolved here, the client's resolver does not ask of the proxy, whose name may be the URL's, too.
    match proxy {
        Some(proxy) if proxy.scheme == ProxyScheme::Socks5 && proxy.host.eq_ignore_ascii_case(host) => {
            let found = Resolver::new(addresses.clone()).lookup(host).await;
            found
                .map(|_| ())
                .map_err(|error| failure::dial(error.as_ref(), &url.redacted(), host, None))
        }
        _ => Ok(()),
    }
}

fn build(key: &ClientKey) -> Result<Client> {
    // Every header and byte is Git's: no decompression (its features are off), no proxy of the environment. What Git takes of headers
    // (curl's limits), we take.
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
        // Of one HTTP/2 connection's answers, some wait for an indexer. Their unread bytes count against the connection's window:
        // at hyper's defaults, three of them would stop all others.
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
    let handshakes = match &key.proxy {
        Some(proxy) if proxy.scheme == ProxyScheme::Https => Handshakes::ProxyFirst,
        _ => Handshakes::Direct,
    };
    let builder = match handshakes {
        Handshakes::ProxyFirst => builder.connector_layer(PerConnection),
        Handshakes::Direct => builder,
    };
    let builder = match &key.tls {
        Some(tls) if key.http2 => builder.tls_backend_preconfigured(tls.config(&[b"h2", b"http/1.1"], handshakes)?),
        Some(tls) => builder
            .tls_backend_preconfigured(tls.config(&[b"http/1.1"], handshakes)?)
            .http1_only(),
        None => builder.tls_certs_only([]),
    };
    let builder = match &key.proxy {
        Some(proxy) => builder.proxy(through(proxy).map_err(|e| failure::client(&e))?),
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
    builder.build().map_err(|e| failure::client(&e))
}

fn through(proxy: &Proxy) -> reqwest::Result<reqwest::Proxy> {
    match (proxy.scheme, &proxy.login) {
        (_, None) => reqwest::Proxy::all(proxy.url()),
        (ProxyScheme::Http | ProxyScheme::Https, Some((user, password))) => {
            Ok(reqwest::Proxy::all(proxy.url())?.basic_auth(user, password))
        }
        // For SOCKS it reads them from the URL only.
        (ProxyScheme::Socks5 | ProxyScheme::Socks5h, Some(_)) => reqwest::Proxy::all(proxy.url_with_login()),
    }
}
