//! HTTP requests on pooled connections, and what is remembered of the servers behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use tokio::sync::OnceCell;

use crate::error::{Error, Kind, Result};
use crate::net::auth::Auth;
use crate::net::discover::Spoken;
use crate::net::failure;
use crate::net::pkt::Chunks;
use crate::net::url::{HttpUrl, Identity};

/// Some hosts serve Git only to clients that call themselves so.
const USER_AGENT: &str = concat!("git/2 (alumiini-git ", env!("CARGO_PKG_VERSION"), ")");
/// How we call ourselves within the protocol.
pub(crate) const AGENT: &str = concat!("agent=alumiini-git/", env!("CARGO_PKG_VERSION"));
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");
/// Servers that are remembered; with more, all are asked anew.
const MOST_KNOWN: usize = 4096;

/// A repository on a server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: HttpUrl,
    pub(crate) auth: Option<Auth>,
}

/// The connections of this process, and what each URL is known to speak.
pub(crate) struct Net {
    client: OnceCell<Client>,
    known: Mutex<HashMap<Identity, Arc<Spoken>>>,
}

impl Net {
    pub(crate) fn new() -> Net {
        Net {
            client: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    /// Made when it is first needed: a worker that serves local paths loads no certificates.
    async fn client(&self) -> Result<&Client> {
        self.client.get_or_try_init(|| async { build() }).await
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<Identity, Arc<Spoken>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self, endpoint: &Endpoint) -> Option<Arc<Spoken>> {
        self.remembered().get(&endpoint.url.identity()).cloned()
    }

    pub(crate) fn remember(&self, endpoint: &Endpoint, spoken: Arc<Spoken>) {
        let mut known = self.remembered();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(endpoint.url.identity(), spoken);
    }

    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        self.remembered().remove(&endpoint.url.identity());
    }

    /// GET of `url`. Redirects are the caller's.
    pub(crate) async fn get(&self, url: &HttpUrl, endpoint: &Endpoint) -> Result<Response> {
        let request = self.client().await?.get(url.as_url().clone());
        self.send(
            request.header(GIT_PROTOCOL, HeaderValue::from_static("version=2")),
            url,
            endpoint,
        )
        .await
    }

    /// POST of a request to `git-upload-pack` of the repository at `base`; `v2` says which protocol the body is in. Answers
    /// the body's chunks.
    pub(crate) async fn post(&self, base: &HttpUrl, endpoint: &Endpoint, v2: bool, body: Bytes) -> Result<Body> {
        let url = base.upload_pack()?;
        let mut request = self
            .client()
            .await?
            .post(url.as_url().clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-git-upload-pack-request"),
            )
            .header(ACCEPT, HeaderValue::from_static("application/x-git-upload-pack-result"))
            .body(body);
        if v2 {
            request = request.header(GIT_PROTOCOL, HeaderValue::from_static("version=2"));
        }
        let response = self.send(request, &url, endpoint).await?;
        if response.status().is_redirection() {
            let message = format!("{base} redirects a request that may not be redirected; use the URL it leads to");
            return Err(Error::new(Kind::Protocol, message).with("url", endpoint.url.shown()));
        }
        failure::of_status(&response, endpoint)?;
        failure::of_type(&response, "application/x-git-upload-pack-result", endpoint)?;
        Ok(Body {
            response,
            shown: endpoint.url.shown(),
        })
    }

    async fn send(&self, request: RequestBuilder, url: &HttpUrl, endpoint: &Endpoint) -> Result<Response> {
        let mut request = request;
        // The only place where credentials leave, and only to the origin they were given for.
        if let Some(auth) = endpoint.auth.as_ref().filter(|_| url.same_origin(&endpoint.url)) {
            request = request.header(AUTHORIZATION, auth.header()?);
        }
        // A server may close a connection that we kept just as we use it again. Nothing of an answer has come then, so
        // the request may be sent once more; all requests of ours only read.
        let again = request.try_clone();
        match (request.send().await, again) {
            (Err(error), Some(again)) if failure::was_closed(&error) => again.send().await,
            (result, _) => result,
        }
        .map_err(|error| failure::of_transport(&error, endpoint))
    }
}

fn build() -> Result<Client> {
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_adaptive_window(true)
        .build()
        .map_err(|error| {
            let cause = failure::cause(&error);
            Error::new(
                Kind::Internal,
                format!("cannot set up HTTPS: {cause}; are the system's CA certificates installed?"),
            )
        })
}

/// The body of an answer.
pub(crate) struct Body {
    response: Response,
    shown: String,
}

impl Body {
    pub(crate) fn new(response: Response, shown: String) -> Body {
        Body { response, shown }
    }
}

impl Chunks for Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.response.chunk().await.map_err(|error| {
            let message = format!("the connection to {} was cut: {}", self.shown, failure::cause(&error));
            Error::new(Kind::Network, message).with("url", self.shown.clone())
        })
    }
}
