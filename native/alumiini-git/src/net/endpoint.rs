//! A remote over the network: its URL, the way to it, and the credentials.

use std::sync::Arc;

use crate::error::{Error, Key, Kind, Result};
use crate::net::auth::{Auth, Momentary, SshLogin};
use crate::net::proxy::{Proxy, ProxySettings};
use crate::net::secrets::Secrets;
use crate::net::tls::Tls;
use crate::net::token::endpoints;
use crate::net::url::{HttpUrl, NetUrl};
use crate::policy::addresses::Addresses;

/// A remote over the network. Equal endpoints may share an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) url: NetUrl,
    pub(crate) auth: Option<Auth>,
    /// Where `auth` is a source of tokens, the one to send.
    pub(super) momentary: Momentary,
    pub(crate) tls: Tls,
    pub(crate) route: Option<ProxySettings>,
    /// Where connections may be made to, whatever leads there.
    pub(crate) addresses: Arc<Addresses>,
}

impl Endpoint {
    /// `explicit`: the credentials of the request; they take precedence over those in `url`.
    ///
    /// `invalid` where credentials would go over plain `http` without `allow_insecure`, or cannot
    /// be sent at all, such as a password over SSH. `auth` for an SSH URL without credentials.
    pub(crate) fn new(
        url: NetUrl,
        explicit: Option<Auth>,
        allow_insecure: bool,
        tls: Tls,
        route: Option<ProxySettings>,
        addresses: Arc<Addresses>,
    ) -> Result<Endpoint> {
        let auth = match &url {
            NetUrl::Http(http) => {
                let auth = effective(explicit, http);
                refuse_plaintext(auth.as_ref(), http, allow_insecure)?;
                match &auth {
                    Some(Auth::Token(source)) => endpoints::check(source, allow_insecure)?,
                    Some(auth) => drop(auth.header()?),
                    None => {}
                }
                auth
            }
            NetUrl::Ssh(_) => match explicit {
                Some(Auth::Basic { .. } | Auth::Bearer { .. } | Auth::Token(_)) => {
                    let sentence = format!(
                        "{url} takes an SSH key or agent, not a password or token: pass those, or \
                         use the https:// URL"
                    );
                    return Err(Error::new(Kind::Invalid, sentence).with(Key::Url, url.redacted()));
                }
                None => {
                    let sentence = format!(
                        "{url} takes no one without credentials: pass auth: ssh_key or ssh_agent"
                    );
                    return Err(Error::new(Kind::Auth, sentence).with(Key::Url, url.redacted()));
                }
                auth => auth,
            },
        };
        Ok(Endpoint {
            url,
            auth,
            momentary: Momentary::default(),
            tls,
            route,
            addresses,
        })
    }

    /// The proxy through which `base` is reached.
    pub(super) fn proxy(&self, base: &NetUrl) -> Option<&Proxy> {
        self.route.as_ref().and_then(|route| route.to(base.host()))
    }

    /// What to tell the server of who we are.
    pub(super) fn login(&self) -> Option<&Auth> {
        self.momentary.auth().or(self.auth.as_ref())
    }

    /// What no answer may repeat.
    pub(super) fn secrets(&self) -> Secrets {
        let (mut secrets, own) = (Secrets::default(), self.url.redacted());
        if let Some(auth) = &self.auth {
            auth.add_secrets(&mut secrets, &own);
        }
        if let Some(momentary) = self.momentary.secrets() {
            secrets.add_all(momentary);
        }
        if let Some(route) = &self.route {
            route.add_secrets(&mut secrets, &own);
        }
        secrets
    }

    pub(super) fn ssh_login(&self) -> Result<&SshLogin> {
        match &self.auth {
            Some(Auth::Ssh(login)) => Ok(login),
            _ => Err(Error::new(
                Kind::Internal,
                "an SSH URL without an SSH login",
            )),
        }
    }
}

/// The credentials that count: `explicit`, those of the request, take precedence over those in
/// `url`.
fn effective(explicit: Option<Auth>, url: &HttpUrl) -> Option<Auth> {
    explicit.or_else(|| url.auth().cloned())
}

/// `invalid` where `auth` would travel readable by anyone on the way and the request did not say
/// `allow_insecure`.
fn refuse_plaintext(auth: Option<&Auth>, url: &HttpUrl, allow_insecure: bool) -> Result<()> {
    if auth.is_some() && url.is_plaintext() && !allow_insecure {
        let message = format!(
            "credentials for {url} would travel unencrypted: use https://, or allow_insecure: \
             true to send them all the same"
        );
        return Err(Error::new(Kind::Invalid, message).with(Key::Url, url.redacted()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
