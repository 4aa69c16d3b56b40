//! What HTTP and TLS failures mean: one place that decides on kind and sentence.

use std::error::Error as Cause;
use std::io;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use rustls::CertificateError;

use crate::error::{Error, Kind, Result};
use crate::net::http::Endpoint;

/// Refuses an answer by its status.
pub(crate) fn of_status(response: &Response, endpoint: &Endpoint) -> Result<()> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let shown = endpoint.url.shown();
    let code = status.as_u16();
    let (kind, what) = match status {
        StatusCode::UNAUTHORIZED if endpoint.auth.is_some() => (
            Kind::Auth,
            "does not accept the credentials (401); check user, token and its expiry",
        ),
        StatusCode::UNAUTHORIZED => (Kind::Auth, "asks for credentials (401); pass auth"),
        StatusCode::FORBIDDEN => (Kind::Auth, "refuses access (403); check what the credentials may read"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => (Kind::Auth, "is behind a proxy that asks for credentials (407)"),
        StatusCode::NOT_FOUND | StatusCode::GONE => (
            Kind::RepoNotFound,
            "does not exist, or is hidden from these credentials; check the URL and auth",
        ),
        StatusCode::TOO_MANY_REQUESTS => (
            Kind::RateLimited,
            "says there were too many requests (429); try again later",
        ),
        _ if status.is_server_error() => (Kind::Network, "failed on its side; try again later"),
        _ => (Kind::Protocol, "gave an answer that is not Git's; check the URL"),
    };
    let message =
        format!("{shown} {what} (HTTP {code})").replace(&format!("({code}) (HTTP {code})"), &format!("(HTTP {code})"));
    Err(Error::new(kind, message).with("url", shown).with("status", code))
}

/// Refuses an answer that is not of the media type `wanted`.
pub(crate) fn of_type(response: &Response, wanted: &str, endpoint: &Endpoint) -> Result<()> {
    let given = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if given == wanted {
        return Ok(());
    }
    let shown = endpoint.url.shown();
    let error = match given.as_str() {
        "text/html" | "application/xhtml+xml" => Error::new(
            Kind::Protocol,
            format!(
                "{shown} answered with an HTML page, not with Git; check the URL, or whether a login is in the way"
            ),
        ),
        "text/plain" | "application/octet-stream" => Error::new(
            Kind::Unsupported,
            format!(
                "{shown} speaks the dumb HTTP protocol, or no Git at all; serve it with git http-backend or the like"
            ),
        ),
        _ => {
            let given: String = given.chars().filter(|c| !c.is_control()).take(60).collect();
            Error::new(
                Kind::Protocol,
                format!("{shown} answered with `{given}`, not with Git; check the URL"),
            )
        }
    };
    Err(error.with("url", shown))
}

/// Whether a connection ended before anything of the answer came.
pub(crate) fn was_closed(error: &reqwest::Error) -> bool {
    if !error.is_request() || error.is_connect() || error.is_timeout() {
        return false;
    }
    causes(error).any(|cause| {
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_closed())
            || cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
    })
}

/// Why no answer came.
pub(crate) fn of_transport(error: &reqwest::Error, endpoint: &Endpoint) -> Error {
    let shown = endpoint.url.shown();
    let host = endpoint.url.as_url().host_str().unwrap_or_default().to_owned();
    let tls = causes(error).find_map(|cause| {
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()))
    });
    if let Some(tls) = tls {
        let found = match tls {
            rustls::Error::InvalidCertificate(problem) => Error::new(
                Kind::Certificate,
                format!("the certificate of {host} is not accepted: {}", certificate(problem)),
            ),
            other => Error::new(Kind::Network, format!("no TLS connection to {shown}: {other}")),
        };
        return found.with("url", shown);
    }
    let kind_of_io = causes(error)
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let message = if causes(error).any(|cause| cause.to_string().contains("dns error")) {
        format!("the host {host} does not resolve; check the URL and the DNS")
    } else if error.is_timeout() {
        format!("{shown} cannot be reached: no connection in 30 s; check host, port and firewalls")
    } else if kind_of_io == Some(io::ErrorKind::ConnectionRefused) {
        format!("{shown} refuses the connection; check host and port, and whether the server runs")
    } else if error.is_connect() {
        format!("{shown} cannot be reached: {}", cause(error))
    } else {
        format!(
            "the connection to {shown} was cut before an answer came: {}",
            cause(error)
        )
    };
    Error::new(Kind::Network, message).with("url", shown)
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; renew it on the server, or check this machine's clock".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check this machine's clock".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host; check the URL".into()
        }
        CertificateError::UnknownIssuer => {
            "its issuer is not known here; add the issuing CA to the system's certificates".into()
        }
        other => format!("{other:?}").chars().take(200).collect(),
    }
}

/// The innermost cause, in its own words: the outer ones hold the URL, which may hold a secret.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map_or_else(|| "unknown".into(), ToString::to_string)
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Cause + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
