//! Requests over HTTP: how a repository is asked, and where redirects may lead.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, PRAGMA};
use reqwest::{Client, RequestBuilder, Response, Version};
use tokio::time::Instant;

use crate::error::{Error, Key, Kind, Result};
use crate::net::Endpoint;
use crate::net::connection_failure;
use crate::net::failure::Credentials;
use crate::net::http_answer::Answer;
pub(super) use crate::net::http_clients::Connections;
use crate::net::http_clients::{Clients, Pending};
use crate::net::url::{HttpUrl, NetUrl};
use crate::task::patience;

const GIT_PROTOCOL: &str = "git-protocol";
/// The most redirects that are followed; more count as a loop.
const MAX_HOPS: usize = 5;
/// How long a permanent redirect is believed without asking again, as HTTP allows (RFC 9110, 15.4).
/// Any other is believed only until the fetch that follows the question.
const PERMANENT: Duration = Duration::from_secs(300);
const TEMPORARY: Duration = Duration::from_secs(10);
/// Servers that are remembered for not taking HTTP/2.
const MAX_SERVERS: usize = 4096;

/// How HTTP servers are asked.
pub(super) struct Http {
    clients: Arc<Clients>,
    /// The servers (scheme, host and port) that refused HTTP/2 for a request.
    without_http2: Mutex<HashSet<String>>,
}

/// Where the redirects of a repository's URL ended, and the answer from there.
pub(super) struct Found {
    pub(super) base: HttpUrl,
    pub(super) answer: Answer,
    /// How long the redirects hold.
    pub(super) until: Option<Instant>,
}

impl Http {
    /// Opens nothing and reads nothing yet. Installs ring as the process's crypto provider unless
    /// there is one.
    pub(super) fn new() -> Http {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Http {
            clients: Arc::default(),
            without_http2: Mutex::default(),
        }
    }

    /// The clients, for requests of others.
    pub(super) fn clients(&self) -> Arc<Clients> {
        self.clients.clone()
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
                    .header(
                        ACCEPT,
                        "application/x-git-upload-pack-advertisement, */*;q=0.5",
                    )
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
            let (response, mut pending, credentials) = self
                .send(endpoint, first, named, connections, request)
                .await?;
            if let Some(next) = redirected(&response, named, &url)? {
                let holds = match response.status().as_u16() {
                    301 | 308 => PERMANENT,
                    _ => TEMPORARY,
                };
                let ends = Instant::now() + holds;
                until = Some(until.map_or(ends, |until| until.min(ends)));
                url = next;
                pending.ended();
                continue;
            }
            let answer =
                Answer::check(endpoint, response, pending, named.clone(), credentials).await?;
            if base.is_none() && answer.is_page() {
                return Err(answer.not_git());
            }
            let base = base.ok_or_else(|| {
                let sentence = format!(
                    "{} redirects to {}, which is no Git repository",
                    endpoint.url,
                    answer.redacted()
                );
                Error::new(Kind::Protocol, sentence).with(Key::Url, endpoint.url.redacted())
            })?;
            return Ok(Found {
                base,
                answer,
                until,
            });
        }
        let sentence = format!(
            "{} redirects more than {MAX_HOPS} times: check the URL",
            endpoint.url
        );
        Err(Error::new(Kind::Protocol, sentence).with(Key::Url, endpoint.url.redacted()))
    }

    /// `POST git-upload-pack` to the repository at `base`, as [`get_refs`](Self::get_refs) found
    /// it. Redirects are not followed.
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
            return Err(Error::new(
                Kind::Internal,
                "a URL that is not HTTP was asked over HTTP",
            ));
        };
        let (response, pending, credentials) = self
            .send(endpoint, first, base, connections, request)
            .await?;
        let answer = Answer::check(endpoint, response, pending, base.clone(), credentials).await?;
        // Git does not look at this type, and servers get it wrong; a page for people is the one
        // thing worth a sentence of its own.
        if answer.content_type().starts_with("text/") {
            Err(answer.not_git())
        } else {
            Ok(answer)
        }
    }

    /// Sends one request to the repository at `base`, which `first` led to. Credentials go only to
    /// the origin of `first`. Where nothing of an answer came, it is sent once more.
    async fn send(
        &self,
        endpoint: &Endpoint,
        first: &HttpUrl,
        base: &HttpUrl,
        connections: Connections,
        request: impl Fn(&Client) -> RequestBuilder + Send + Sync,
    ) -> Result<(Response, Pending, Credentials)> {
        let (credentials, authorization) = match endpoint.login() {
            None => (Credentials::None, None),
            Some(_) if !base.same_origin(first) => (Credentials::Withheld, None),
            Some(auth) => (Credentials::Sent, Some(auth.header()?)),
        };
        let ask = async |connections, http2| {
            let (client, mut pending) = self.clients.of(endpoint, base, connections, http2).await?;
            let request = request(&client);
            let request = match &authorization {
                Some(value) => request.header(AUTHORIZATION, value.clone()),
                None => request,
            };
            patience::asked();
            let answer = request.send().await;
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.version() == Version::HTTP_2)
            {
                return Ok(answer.map(|answer| (answer, pending)));
            }
            pending.ended();
            Ok::<_, Error>(answer.map(|answer| (answer, pending)))
        };
        let kept = connections == Connections::Kept;
        let http2 = !kept || !self.is_without_http2(base);
        let again = async |connections, http2| {
            patience::again();
            ask(connections, http2).await
        };
        let first = ask(connections, http2).await?;
        let (answer, http2) = match &first {
            Err(e) if http2 && connection_failure::wants_http_1_1(e) => {
                (again(connections, false).await?, false)
            }
            // What ended one connection that was kept (a restart, say) may have ended all of them.
            Err(e) if kept && connection_failure::unanswered(e) => {
                (again(Connections::New, http2).await?, http2)
            }
            // It may have come to speak HTTP/2 only.
            Err(e) if !http2 && connection_failure::was_reached(e) => {
                (again(Connections::New, true).await?, true)
            }
            _ => (first, http2),
        };
        if answer.is_ok() {
            self.learn_http2(base, http2);
        }
        let proxy = endpoint.proxy(&NetUrl::Http(base.clone()));
        let (answer, pending) =
            answer.map_err(|e| connection_failure::transport(&e, base, proxy))?;
        Ok((answer, pending, credentials))
    }

    pub(super) fn is_without_http2(&self, base: &HttpUrl) -> bool {
        let without = self
            .without_http2
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !without.is_empty() && without.contains(&NetUrl::Http(base.clone()).authority())
    }

    /// Remembers whether the server of `base` has just answered by HTTP/2, or would have.
    pub(super) fn learn_http2(&self, base: &HttpUrl, http2: bool) {
        let mut without = self
            .without_http2
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if http2 && without.is_empty() {
            return;
        }
        let server = NetUrl::Http(base.clone()).authority();
        if http2 {
            without.remove(&server);
            return;
        }
        if without.len() >= MAX_SERVERS {
            without.clear();
        }
        without.insert(server);
    }
}

/// Where a redirect of `asked`, which belongs to `from`, leads. `None` where `response` is not a
/// redirect.
fn redirected(response: &Response, from: &HttpUrl, asked: &HttpUrl) -> Result<Option<HttpUrl>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refused = |why: &str| {
        let sentence = format!("{from} redirects to {why}");
        Err(Error::new(Kind::Protocol, sentence)
            .with(Key::Url, from.redacted())
            .with(Key::Status, response.status().as_u16()))
    };
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
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
