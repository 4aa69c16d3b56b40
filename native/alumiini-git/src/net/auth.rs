//! Who we are to a server: what a request gave, above what the URL holds.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::error::{Error, Kind, Result};
use crate::net::url::HttpUrl;

/// Credentials. `Eq` and `Hash`, so that they can be part of a key to share by; `Debug` shows only the kind.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Auth {
    Basic { username: String, password: String },
    Bearer { token: String },
    Ssh(Login),
}

/// Credentials for SSH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Login {
    /// Above the URL's.
    pub(crate) username: Option<String>,
    pub(crate) proof: Proof,
    /// Text as in the file of that name. None: the user's and the system's files.
    pub(crate) known_hosts: Option<String>,
}

/// What proves who we are over SSH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    Key {
        /// OpenSSH's own form or PEM.
        private_key: String,
        passphrase: Option<String>,
    },
    Agent {
        /// None: what `SSH_AUTH_SOCK` names.
        socket: Option<PathBuf>,
    },
}

impl Auth {
    /// The `Authorization` header, marked sensitive: HTTP/2 then never puts it into its compression table.
    ///
    /// `invalid` where the credentials cannot stand in a header.
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let text = match self {
            // The server splits at the first colon (RFC 7617), so this user could only be somebody else.
            Auth::Basic { username, .. } if username.contains(':') => {
                return Err(Error::new(Kind::Invalid, "a username for HTTP cannot hold a colon"));
            }
            Auth::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
            }
            Auth::Bearer { token } => format!("Bearer {token}"),
            Auth::Ssh(_) => {
                return Err(Error::new(
                    Kind::Invalid,
                    "an SSH key or agent is no credential for HTTP: pass basic, token or bearer, or use the SSH URL",
                ));
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            Error::new(
                Kind::Invalid,
                "the token holds characters that HTTP cannot send, such as a line break",
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Auth {
    /// What a server that repeats what it was sent might show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        match self {
            Auth::Basic { username, password } => {
                // Hosts take a token without a password for a user.
                let secret = if password.is_empty() { username } else { password };
                vec![STANDARD.encode(format!("{username}:{password}")), secret.clone()]
            }
            Auth::Bearer { token } => vec![token.clone()],
            Auth::Ssh(Login {
                proof: Proof::Key { passphrase, .. },
                ..
            }) => passphrase.iter().cloned().collect(),
            Auth::Ssh(_) => vec![],
        }
    }
}

/// The error without `secrets`: servers are quoted in errors.
pub(crate) fn hide(mut error: Error, secrets: &[String]) -> Error {
    let hide = |text: &str| {
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| hidden(&text, secret))
    };
    error.message = hide(&error.message);
    for value in error.detail.values_mut() {
        if let Some(text) = value.as_str() {
            *value = hide(text).into();
        }
    }
    error
}

/// `text` without `secret`.
pub(super) fn hidden(text: &str, secret: &str) -> String {
    // Shorter ones are in many words, and nobody's secret.
    if secret.len() > 3 {
        text.replace(secret, "[hidden]")
    } else {
        text.to_owned()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::Basic { .. } => "Auth::Basic(redacted)",
            Auth::Bearer { .. } => "Auth::Bearer(redacted)",
            Auth::Ssh(_) => "Auth::Ssh(redacted)",
        })
    }
}

/// The credentials that count: `explicit`, those of the request, stand above those in `url`.
pub(crate) fn effective(explicit: Option<Auth>, url: &HttpUrl) -> Option<Auth> {
    explicit.or_else(|| url.auth().cloned())
}

/// `invalid` where `auth` would travel readable by anyone on the way and the request did not say `allow_insecure`.
pub(crate) fn refuse_plaintext(auth: Option<&Auth>, url: &HttpUrl, allow_insecure: bool) -> Result<()> {
    if auth.is_some() && url.is_plaintext() && !allow_insecure {
        let message = format!(
            "credentials for {url} would travel unencrypted: use https://, or allow_insecure: true to send them all the same"
        );
        return Err(Error::new(Kind::Invalid, message).with("url", url.shown()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
