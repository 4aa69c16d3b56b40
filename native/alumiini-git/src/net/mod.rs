//! The fetch conversation with a remote, in async Rust. libgit2 never touches the network (DESIGN: its HTTP client
//! cannot be cancelled, pools nothing and reads the whole ref advertisement).
//!
//! Cancelling anything here is dropping its future: sockets close, or go back to the pool where they are reusable. Nothing here has
//! a deadline of its own but the connection's making: the caller drops the future at the request's. The phase `connect` of a
//! request lasts until the first chunk of a pack arrives in its sink.

pub(crate) mod addresses;
pub(crate) mod auth;
mod capabilities;
mod client_certificate;
mod content_encoding;
mod dial;
mod discovery;
mod failure;
pub(crate) mod fetch;
mod frames;
mod gate;
mod given_certificate;
mod http;
mod http_answer;
mod http_clients;
mod interim;
mod known;
mod pack_stream;
pub(crate) mod pauses;
mod pem;
mod pkt;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod refs;
mod refusal;
mod resolver;
pub(crate) mod secrets;
mod shown;
mod ssh;
mod ssh_url;
pub(crate) mod tls;
pub(crate) mod url;
mod url_parts;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use addresses::Addresses;
use auth::{Auth, Login};
use capabilities::Speaks;

use gate::{Gates, Turn};
use http::Http;
use known::{Known, Server};
use pkt::{Chunks, Line, Reader};
use proxy::{Proxy, Route};
use secrets::Secrets;
use ssh::Ssh;
use ssh_url::SshUrl;
use tls::Tls;
use url::NetUrl;

/// Whom to talk to, how to get there, and as whom. Equal endpoints may share an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) url: NetUrl,
    pub(crate) auth: Option<Auth>,
    pub(crate) tls: Tls,
    pub(crate) route: Option<Route>,
    /// Where connections may be made to, whatever leads there.
    pub(crate) addresses: Arc<Addresses>,
}

impl Endpoint {
    /// `explicit`: the credentials of the request; they stand above those in `url`.
    ///
    /// `invalid` where credentials would go over plain `http` without `allow_insecure`, or cannot be sent at all.
    pub(crate) fn new(
        url: NetUrl,
        explicit: Option<Auth>,
        allow_insecure: bool,
        tls: Tls,
        route: Option<Route>,
        addresses: Arc<Addresses>,
    ) -> Result<Endpoint> {
        let auth = match &url {
            NetUrl::Http(http) => {
                let auth = auth::effective(explicit, http);
                auth::refuse_plaintext(auth.as_ref(), http, allow_insecure)?;
                if let Some(auth) = &auth {
                    auth.header()?;
                }
                auth
            }
            NetUrl::Ssh(_) => match explicit {
                Some(Auth::Basic { .. } | Auth::Bearer { .. }) => {
                    let sentence = format!(
                        "{url} takes an SSH key or agent, not a password or token: pass those, or use the https:// URL"
                    );
                    return Err(Error::new(Kind::Invalid, sentence).with("url", url.shown()));
                }
                None => {
                    let sentence = format!("{url} takes no one without credentials: pass auth: ssh_key or ssh_agent");
                    return Err(Error::new(Kind::Auth, sentence).with("url", url.shown()));
                }
                auth => auth,
            },
        };
        Ok(Endpoint {
            url,
            auth,
            tls,
            route,
            addresses,
        })
    }

    /// The proxy through which `base` is reached.
    fn proxy(&self, base: &NetUrl) -> Option<&Proxy> {
        self.route.as_ref().and_then(|route| route.to(base.host()))
    }

    /// What no answer may repeat.
    fn secrets(&self) -> Secrets {
        let (mut secrets, own) = (Secrets::default(), self.url.shown());
        if let Some(auth) = &self.auth {
            auth.add_secrets(&mut secrets, &own);
        }
        if let Some(route) = &self.route {
            route.add_secrets(&mut secrets, &own);
        }
        secrets
    }

    fn login(&self) -> Result<&Login> {
        match &self.auth {
            Some(Auth::Ssh(login)) => Ok(login),
            _ => Err(Error::new(Kind::Internal, "an SSH URL without an SSH login")),
        }
    }
}

/// All that the network layer keeps between requests: connections, and what each URL speaks. One for the whole worker.
pub(crate) struct Net {
    http: Http,
    ssh: Ssh,
    known: Known,
    pub(crate) gates: Gates,
}

/// What a server answers to one request. While it is there, it counts as one of those that a host is asked at a time.
struct Answer {
    from: From,
    _turn: Turn,
}

enum From {
    Http(http_answer::Answer),
    Ssh(ssh::Exec),
}

impl Net {
    /// Opens nothing and reads nothing yet.
    pub(crate) fn new() -> Net {
        Net {
            http: Http::new(),
            ssh: Ssh::new(ssh::Limits::default()),
            known: Known::default(),
            gates: Gates::default(),
        }
    }

    /// Sends `body` to `server`, which is known to be `endpoint`'s, and reads up to `limit` bytes of what it answers.
    async fn ask(&self, endpoint: &Endpoint, server: &Server, body: Bytes, limit: u64) -> Result<Reader<Answer>> {
        let v2 = matches!(server.speaks, Speaks::V2(_));
        let shown = server.base.shown();
        let turn = self.gates.enter(endpoint, &server.base).await?;
        match &server.base {
            NetUrl::Http(base) => {
                let connections = self.known.connections(endpoint);
                let answer = turn.watch(self.http.post(endpoint, base, v2, body, connections).await)?;
                Ok(Reader::new(
                    Answer {
                        from: From::Http(answer),
                        _turn: turn,
                    },
                    shown,
                    limit,
                ))
            }
            NetUrl::Ssh(url) => {
                let exec = turn.watch(self.upload_pack(endpoint, url, v2, body).await)?;
                let mut reader = Reader::new(
                    Answer {
                        from: From::Ssh(exec),
                        _turn: turn,
                    },
                    shown,
                    limit,
                );
                // It says what it speaks, and for v0 what it has, before it reads what it was asked.
                let line = reader.line().await?;
                if v2 != (line.text() == Some(b"version 2")) {
                    return Err(reader.protocol("speaks another version of Git's protocol than before"));
                }
                let mut line = line;
                while line != Line::Flush {
                    line = reader.line().await?;
                }
                Ok(reader)
            }
        }
    }

    async fn upload_pack(&self, endpoint: &Endpoint, url: &SshUrl, v2: bool, body: Bytes) -> Result<ssh::Exec> {
        self.ssh.upload_pack(url, endpoint, v2, body).await
    }
}

impl Chunks for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match &mut self.from {
            From::Http(answer) => answer.chunk().await,
            From::Ssh(exec) => exec.chunk().await,
        }
    }

    async fn end(&mut self) {
        match &mut self.from {
            From::Http(answer) => answer.end().await,
            From::Ssh(exec) => exec.end().await,
        }
    }
}

#[cfg(test)]
mod tests;
