//! What went wrong with a connection, as a kind and a sentence that says what to do.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::error::{Error, Hint, Key, Kind};
use crate::net::git::pkt_line::sanitised;
use crate::net::given_certificate;
use crate::net::proxy::Proxy;
use crate::net::url::HttpUrl;
use crate::policy::addresses::Denied;

/// The error for a remote whose addresses are all forbidden.
pub(super) fn denied(denied: &Denied, shown: &str) -> Error {
    let host = sanitised(denied.host.as_bytes());
    let sentence = format!(
        "{shown} is not allowed: {host} is, or leads to, an address that this server does not \
         connect to (its option :addresses)"
    );
    Error::new(Kind::Unsupported, sentence).with(Key::Url, shown)
}

/// The error for a request without an answer, or with an answer whose body broke off.
pub(super) fn transport(error: &reqwest::Error, url: &HttpUrl, proxy: Option<&Proxy>) -> Error {
    if let Some(found) = find::<Denied>(error) {
        return denied(found, &url.redacted());
    }
    let failed = sentence(error, url, proxy).with(Key::Url, url.redacted());
    // A server with a wrong certificate was reached, and so was a proxy that refuses.
    let unreachable = error.is_connect()
        && failed.kind == Kind::Network
        && find::<rustls::Error>(error).is_none();
    if unreachable {
        failed.hinted(Hint::Unreachable)
    } else {
        failed
    }
}

fn sentence(error: &reqwest::Error, url: &HttpUrl, proxy: Option<&Proxy>) -> Error {
    let way = proxy.map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    let host = url.as_url().host_str().unwrap_or("");
    let (kind, sentence) = if let Some(tls) = find::<rustls::Error>(error) {
        handshake(tls, &url.redacted())
    } else if let Some((kind, why)) = proxy.and_then(|proxy| refused_by_proxy(error, proxy)) {
        (kind, format!("cannot reach {url}: {why}"))
    } else if error.is_dns() && proxy.is_none() {
        (
            Kind::Network,
            format!(
                "cannot reach {url}: the host name {host} does not resolve; check the URL and the \
                 DNS"
            ),
        )
    } else if error.is_connect() && error.is_timeout() {
        (
            Kind::Network,
            format!(
                "cannot reach {url}{way}: {host} did not take the connection in time; check host, \
                 port and firewalls"
            ),
        )
    } else if error.is_connect() {
        (
            Kind::Network,
            format!(
                "cannot reach {url}{way}: {}; check host and port",
                io_reason(error)
            ),
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
        (
            Kind::Network,
            format!("{url} did not answer: {}", io_reason(error)),
        )
    };
    Error::new(kind, sentence)
}

/// A connection that could not be made by [`dial`](super::dial::dial).
pub(super) fn dial(
    error: &(dyn StdError + Send + Sync + 'static),
    shown: &str,
    host: &str,
    proxy: Option<&Proxy>,
) -> Error {
    if let Some(ours) = find::<Error>(error) {
        return ours.clone();
    }
    if let Some(found) = find::<Denied>(error) {
        return denied(found, shown);
    }
    let (kind, sentence) = match proxy {
        None => (
            Kind::Network,
            format!("cannot reach {shown}: {}", unreachable(error, host)),
        ),
        Some(proxy) => refused_by_proxy(error, proxy)
            .map(|(kind, why)| (kind, format!("cannot reach {shown}: {why}")))
            .unwrap_or_else(|| {
                let why = unreachable(error, &proxy.host);
                (
                    Kind::Network,
                    format!("cannot reach {shown} through the proxy {proxy}: {why}"),
                )
            }),
    };
    // A proxy that refuses was reached.
    let reached = matches!(proxy, Some(proxy) if refused_by_proxy(error, proxy).is_some());
    let failed = Error::new(kind, sentence).with(Key::Url, shown);
    if reached {
        failed
    } else {
        failed.hinted(Hint::Unreachable)
    }
}

/// The error for a connection that took too long.
pub(super) fn too_slow(shown: &str, host: &str, proxy: Option<&Proxy>) -> Error {
    let way = proxy.map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    let sentence = format!(
        "cannot reach {shown}: {host} did not take the connection in time{way}; check host, port \
         and firewalls"
    );
    Error::new(Kind::Network, sentence)
        .with(Key::Url, shown)
        .hinted(Hint::Unreachable)
}

fn unreachable(error: &(dyn StdError + Send + Sync + 'static), host: &str) -> String {
    let said: String = error.to_string();
    match find::<io::Error>(error) {
        _ if said.contains("dns") => {
            format!("the host name {host} does not resolve; check the URL and the DNS")
        }
        Some(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            "the connection was refused; check host and port".to_owned()
        }
        Some(e) if e.raw_os_error().is_some() => format!("{e}; check host and port"),
        _ => "the connection failed; check host and port".to_owned(),
    }
}

/// Why a proxy refused a connection. `None` if the proxy was not reached. hyper-util does not
/// export the types of these errors, so this looks at their texts.
fn refused_by_proxy(error: &(dyn StdError + 'static), proxy: &Proxy) -> Option<(Kind, String)> {
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if says(&["underlying connection"]) {
            return None;
        }
        if says(&[
            "proxy authorization required",
            "credentials not accepted",
            "user/pass authentication",
        ]) {
            let why = match proxy.login {
                None => format!(
                    "the proxy {proxy} asks for credentials: put user:password@ into its URL"
                ),
                Some(_) => format!(
                    "the proxy {proxy} did not accept its credentials: check that they are right"
                ),
            };
            return Some((Kind::Auth, why));
        }
        if says(&["tunnel error", "socks error"]) {
            // Some proxies answer a wrong password in the same way as a host that is not allowed.
            let login = proxy
                .login
                .as_ref()
                .map_or("", |_| ", and that its credentials are right");
            let why = format!(
                "the proxy {proxy} did not make the connection: check that it may reach that host \
                 and port{login}"
            );
            return Some((Kind::Network, why));
        }
        next = error.source();
    }
    None
}

/// The error for a client that cannot be built. With TLS, that is a system without roots.
pub(super) fn client(error: &reqwest::Error) -> Error {
    match find::<rustls::Error>(error) {
        Some(_) => Error::new(
            Kind::Certificate,
            "this system has no certificates to verify servers by: install them \
             (ca-certificates), or name a file of them in SSL_CERT_FILE",
        ),
        None => Error::new(Kind::Internal, "the HTTP client cannot be built"),
    }
}

/// Whether the connection ended before any answer arrived. That happens when a server closes an
/// idle connection just as a request is sent on it. Our requests only read, so it is safe to send
/// them again; hyper itself does so only for requests that it has not begun to write.
pub(super) fn unanswered(error: &reqwest::Error) -> bool {
    if error.is_connect()
        || error.is_timeout()
        || error.is_body()
        || error.is_decode()
        || error.is_builder()
    {
        return false;
    }
    let closed = find::<hyper::Error>(error)
        .is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_closed());
    closed || find::<io::Error>(error).is_some_and(|e| is_cut(e.kind()))
}

/// Whether a server refused HTTP/2 for the request, and wants it by HTTP/1.1 (RFC 9113, 7: as those
/// do that log in per connection).
pub(super) fn wants_http_1_1(error: &reqwest::Error) -> bool {
    find::<h2::Error>(error)
        .is_some_and(|e| e.is_remote() && e.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED))
}

/// Whether a server was reached.
pub(super) fn was_reached(error: &reqwest::Error) -> bool {
    !error.is_connect() || find::<rustls::Error>(error).is_some()
}

fn is_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionReset
            | K::ConnectionAborted
            | K::BrokenPipe
            | K::UnexpectedEof
            | K::NotConnected
    )
}

/// A TLS handshake that failed.
pub(super) fn tls(error: &io::Error, shown: &str) -> Error {
    // As with other errors, the cause is inside: rustls's own error.
    let (kind, sentence) = match find::<rustls::Error>(error) {
        Some(tls) => handshake(tls, shown),
        None => {
            let why = if error.raw_os_error().is_some() {
                error.to_string()
            } else {
                "the connection was cut".to_owned()
            };
            (
                Kind::Network,
                format!("the TLS connection to {shown} failed: {why}"),
            )
        }
    };
    Error::new(kind, sentence).with(Key::Url, shown)
}

fn handshake(error: &rustls::Error, url: &str) -> (Kind, String) {
    use CertificateError as C;
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => {
            let why = "refuses our client certificate, or wants one: pass tls: [cert: …, key: …] \
                       of one that it knows, which only the server of the URL itself is shown";
            return (Kind::Certificate, format!("the server of {url} {why}"));
        }
        // TLS 1.2 uses this alert for a missing client certificate, and for much else.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            let why = "ended the TLS handshake: it wants a client certificate (pass tls: [cert: \
                       …, key: …]), or has no cipher in common with us";
            return (Kind::Certificate, format!("the server of {url} {why}"));
        }
        // Not an InvalidCertificate: the server has no certificate, or no TLS version or cipher in
        // common with us.
        rustls::Error::InvalidMessage(_) => {
            return (
                Kind::Network,
                format!(
                    "the TLS connection to {url} failed: what answers there is no TLS; check the \
                     URL's port"
                ),
            );
        }
        _ => {
            let why = "it and this worker have no version, cipher or key exchange of TLS in \
                       common, or it has no certificate";
            return (
                Kind::Network,
                format!("the TLS connection to {url} failed: {why}"),
            );
        }
    };
    let why = match certificate {
        C::Expired | C::ExpiredContext { .. } => "has expired: it must be renewed there (or this \
                                                  machine's clock is wrong)"
            .to_owned(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "is not valid yet: this machine's clock may be wrong".to_owned()
        }
        C::UnknownIssuer => {
            "is from an issuer that this system does not trust: pass that CA as tls: [ca: …], add \
             it to the system's, or name its file in SSL_CERT_FILE"
                .to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => "is for another host name: check \
                                                                  the URL"
            .to_owned(),
        C::Revoked => "has been revoked".to_owned(),
        C::UnsupportedSignatureAlgorithmContext { .. } => {
            "is signed in a way that is not supported: it must be renewed there".to_owned()
        }
        C::Other(other) if given_certificate::is_authority(other) => {
            "is self-signed, and this system does not trust it: pass it as tls: [ca: …] if it is \
             the server's own"
                .to_owned()
        }
        C::BadEncoding => "cannot be read: it must be renewed there".to_owned(),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "is not one for servers (its extended key usage): it must be renewed there".to_owned()
        }
        C::BadSignature => {
            "is not signed by the authority of that name that is trusted here: pass the right one \
             as tls: [ca: …]"
                .to_owned()
        }
        _ => "is not accepted: it breaks a rule for certificates of servers, and must be renewed \
              there"
            .to_owned(),
    };
    (
        Kind::Certificate,
        format!("the TLS certificate of {url} {why}"),
    )
}

fn io_reason(error: &reqwest::Error) -> String {
    match find::<io::Error>(error) {
        Some(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            "the connection was refused".to_owned()
        }
        Some(e) if is_cut(e.kind()) => "the connection was cut".to_owned(),
        // The system's own text, such as "No route to host", which holds no URL.
        Some(e) if e.raw_os_error().is_some() => e.to_string(),
        _ if unanswered(error) => "the connection was closed without an answer".to_owned(),
        _ => "the connection failed".to_owned(),
    }
}

/// The first `E` among the causes of `error`. `io::Error::source` skips the error that it wraps, so
/// this looks into it.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
#[path = "connection_failure_tests.rs"]
mod tests;
