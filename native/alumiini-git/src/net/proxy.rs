//! The proxy of a request: how it is spoken to, and which hosts are reached without it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::{Error, Kind, Result};
use crate::net::secrets::Secrets;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ProxyScheme {
    /// HTTP. Plain `http` is requested by the whole URL, everything else goes through `CONNECT`.
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS5, names resolved here.
    Socks5,
    /// SOCKS5, names resolved by the proxy.
    Socks5h,
}

/// A proxy. `Debug` and `Display` leave its credentials out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    pub(super) scheme: ProxyScheme,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<(String, String)>,
}

/// The proxy settings of a request.
#[derive(Clone)]
pub(crate) struct ProxySettings {
    proxy: Proxy,
    /// `no_proxy` as it was given.
    direct: String,
    matcher: Arc<Matcher>,
}

impl ProxySettings {
    /// From the request's `proxy`, a URL, and `no_proxy`, hosts separated by commas. `None` where
    /// there is no proxy. `invalid` where `proxy` is not a URL of a proxy; the error does not
    /// repeat it.
    pub(crate) fn new(
        proxy: Option<&str>,
        no_proxy: Option<&str>,
    ) -> Result<Option<ProxySettings>> {
        let Some(proxy) = proxy.filter(|proxy| !proxy.is_empty()) else {
            return Ok(None);
        };
        let proxy = Proxy::parse(proxy)?;
        let direct = no_proxy.unwrap_or_default().to_owned();
        // The matcher only decides about `no_proxy`. The proxy in it is a placeholder.
        let matcher = Arc::new(
            Matcher::builder()
                .all("http://proxy")
                .no(direct.as_str())
                .build(),
        );
        Ok(Some(ProxySettings {
            proxy,
            direct,
            matcher,
        }))
    }

    /// Adds the proxy's credentials to `secrets`. `own`: see [`Secrets::add_login`].
    pub(crate) fn add_secrets(&self, secrets: &mut Secrets, own: &str) {
        if let Some((user, password)) = &self.proxy.login {
            secrets.add_login(user, password, own);
        }
    }

    /// The proxy through which `host` is reached.
    pub(super) fn to(&self, host: &str) -> Option<&Proxy> {
        // The matcher applies `*` to all names, but to no address.
        if self.direct.split(',').any(|part| part.trim() == "*") {
            return None;
        }
        let bracketed = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(bracketed)
            .path_and_query("/")
            .build();
        match uri {
            Ok(uri) if self.matcher.intercept(&uri).is_none() => None,
            _ => Some(&self.proxy),
        }
    }
}

impl PartialEq for ProxySettings {
    fn eq(&self, other: &ProxySettings) -> bool {
        self.proxy == other.proxy && self.direct == other.direct
    }
}

impl Eq for ProxySettings {}

impl Hash for ProxySettings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.proxy.hash(state);
        self.direct.hash(state);
    }
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxySettings({})", self.proxy)
    }
}

impl Proxy {
    /// No error repeats the text: there may be a password in it.
    fn parse(text: &str) -> Result<Proxy> {
        let invalid = |why: &str| {
            Error::new(
                Kind::Invalid,
                format!("`proxy` {why}: http://user:password@host:port"),
            )
        };
        if text
            .chars()
            .any(|c| c.is_control() || c == '\\' || c == ' ')
        {
            return Err(invalid("holds a space, backslash or control character"));
        }
        let (scheme, authority) = text
            .split_once("://")
            .ok_or_else(|| invalid("is not a URL"))?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1080),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            _ => {
                return Err(invalid(
                    "is of a kind that is not known; http, https, socks5 and socks5h are",
                ));
            }
        };
        // `Url` parses the authority differently for schemes that it does not know, so it gets a
        // scheme that it knows.
        let url =
            Url::parse(&format!("http://{authority}")).map_err(|_| invalid("cannot be read"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "has more than a host and a port (write %2F, %3F or %23 in a password)",
            ));
        }
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| invalid("has credentials that are not UTF-8"))
        };
        let (user, password) = (
            decode(url.username())?,
            decode(url.password().unwrap_or(""))?,
        );
        if user.contains(':') {
            return Err(invalid("has a user name with a colon"));
        }
        // `Url` drops a port that is http's own.
        let named = authority
            .trim_end_matches('/')
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let port = match url.port() {
            Some(port) => port,
            None if named.trim_end_matches('/').ends_with(":80") => 80,
            None => default_port,
        };
        Ok(Proxy {
            scheme,
            host: url
                .host_str()
                .ok_or_else(|| invalid("names no host"))?
                .to_owned(),
            port,
            login: Some((user, password))
                .filter(|(user, password)| !user.is_empty() || !password.is_empty()),
        })
    }

    /// The URL for a connection to the proxy, without credentials.
    pub(super) fn url(&self) -> String {
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Https => "https",
            ProxyScheme::Socks5 => "socks5",
            ProxyScheme::Socks5h => "socks5h",
        };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// The same with credentials, for reqwest only.
    pub(super) fn url_with_login(&self) -> String {
        match &self.login {
            None => self.url(),
            Some((user, password)) => {
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let login = format!("://{}:{}@", encode(user), encode(password));
                self.url().replacen("://", &login, 1)
            }
        }
    }

    /// `Proxy-Authorization`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let (user, password) = self.login.as_ref()?;
        let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
