//! One request to a provider: with the HTTP client of all requests, bounded in time and bytes.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName};
use reqwest::{Response, StatusCode};

use crate::error::{Error, Key, Kind, Result};
use crate::net::Endpoint;
use crate::net::auth::{Auth, Momentary};
use crate::net::connection_failure;
use crate::net::failure::{self, Credentials, Said};
use crate::net::git::pkt_line::sanitised;
use crate::net::host_limits::HostLimits;
use crate::net::http::Connections;
use crate::net::http_clients::Clients;
use crate::net::proxy::ProxySettings;
use crate::net::secrets::Secrets;
use crate::net::tls::Tls;
use crate::net::token::civil;
use crate::net::url::{HttpUrl, NetUrl};
use crate::policy::addresses::Addresses;

/// How long an answer may take, beyond the turn that the host's limits make one wait for.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of an answer. The largest that is known is a list of a token's repositories.
const MAX_BODY: usize = 1 << 20;
/// What is to be encoded in forms and in paths.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who asks providers.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) clients: Arc<Clients>,
    pub(super) limits: Arc<HostLimits>,
}

/// How providers are reached.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    /// What is trusted beside the system's roots. Our own certificate is for the remote alone.
    pub(super) ca: Option<String>,
    pub(super) route: Option<ProxySettings>,
    pub(super) addresses: Arc<Addresses>,
}

/// What is asked. Without a body, by `GET`.
pub(super) struct Request {
    pub(super) url: HttpUrl,
    pub(super) headers: Vec<(HeaderName, &'static str)>,
    pub(super) bearer: Option<String>,
    /// Its media type, and itself.
    pub(super) body: Option<(&'static str, String)>,
}

/// An answer of a status from 200 to 299.
pub(super) struct Reply {
    pub(super) url: HttpUrl,
    pub(super) body: Vec<u8>,
    pub(super) headers: HeaderMap,
}

impl Request {
    pub(super) fn get(url: HttpUrl) -> Request {
        Request {
            url,
            headers: vec![],
            bearer: None,
            body: None,
        }
    }

    pub(super) fn form(url: HttpUrl, pairs: &[(&str, &str)]) -> Request {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = encoded(value);
            format!("{name}={value}")
        });
        let body = pairs.collect::<Vec<_>>().join("&");
        Request {
            body: Some(("application/x-www-form-urlencoded", body)),
            ..Request::get(url)
        }
    }

    pub(super) fn json(url: HttpUrl, body: String) -> Request {
        Request {
            body: Some(("application/json", body)),
            ..Request::get(url)
        }
    }

    /// Sent as `Authorization: Bearer …`.
    pub(super) fn bearer(self, token: String) -> Request {
        Request {
            bearer: Some(token),
            ..self
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Request {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }
}

/// `text` as a part of a form or of a path.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Reply {
    /// How many seconds the provider's clock is ahead of ours; 0 where it does not say.
    pub(super) fn clock(&self) -> i64 {
        ahead(&self.headers).unwrap_or(0)
    }

    /// For how long what it made holds, from the time that it says for the end.
    pub(super) fn lifetime_until(&self, end: &str) -> Result<Duration> {
        let end = civil::rfc3339(end.trim())
            .ok_or_else(|| self.unreadable("the time at which the token ends"))?;
        let left = end - (civil::now() + self.clock());
        Ok(Duration::from_secs(left.max(0) as u64))
    }

    /// `protocol`: it lacks `what`.
    pub(super) fn unreadable(&self, what: &str) -> Error {
        let sentence = format!(
            "{} answered without {what} in it: check that this is the provider's endpoint",
            self.url
        );
        Error::new(Kind::Protocol, sentence).with(Key::Url, self.url.redacted())
    }
}

fn ahead(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    Some(civil::seconds(theirs) - civil::now())
}

impl Way {
    /// Nothing of the request that the token is for goes along, but what is trusted.
    fn endpoint(&self, url: &HttpUrl) -> Endpoint {
        Endpoint {
            url: NetUrl::Http(url.clone()),
            auth: None,
            momentary: Momentary::default(),
            tls: Tls {
                ca: self.ca.clone(),
                client: None,
            },
            route: self.route.clone(),
            addresses: self.addresses.clone(),
        }
    }
}

impl Asker {
    /// Sends `request`, and reads the answer. `secrets`: what errors must not repeat of it.
    ///
    /// `auth`: the provider makes no token of this. `rate_limited`, `network`, `timeout`,
    /// `certificate`, `protocol`, `unsupported` (an address that is not allowed).
    pub(super) async fn ask(
        &self,
        way: &Way,
        request: &Request,
        secrets: &Secrets,
    ) -> Result<Reply> {
        let endpoint = way.endpoint(&request.url);
        let send = || self.send(&endpoint, request, secrets);
        let asked = self.limits.ask(&endpoint, &endpoint.url, send).await;
        let (reply, permit) = asked.map_err(|error| secrets.hide_in(error))?;
        permit.judge(Ok(reply))
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        secrets: &Secrets,
    ) -> Result<Reply> {
        match tokio::time::timeout(TIMEOUT, self.answer(endpoint, request, secrets)).await {
            Ok(answer) => answer,
            Err(_) => Err(too_slow(&request.url)),
        }
    }

    async fn answer(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        secrets: &Secrets,
    ) -> Result<Reply> {
        let url = &request.url;
        let (client, mut pending) = self
            .clients
            .of(endpoint, url, Connections::New, true)
            .await?;
        let mut sent = match &request.body {
            None => client.get(url.as_url().clone()),
            Some((media_type, body)) => client
                .post(url.as_url().clone())
                .header(CONTENT_TYPE, *media_type)
                .body(body.clone()),
        };
        for (name, value) in &request.headers {
            sent = sent.header(name, *value);
        }
        if let Some(token) = &request.bearer {
            let token = token.clone();
            sent = sent.header(AUTHORIZATION, Auth::Bearer { token }.header()?);
        }
        let proxy = endpoint.proxy(&endpoint.url);
        let failed = |e: reqwest::Error| connection_failure::transport(&e, url, proxy);
        let mut response = sent.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body(&mut response, url).await?;
        pending.ended();
        if !status.is_success() {
            return Err(refused(status, &headers, url, &body, secrets));
        }
        Ok(Reply {
            url: url.clone(),
            body,
            headers,
        })
    }
}

async fn body(response: &mut Response, url: &HttpUrl) -> Result<Vec<u8>> {
    let mut body = vec![];
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|e| connection_failure::transport(&e, url, None))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            let sentence = format!(
                "{url} answered with more than {MAX_BODY} bytes: check that this is the \
                 provider's endpoint"
            );
            return Err(Error::new(Kind::Protocol, sentence).with(Key::Url, url.redacted()));
        }
    }
    Ok(body)
}

fn too_slow(url: &HttpUrl) -> Error {
    let sentence = format!(
        "{url} did not answer within {} s: check that it can be reached from here, and the proxy",
        TIMEOUT.as_secs()
    );
    Error::new(Kind::Timeout, sentence).with(Key::Url, url.redacted())
}

/// An answer that is no token.
fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    url: &HttpUrl,
    body: &[u8],
    secrets: &Secrets,
) -> Error {
    let text = String::from_utf8_lossy(body);
    let said = match text.trim_start().starts_with("<!") || text.trim_start().starts_with("<html") {
        true => String::new(),
        // Before it is cut short, which could leave half of a secret.
        false => sanitised(secrets.hide(&text).as_bytes()),
    };
    let too_often = failure::says_too_often(&text);
    let known = failure::status(
        status,
        headers,
        url,
        Credentials::Sent,
        &Said {
            text: said.clone(),
            too_often,
        },
    );
    if !matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410 | 422)
        || known.kind == Kind::RateLimited
    {
        return known;
    }
    let sentence = format!("{url} gave no token (HTTP {})", status.as_u16());
    let sentence = match said.is_empty() {
        true => sentence,
        false => format!("{sentence}; it says: {said}"),
    };
    let error = Error::new(Kind::Auth, sentence)
        .with(Key::Url, url.redacted())
        .with(Key::Status, status.as_u16());
    match known.hint {
        Some(hint) => error.hinted(hint),
        None => error,
    }
}
