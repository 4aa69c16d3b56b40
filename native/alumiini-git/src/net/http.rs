//! Requests over pooled HTTP connections: how a repository is asked, and where redirects may lead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, PRAGMA};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::net::Endpoint;
use crate::net::auth::{Auth, hidden};
use crate::net::dial::CONNECT_TIMEOUT;
use crate::net::failure::{self, Credentials};
use crate::net::pkt::{Chunks, sanitised};
use crate::net::proxy::{Proxy, Speaks};
use crate::net::tls::Tls;
use crate::net::url::{HttpUrl, NetUrl};

const GIT_PROTOCOL: &str = "git-protocol";
/// Redirects followed before it counts as a loop.
const MAX_HOPS: usize = 5;
/// How long a redirect is believed without asking again. HTTP lets one that is permanent be remembered (RFC 9110, 15.4); one that is not,
/// only from the question to the fetch that follows it.
const PERMANENT: Duration = Duration::from_secs(300);
const TEMPORARY: Duration = Duration::from_secs(10);
/// Clients that are kept, each with its connections and roots.
const MAX_CLIENTS: usize = 64;
/// Connections to a host that are kept for later.
const MAX_IDLE: usize = 32;
/// Bytes that are read of an answer that says why not, and how long they are waited for.
const MAX_SAID: usize = 4096;
const SAID_TIMEOUT: Duration = Duration::from_secs(2);
/// Some servers tell Git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (alumiini-git ", env!("CARGO_PKG_VERSION"), ")");

/// The connections, pooled by what they are made with.
pub(super) struct Http {
    clients: Mutex<Clients>,
}

/// Those used last.
#[derive(Default)]
struct Clients {
    map: HashMap<Way, (u64, Arc<OnceCell<Client>>)>,
    uses: u64,
}

/// What connections have in common that may serve the same requests.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    /// None: without TLS, so that plain `http` works on a system without roots, and costs none of their memory.
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    /// For second attempts: each request on a connection of its own.
    fresh: bool,
}

/// What a request may be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// One that was kept, where there is one.
    Kept,
    New,
}

/// The repository's own URL, where the redirects ended, and the answer that was found there.
pub(super) struct Found {
    pub(super) base: HttpUrl,
    pub(super) answer: Answer,
    /// How long the redirects hold.
    pub(super) until: Option<Instant>,
}

/// An answer of status 200.
pub(super) struct Answer {
    response: Response,
    /// The repository's.
    url: HttpUrl,
}

impl Http {
    /// Opens nothing and reads nothing yet. Installs ring as the process's crypto provider unless there is one.
    pub(super) fn new() -> Http {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Http {
            clients: Mutex::default(),
        }
    }

    /// The client for `url`, made where it is the first with what `endpoint` says of TLS and proxies.
    async fn client(&self, endpoint: &Endpoint, url: &HttpUrl, connections: Connections) -> Result<Client> {
        let proxy = endpoint.proxy(&NetUrl::Http(url.clone()));
        let encrypted = !url.is_plaintext() || proxy.is_some_and(|proxy| proxy.speaks == Speaks::Https);
        let way = Way {
            tls: encrypted.then(|| endpoint.tls.clone()),
            proxy: proxy.cloned(),
            fresh: connections == Connections::New,
        };
        let cell = self.clients.lock().unwrap_or_else(PoisonError::into_inner).at(&way);
        // On a blocking thread: the roots are files.
        let client = cell
            .get_or_try_init(|| async move {
                tokio::task::spawn_blocking(move || build(&way))
                    .await
                    .map_err(|_| Error::new(Kind::Internal, "the HTTP client cannot be built"))?
            })
            .await?;
        Ok(client.clone())
    }

    /// `GET info/refs`, with redirects.
    pub(super) async fn get_refs(
        &self,
        endpoint: &Endpoint,
        first: &HttpUrl,
        connections: Connections,
    ) -> Result<Found> {
        let mut url = first.info_refs()?;
        let mut until: Option<Instant> = None;
        for hops in 0..=MAX_HOPS {
            let request = |client: &Client| {
                client
                    .get(url.as_url().clone())
                    .header(GIT_PROTOCOL, "version=2")
                    .header(ACCEPT, "application/x-git-upload-pack-advertisement, */*;q=0.5")
                    // As Git does: a cache in between would serve old refs.
                    .header(PRAGMA, "no-cache")
            };
            // What people know, and what errors name: the repository, not its info/refs.
            let base = if hops == 0 {
                Some(first.without_auth())
            } else {
                url.strip_info_refs()
            };
            let named = base.as_ref().unwrap_or(&url);
            let (response, credentials) = self.send(endpoint, first, named, connections, request).await?;
            if let Some(next) = redirected(&response, named, &url)? {
                let holds = match response.status().as_u16() {
                    301 | 308 => PERMANENT,
                    _ => TEMPORARY,
                };
                let ends = Instant::now() + holds;
                until = Some(until.map_or(ends, |until| until.min(ends)));
                url = next;
                continue;
            }
            let answer = Answer::check(endpoint, response, named.clone(), credentials).await?;
            let base = base.ok_or_else(|| {
                let sentence = format!(
                    "{} redirects to {}, which is no Git repository",
                    endpoint.url, answer.url
                );
                Error::new(Kind::Protocol, sentence).with("url", endpoint.url.shown())
            })?;
            return Ok(Found { base, answer, until });
        }
        let sentence = format!("{} redirects more than {MAX_HOPS} times: check the URL", endpoint.url);
        Err(Error::new(Kind::Protocol, sentence).with("url", endpoint.url.shown()))
    }

    /// `POST git-upload-pack` to the repository at `base`, as [`get_refs`](Self::get_refs) found it. Redirects are not followed.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        base: &HttpUrl,
        v2: bool,
        body: Bytes,
        connections: Connections,
    ) -> Result<Answer> {
        let url = base.upload_pack()?;
        let request = |client: &Client| {
            let request = client
                .post(url.as_url().clone())
                .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
                .header(ACCEPT, "application/x-git-upload-pack-result")
                .body(body.clone());
            if v2 {
                request.header(GIT_PROTOCOL, "version=2")
            } else {
                request
            }
        };
        let NetUrl::Http(first) = &endpoint.url else {
            return Err(Error::new(Kind::Internal, "a URL that is not HTTP was asked over HTTP"));
        };
        let (response, credentials) = self.send(endpoint, first, base, connections, request).await?;
        let answer = Answer::check(endpoint, response, base.clone(), credentials).await?;
        // Git does not look at this type, and servers get it wrong; a page for people is the one thing worth a sentence of its own.
        if answer.content_type().starts_with("text/") {
            Err(answer.not_git())
        } else {
            Ok(answer)
        }
    }

    /// One request to the repository at `base`, which `first` led to, credentials only where they belong, asked twice only where nothing of an answer came.
    async fn send(
        &self,
        endpoint: &Endpoint,
        first: &HttpUrl,
        base: &HttpUrl,
        connections: Connections,
        request: impl Fn(&Client) -> RequestBuilder + Send + Sync,
    ) -> Result<(Response, Credentials)> {
        let client = self.client(endpoint, base, connections).await?;
        let (credentials, authorization) = match &endpoint.auth {
            None => (Credentials::None, None),
            Some(_) if !base.same_origin(first) => (Credentials::Withheld, None),
            Some(auth) => (Credentials::Sent, Some(auth.header()?)),
        };
        let ask = |client: &Client| {
            let request = request(client);
            match &authorization {
                Some(value) => request.header(AUTHORIZATION, value.clone()).send(),
                None => request.send(),
            }
        };
        let answer = match ask(&client).await {
            // What ended one connection that was kept (a restart, say) may have ended all of them.
            Err(e) if connections == Connections::Kept && failure::unanswered(&e) => {
                ask(&self.client(endpoint, base, Connections::New).await?).await
            }
            answer => answer,
        };
        let proxy = endpoint.proxy(&NetUrl::Http(base.clone()));
        Ok((answer.map_err(|e| failure::transport(&e, base, proxy))?, credentials))
    }
}

impl Clients {
    fn at(&mut self, way: &Way) -> Arc<OnceCell<Client>> {
        self.uses += 1;
        let now = self.uses;
        if let Some((used, cell)) = self.map.get_mut(way) {
            *used = now;
            return cell.clone();
        }
        if self.map.len() >= MAX_CLIENTS {
            let oldest = self.map.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(way, _)| way.clone()) {
                self.map.remove(&oldest);
            }
        }
        let cell = Arc::<OnceCell<Client>>::default();
        self.map.insert(way.clone(), (now, cell.clone()));
        cell
    }
}

fn build(way: &Way) -> Result<Client> {
    // Every header and byte is Git's: no decompression (its features are off), no proxy of the environment.
    let builder = Client::builder()
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
    let kept = if way.fresh { 0 } else { MAX_IDLE };
    let builder = builder.pool_max_idle_per_host(kept);
    let builder = match &way.tls {
        Some(tls) => builder.tls_backend_preconfigured(tls.config(&[b"h2", b"http/1.1"])?),
        None => builder.tls_certs_only([]),
    };
    let builder = match &way.proxy {
        Some(proxy) => builder.proxy(through(proxy).map_err(|e| failure::client(&e))?),
        None => builder,
    };
    builder.build().map_err(|e| failure::client(&e))
}

fn through(proxy: &Proxy) -> reqwest::Result<reqwest::Proxy> {
    match (proxy.speaks, &proxy.login) {
        (_, None) => reqwest::Proxy::all(proxy.url()),
        (Speaks::Http | Speaks::Https, Some((user, password))) => {
            Ok(reqwest::Proxy::all(proxy.url())?.basic_auth(user, password))
        }
        // For SOCKS it reads them from the URL only.
        (Speaks::Socks5 | Speaks::Socks5h, Some(_)) => reqwest::Proxy::all(proxy.url_with_login()),
    }
}

/// Where a redirect of `asked`, which belongs to `from`, leads; None where `response` is none.
fn redirected(response: &Response, from: &HttpUrl, asked: &HttpUrl) -> Result<Option<HttpUrl>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refused = |why: &str| {
        let sentence = format!("{from} redirects to {why}");
        Err(Error::new(Kind::Protocol, sentence)
            .with("url", from.shown())
            .with("status", response.status().as_u16()))
    };
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(Ok(next)) = location.map(|location| asked.as_url().join(location)) else {
        return refused("nowhere (its Location cannot be read)");
    };
    match next.scheme() {
        "https" => {}
        "http" if from.is_plaintext() => {}
        "http" => return refused("unencrypted http, which is not followed from https"),
        _ => return refused("a URL that is neither https nor http"),
    }
    Ok(Some(HttpUrl::from_redirect(next)))
}

impl Answer {
    async fn check(endpoint: &Endpoint, response: Response, url: HttpUrl, credentials: Credentials) -> Result<Answer> {
        let status = response.status();
        if status != StatusCode::OK {
            let headers = response.headers().clone();
            let mut answer = Answer { response, url };
            let said = answer.said(endpoint).await;
            return Err(failure::status(status, &headers, &answer.url, credentials, &said));
        }
        let encoding = response.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            let sentence = format!("{url} answered compressed, which was not asked for");
            return Err(Error::new(Kind::Protocol, sentence).with("url", url.shown()));
        }
        Ok(Answer { response, url })
    }

    /// What the answer says to people: the beginning of its body, unless that is a page, on one line and without our own credentials.
    async fn said(&mut self, endpoint: &Endpoint) -> String {
        let html = matches!(self.content_type().as_str(), "text/html" | "application/xhtml+xml");
        let mut body = vec![];
        let read = async {
            while body.len() < MAX_SAID
                && let Ok(Some(chunk)) = self.chunk().await
            {
                body.extend_from_slice(&chunk);
            }
        };
        // What has come by then must do.
        let _ = tokio::time::timeout(SAID_TIMEOUT, read).await;
        body.truncate(MAX_SAID);
        let text = String::from_utf8_lossy(&body);
        let text = text.trim_start();
        if html || text.starts_with('<') {
            return String::new();
        }
        // Before it is cut short, which could leave half of a secret.
        let secrets = endpoint.auth.iter().flat_map(Auth::secrets);
        let text = secrets.fold(text.to_owned(), |text, secret| hidden(&text, &secret));
        sanitised(text.as_bytes())
    }

    /// The media type without parameters, in lower case, empty where there is none.
    pub(super) fn content_type(&self) -> String {
        let value = self
            .response
            .headers()
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |value| value.as_bytes());
        let value = value.split(|b| *b == b';').next().unwrap_or_default();
        String::from_utf8_lossy(value).trim().to_ascii_lowercase()
    }

    /// `protocol`, for an answer of a type that is not Git's.
    pub(super) fn not_git(&self) -> Error {
        let sentence = match self.content_type().as_str() {
            "text/html" | "application/xhtml+xml" => {
                format!(
                    "{} answered with an HTML page, not Git: check the URL, and whether it asks to log in",
                    self.url
                )
            }
            "" => format!(
                "{} answered without a content type, not with Git: check the URL",
                self.url
            ),
            other => {
                let other = sanitised(other.as_bytes());
                format!("{} answered with {other}, not Git: check the URL", self.url)
            }
        };
        Error::new(Kind::Protocol, sentence).with("url", self.url.shown())
    }

    /// The repository that answered, as it may be shown.
    pub(super) fn shown(&self) -> String {
        self.url.shown()
    }
}

impl Chunks for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.response
            .chunk()
            .await
            .map_err(|e| failure::transport(&e, &self.url, None))
    }
}
