//! The fetch conversation with a remote, in async Rust. libgit2 never touches the network
//! (ARCHITECTURE.md, "Why libgit2 does not talk to the network").
//!
//! Dropping a future here cancels its work: sockets close, or go back to the pool where they are
//! reusable. Only making a connection has a deadline of its own; at a request's deadline the caller
//! drops the future. The phase `connect` of a request lasts until the first
//! chunk of a pack arrives in its sink.

pub(crate) mod auth;
mod client_certificate;
mod connection_failure;
mod content_encoding;
mod dial;
mod endpoint;
mod failure;
mod frames;
#[cfg(fuzzing)]
pub mod fuzz;
pub(crate) mod git;
mod given_certificate;
pub(crate) mod host_limits;
mod http;
mod http_answer;
mod http_clients;
mod http_url;
mod identity;
mod interim;
pub(crate) mod pauses;
mod pem;
pub(crate) mod probe;
pub(crate) mod proxy;
mod redacted;
mod refusal;
mod resolver;
pub(crate) mod secrets;
mod server_cache;
mod ssh;
mod ssh_url;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod url;
mod url_parts;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
pub(crate) use endpoint::Endpoint;
use git::capabilities::Capabilities;
use git::pkt_line::{Chunks, PktLine, PktLineReader};

use host_limits::{HostLimits, Permit};
use http::Http;
use server_cache::{ServerCache, ServerInfo};
use ssh::Ssh;
use ssh_url::SshUrl;
use token::cache::Tokens;
use url::NetUrl;

use crate::task::pool::Pool;

/// Bytes of all lists of refs that arrive at the same time. A list that may be longer than this
/// arrives alone.
const MAX_LISTS: usize = 128 << 20;

/// All that the network layer keeps between requests: connections, and what each URL speaks. One
/// for the whole worker.
pub(crate) struct Net {
    http: Http,
    ssh: Ssh,
    server_cache: ServerCache,
    pub(crate) host_limits: Arc<HostLimits>,
    /// Of credentials that a provider makes tokens of.
    tokens: Arc<Tokens>,
    /// Bytes that lists of refs may take while they arrive. What waits for the client is counted
    /// elsewhere, so a slow remote holds up no read.
    pub(crate) lists: Arc<Pool>,
}

/// What a server answers to one request. While it is there, it counts as one of those that a host
/// is asked at a time.
struct Answer {
    from: From,
    permit: Permit,
}

enum From {
    Http(http_answer::Answer),
    Ssh(ssh::Exec),
}

impl Net {
    /// Opens nothing and reads nothing yet.
    pub(crate) fn new() -> Net {
        let (http, host_limits) = (Http::new(), Arc::<HostLimits>::default());
        Net {
            tokens: Arc::new(Tokens::new(http.clients(), host_limits.clone())),
            http,
            ssh: Ssh::new(ssh::Limits::default()),
            server_cache: ServerCache::default(),
            host_limits,
            lists: Arc::new(Pool::new(MAX_LISTS)),
        }
    }

    /// Sends `body` to `server`, which is known to be `endpoint`'s, and reads up to `limit` bytes
    /// of what it answers.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        server: &ServerInfo,
        body: Bytes,
        limit: u64,
    ) -> Result<PktLineReader<Answer>> {
        let body = &body;
        let asked = self.tokens.ask(endpoint, |endpoint| async move {
            self.ask_as(&endpoint, server, body).await
        });
        let ((from, permit), secrets) = asked.await?;
        let v2 = matches!(server.capabilities, Capabilities::V2(_));
        let shown = server.base.redacted();
        let is_ssh = matches!(from, From::Ssh(_));
        let mut reader = PktLineReader::new(Answer { from, permit }, shown, limit).without(secrets);
        if is_ssh {
            // It says what it speaks, and in v0 which refs it has, before it reads the request.
            let mut line = reader.line().await?;
            if v2 != (line.text() == Some(b"version 2")) {
                return Err(reader.protocol("speaks another version of Git's protocol than before"));
            }
            while line != PktLine::Flush {
                line = reader.line().await?;
            }
        }
        Ok(reader)
    }

    /// Sends `body`, as whom `endpoint` says.
    async fn ask_as(
        &self,
        endpoint: &Endpoint,
        server: &ServerInfo,
        body: &Bytes,
    ) -> Result<(From, Permit)> {
        let v2 = matches!(server.capabilities, Capabilities::V2(_));
        self.host_limits
            .ask(endpoint, &server.base, || {
                let body = body.clone();
                async move {
                    match &server.base {
                        NetUrl::Http(base) => {
                            let connections = self.server_cache.connections(endpoint);
                            let answer = self.http.post(endpoint, base, v2, body, connections);
                            answer.await.map(From::Http)
                        }
                        NetUrl::Ssh(url) => {
                            let exec = self.upload_pack(endpoint, url, v2, body);
                            exec.await.map(From::Ssh)
                        }
                    }
                }
            })
            .await
    }

    async fn upload_pack(
        &self,
        endpoint: &Endpoint,
        url: &SshUrl,
        v2: bool,
        body: Bytes,
    ) -> Result<ssh::Exec> {
        self.ssh.upload_pack(url, endpoint, v2, body).await
    }
}

impl Chunks for Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = match &mut self.from {
            From::Http(answer) => answer.chunk().await,
            From::Ssh(exec) => exec.chunk().await,
        };
        match chunk {
            Ok(Some(chunk)) => Ok(Some(chunk)),
            end => self.permit.judge(end),
        }
    }

    async fn end(&mut self) {
        let _ = self.permit.judge(Ok(()));
        match &mut self.from {
            From::Http(answer) => answer.end().await,
            From::Ssh(exec) => exec.end().await,
        }
    }
}

#[cfg(test)]
mod tests;
