//! What went wrong on the way to a server, as a kind and a sentence that says what to do. One place
//! decides it.

use std::time::SystemTime;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::{Error, Hint, Key, Kind};
use crate::net::refusal;
use crate::net::url::HttpUrl;

/// Whether the request that failed carried credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Sent,
    /// There are credentials, but a redirect led to another server, which does not get them.
    Withheld,
}

/// What the body of an answer says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// For people; empty where that is nothing.
    pub(super) text: String,
    /// That the server is asked too often.
    pub(super) too_often: bool,
}

/// The error for an answer with a status of failure.
pub(super) fn status(
    status: StatusCode,
    headers: &HeaderMap,
    url: &HttpUrl,
    credentials: Credentials,
    said: &Said,
) -> Error {
    use Credentials as C;
    let code = status.as_u16();
    // Servers limit requests with these statuses. With some, only a header or a sentence shows that
    // this is the reason.
    let too_often = code == 429
        || said.too_often
        || code == 403 && (wait(headers).is_some() || is_used_up(headers));
    let (kind, sentence) = match (code, credentials) {
        (403 | 429 | 503, _) if too_often => (
            Kind::RateLimited,
            format!("{url} is asked too often (HTTP {code}): try again later"),
        ),
        (401, C::None) => (
            Kind::Auth,
            format!("{url} asks for credentials and none were given: pass auth"),
        ),
        (401, C::Sent) => (
            Kind::Auth,
            format!(
                "{url} did not accept the credentials: check that they are right and not expired"
            ),
        ),
        (401 | 403, C::Withheld) => (
            Kind::Auth,
            format!(
                "{url}, another server that the URL redirects to, asks for credentials and was \
                 sent none: use its URL"
            ),
        ),
        (403, C::None) => (
            Kind::Auth,
            format!("{url} refuses access without credentials (HTTP 403): pass auth"),
        ),
        (403, C::Sent) => (
            Kind::Auth,
            format!(
                "{url} refuses access (HTTP 403): the credentials lack a permission, or too much \
                 was asked"
            ),
        ),
        (404 | 410, C::Sent) => (
            Kind::RepoNotFound,
            format!("there is no repository at {url}, or these credentials may not see it"),
        ),
        (404 | 410, _) => (
            Kind::RepoNotFound,
            format!("there is no repository at {url}, or it cannot be seen without credentials"),
        ),
        (407, _) => (
            Kind::Auth,
            format!("a proxy before {url} asks for credentials"),
        ),
        (413, _) => (
            Kind::Protocol,
            format!(
                "{url}, or a proxy before it, takes no request of this size (HTTP 413): its limit \
                 must be raised there"
            ),
        ),
        (451, _) => (
            Kind::RepoNotFound,
            format!("{url} does not serve this repository for legal reasons (HTTP 451)"),
        ),
        // The server gave up waiting for us, will not answer this early or on this connection, or
        // is at work on the repository. None of these is about the request itself.
        (408 | 421 | 423 | 425, _) => (
            Kind::Network,
            format!("{url} did not take the request (HTTP {code}): try again"),
        ),
        (500..=599, _) => (
            Kind::Network,
            format!("{url} failed (HTTP {code}): try again later"),
        ),
        (300..=399, _) => (
            Kind::Protocol,
            format!(
                "{url} redirects in a place where Git does not follow (HTTP {code}): use its new \
                 URL"
            ),
        ),
        _ => (
            Kind::Protocol,
            format!("{url} answered with HTTP {code}, which is not Git's answer: check the URL"),
        ),
    };
    let sentence = match code {
        // The number says all about these.
        401 | 404 | 407 | 410 => sentence,
        _ if said.text.is_empty() => sentence,
        _ => format!("{sentence}; the server says: {}", said.text),
    };
    let mut error = Error::new(kind, sentence)
        .with(Key::Url, url.redacted())
        .with(Key::Status, code);
    if matches!(code, 400 | 401 | 403)
        && let Some(ahead) = clock(headers)
    {
        error = error.hinted(Hint::Clock(ahead));
    }
    match wait(headers).filter(|_| kind.retryable()) {
        Some(seconds) => error.with(Key::RetryAfter, seconds),
        None => error,
    }
}

/// Whether these words say that one asks too often.
pub(super) fn says_too_often(said: &str) -> bool {
    refusal::kind(said) == Some(Kind::RateLimited)
}

/// How many seconds the clock of a server is ahead of ours, where that is more than its answer can
/// have been on its way.
fn clock(headers: &HeaderMap) -> Option<i64> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let ahead = match theirs.duration_since(SystemTime::now()) {
        Ok(ahead) => ahead.as_secs() as i64,
        Err(behind) => -(behind.duration().as_secs() as i64),
    };
    (ahead.abs() > 30).then_some(ahead)
}

/// After how many seconds a server wants to be asked again.
fn wait(headers: &HeaderMap) -> Option<u64> {
    retry_after(headers).or_else(|| is_used_up(headers).then(|| reset(headers)).flatten())
}

/// Whether a server says that its limit of requests is used up (the headers of GitHub, GitLab,
/// Gitea and others).
fn is_used_up(headers: &HeaderMap) -> bool {
    let left = |name| {
        headers
            .get(name)
            .and_then(|left| left.to_str().ok())
            .map(str::trim)
    };
    ["x-ratelimit-remaining", "ratelimit-remaining"]
        .into_iter()
        .any(|name| left(name) == Some("0"))
}

/// When requests are allowed again: in seconds from now, or as a time in seconds since 1970.
fn reset(headers: &HeaderMap) -> Option<u64> {
    let names = ["x-ratelimit-reset", "ratelimit-reset"];
    let value = names
        .into_iter()
        .find_map(|name| headers.get(name))?
        .to_str()
        .ok()?;
    let value: u64 = value.trim().parse().ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    // A larger number is a time: no server asks for a pause of thirty years.
    Some(if value > 1_000_000_000 {
        value.saturating_sub(now)
    } else {
        value
    })
}

/// The pause in `Retry-After` (RFC 9110, 10.2.3), which may be a date.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let at = httpdate::parse_http_date(value).ok()?;
    // By the server's own clock, if its answer has a `Date`.
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = date
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(SystemTime::now);
    Some(at.duration_since(now).map_or(0, |wait| wait.as_secs()))
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
