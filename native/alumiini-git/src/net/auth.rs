//! Who we are to a server: the credentials of a request or of its URL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::error::{Error, Kind, Result};
use crate::net::secrets::Secrets;
use crate::net::token::source::TokenSource;

/// Credentials. `Eq` and `Hash`, so that they can be part of a key to share by; `Debug` shows only
/// the kind.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Auth {
    Basic {
        username: String,
        password: String,
    },
    Bearer {
        token: String,
    },
    /// A provider makes the token, for a while each.
    Token(Arc<TokenSource>),
    Ssh(SshLogin),
}

/// Credentials for SSH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshLogin {
    /// Takes precedence over the URL's.
    pub(crate) username: Option<String>,
    pub(crate) proof: SshCredential,
    /// Text in the form of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". `None`: the user's and the
    /// system's files.
    pub(crate) known_hosts: Option<String>,
}

/// What proves who we are over SSH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum SshCredential {
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
    /// The `Authorization` header, marked sensitive: HTTP/2 then never puts it into its compression
    /// table.
    ///
    /// `invalid` where the credentials cannot stand in a header.
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let text = match self {
            // The server splits at the first colon (RFC 7617), so this user could only be somebody
            // else.
            Auth::Basic { username, .. } if username.contains(':') => {
                return Err(Error::new(
                    Kind::Invalid,
                    "a username for HTTP cannot hold a colon",
                ));
            }
            Auth::Basic { username, password } => {
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{username}:{password}"))
                )
            }
            Auth::Bearer { token } => format!("Bearer {token}"),
            Auth::Token(_) => {
                return Err(Error::new(Kind::Internal, "no token was asked for"));
            }
            Auth::Ssh(_) => {
                return Err(Error::new(
                    Kind::Invalid,
                    "an SSH key or agent is no credential for HTTP: pass basic, token or bearer, \
                     or use the SSH URL",
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
    /// Adds the secrets among these credentials to `secrets`: a server may repeat what it was sent.
    /// `own`: see [`Secrets::add_login`].
    pub(crate) fn add_secrets(&self, secrets: &mut Secrets, own: &str) {
        match self {
            Auth::Basic { username, password } => secrets.add_login(username, password, own),
            Auth::Bearer { token } => secrets.add(token),
            Auth::Token(source) => source.add_secrets(secrets),
            Auth::Ssh(SshLogin {
                proof:
                    SshCredential::Key {
                        passphrase: Some(passphrase),
                        ..
                    },
                ..
            }) => secrets.add(passphrase),
            Auth::Ssh(_) => {}
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::Basic { .. } => "Auth::Basic(redacted)",
            Auth::Bearer { .. } => "Auth::Bearer(redacted)",
            Auth::Token(_) => "Auth::Token(redacted)",
            Auth::Ssh(_) => "Auth::Ssh(redacted)",
        })
    }
}

/// What a source of tokens gave for the moment. Any two are equal: by the source, not by its
/// tokens, remotes are told apart and answers shared.
#[derive(Clone, Default)]
pub(crate) struct Momentary(Option<Arc<(Auth, Arc<Secrets>)>>);

impl Momentary {
    /// `secrets`: what of it no answer may repeat.
    pub(super) fn new(auth: Auth, secrets: Secrets) -> Momentary {
        Momentary(Some(Arc::new((auth, Arc::new(secrets)))))
    }

    pub(super) fn auth(&self) -> Option<&Auth> {
        self.0.as_ref().map(|given| &given.0)
    }

    pub(super) fn secrets(&self) -> Option<&Arc<Secrets>> {
        self.0.as_ref().map(|given| &given.1)
    }
}

impl PartialEq for Momentary {
    fn eq(&self, _: &Momentary) -> bool {
        true
    }
}

impl Eq for Momentary {}

impl Hash for Momentary {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Momentary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Momentary(redacted)")
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
