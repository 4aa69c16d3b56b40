//! What went wrong on the way to a server, as a kind and a sentence that says what to do. One place decides it.

use std::error::Error as StdError;
use std::io;

use reqwest::StatusCode;
use rustls::CertificateError;

use crate::error::{Error, Kind};
use crate::net::url::HttpUrl;

/// Whether the request that failed said who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Sent,
    /// There are some, but the server redirected to another one, where they do not go.
    Withheld,
}

/// An answer whose status is not 200.
pub(super) fn status(status: StatusCode, url: &HttpUrl, credentials: Credentials) -> Error {
    use Credentials as C;
    let code = status.as_u16();
    let (kind, sentence) = match (code, credentials) {
        (401, C::None) => (
            Kind::Auth,
            format!("{url} asks for credentials and none were given: pass auth"),
        ),
        (401, C::Sent) => (
            Kind::Auth,
            format!("{url} did not accept the credentials: check that they are right and not expired"),
        ),
        (401 | 403, C::Withheld) => (
            Kind::Auth,
            format!(
                "{url}, another server that the URL redirects to, asks for credentials and was sent none: use its URL"
            ),
        ),
        (403, C::None) => (
            Kind::Auth,
            format!("{url} refuses access without credentials (HTTP 403): pass auth"),
        ),
        (403, C::Sent) => (
            Kind::Auth,
            format!("{url} refuses access (HTTP 403): the credentials lack a permission, or too much was asked"),
        ),
        (404 | 410, C::Sent) => (
            Kind::RepoNotFound,
            format!("there is no repository at {url}, or these credentials may not see it"),
        ),
        (404 | 410, _) => (
            Kind::RepoNotFound,
            format!("there is no repository at {url}, or it cannot be seen without credentials"),
        ),
        (407, _) => (Kind::Auth, format!("a proxy before {url} asks for credentials")),
        (429, _) => (
            Kind::RateLimited,
            format!("{url} is asked too often (HTTP 429): try again later"),
        ),
        // The server gave up on waiting for us, or will not answer this early: neither is about what was asked.
        (408 | 425, _) => (
            Kind::Network,
            format!("{url} did not take the request (HTTP {code}): try again"),
        ),
        (500..=599, _) => (Kind::Network, format!("{url} failed (HTTP {code}): try again later")),
        (300..=399, _) => (
            Kind::Protocol,
            format!("{url} redirects in a place where Git does not follow (HTTP {code}): use its new URL"),
        ),
        _ => (
            Kind::Protocol,
            format!("{url} answered with HTTP {code}, which is not Git's answer: check the URL"),
        ),
    };
    Error::new(kind, sentence).with("url", url.shown()).with("status", code)
}

/// A request that got no answer, or an answer whose body broke off.
pub(super) fn transport(error: &reqwest::Error, url: &HttpUrl) -> Error {
    let host = url.as_url().host_str().unwrap_or("");
    let (kind, sentence) = if let Some(tls) = find::<rustls::Error>(error) {
        handshake(tls, url)
    } else if error.is_dns() {
        (
            Kind::Network,
            format!("cannot reach {url}: the host name {host} does not resolve; check the URL and the DNS"),
        )
    } else if error.is_connect() && error.is_timeout() {
        (
            Kind::Network,
            format!("cannot reach {url}: {host} did not take the connection in time; check host, port and firewalls"),
        )
    } else if error.is_connect() {
        (
            Kind::Network,
            format!("cannot reach {url}: {}; check host and port", io_reason(error)),
        )
    } else if error.is_body() || error.is_decode() {
        (
            Kind::Network,
            format!("the connection to {url} was cut before its answer was complete"),
        )
    } else if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        (
            Kind::Protocol,
            format!("{url} did not answer in HTTP: check the URL's port"),
        )
    } else {
        (Kind::Network, format!("{url} did not answer: {}", io_reason(error)))
    };
    Error::new(kind, sentence).with("url", url.shown())
}

/// A client that cannot be built: with TLS, that is a system without roots.
pub(super) fn client(error: &reqwest::Error) -> Error {
    match find::<rustls::Error>(error) {
        Some(_) => Error::new(
            Kind::Certificate,
            "this system has no certificates to verify servers by: install them (ca-certificates), or name a file of them in SSL_CERT_FILE",
        ),
        None => Error::new(Kind::Internal, "the HTTP client cannot be built"),
    }
}

/// Whether `error` says that the connection ended before any answer came: what the race with a server that closes an idle
/// connection looks like. Our requests only read, so asking again is sound; hyper itself does it only for those it had not yet begun to write.
pub(super) fn unanswered(error: &reqwest::Error) -> bool {
    if error.is_connect() || error.is_timeout() || error.is_body() || error.is_decode() || error.is_builder() {
        return false;
    }
    let closed =
        find::<hyper::Error>(error).is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_closed());
    closed || find::<io::Error>(error).is_some_and(|e| is_cut(e.kind()))
}

fn is_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected
    )
}

fn handshake(error: &rustls::Error, url: &HttpUrl) -> (Kind, String) {
    use CertificateError as C;
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        // No InvalidCertificate: the server has none at all, or it and we have no TLS version or cipher in common.
        other => return (Kind::Network, format!("the TLS connection to {url} failed: {other}")),
    };
    let why = match certificate {
        C::Expired | C::ExpiredContext { .. } => "has expired: it must be renewed there (or this machine's clock is wrong)".to_owned(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "is not valid yet: this machine's clock may be wrong".to_owned()
        }
        C::UnknownIssuer => {
            "is from an issuer that this system does not trust: add that CA to the system's, or name its file in SSL_CERT_FILE".to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => "is for another host name: check the URL".to_owned(),
        C::Revoked => "has been revoked".to_owned(),
        C::UnsupportedSignatureAlgorithmContext { .. } => {
            "is signed in a way that is not supported: it must be renewed there".to_owned()
        }
        // Some of them list all that they know.
        other => format!("is not accepted: {other:.200}"),
    };
    (Kind::Certificate, format!("the TLS certificate of {url} {why}"))
}

fn io_reason(error: &reqwest::Error) -> String {
    match find::<io::Error>(error) {
        Some(e) if e.kind() == io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        Some(e) if is_cut(e.kind()) => "the connection was cut".to_owned(),
        // The system's own words, "No route to host": they hold no URL.
        Some(e) if e.raw_os_error().is_some() => e.to_string(),
        _ if unanswered(error) => "the connection was closed without an answer".to_owned(),
        _ => "the connection failed".to_owned(),
    }
}

/// The first `E` among the causes of `error`. `io::Error::source` skips the error that it wraps, so this looks into it.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::url::{Location, RemoteUrl};

    fn url() -> HttpUrl {
        match RemoteUrl::parse(b"https://ann:sesame@h/r?k=sesame").unwrap().location {
            Location::Http(http) => http,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_status_has_a_kind() {
        use Credentials as C;
        for (code, credentials, kind, says) in [
            (401, C::None, Kind::Auth, "none were given"),
            (401, C::Sent, Kind::Auth, "did not accept"),
            (401, C::Withheld, Kind::Auth, "redirects to"),
            (403, C::Sent, Kind::Auth, "permission"),
            (404, C::None, Kind::RepoNotFound, "no repository at"),
            (410, C::Sent, Kind::RepoNotFound, "may not see"),
            (407, C::None, Kind::Auth, "proxy"),
            (429, C::None, Kind::RateLimited, "too often"),
            (408, C::None, Kind::Network, "try again"),
            (418, C::None, Kind::Protocol, "check the URL"),
            (302, C::None, Kind::Protocol, "redirects"),
            (204, C::None, Kind::Protocol, "HTTP 204"),
            (500, C::None, Kind::Network, "try again later"),
            (503, C::Sent, Kind::Network, "try again later"),
        ] {
            let error = status(StatusCode::from_u16(code).unwrap(), &url(), credentials);
            assert_eq!(error.kind, kind, "{code}");
            assert!(error.message.contains(says), "{error}");
            assert!(error.message.contains("https://h/r"), "{error}");
            assert!(!format!("{error:?}").contains("sesame"));
            assert_eq!(error.detail["status"], rmpv::Value::from(code));
        }
    }

    #[test]
    fn certificates_say_what_is_wrong_with_them() {
        for (certificate, says) in [
            (CertificateError::Expired, "has expired"),
            (CertificateError::UnknownIssuer, "SSL_CERT_FILE"),
            (CertificateError::NotValidForName, "another host name"),
        ] {
            // As it arrives: rustls inside an io::Error, inside others.
            let error = io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(certificate)));
            let (kind, sentence) = handshake(find(&error).unwrap(), &url());
            assert_eq!(kind, Kind::Certificate);
            assert!(sentence.contains(says), "{sentence}");
        }
        let other = rustls::Error::General("no".into());
        assert_eq!(handshake(&other, &url()).0, Kind::Network);
    }
}
