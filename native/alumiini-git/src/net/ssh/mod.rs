//! `git-upload-pack` over SSH.

mod agent;
mod algorithms;
mod connection;
mod exec;
mod handler;
mod host_key;
mod keys;
mod known_hosts;
mod login;
mod members;
mod peer;
mod pool;
mod session;
mod wire;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Key, Kind, Result};
use crate::net::Endpoint;
use crate::net::ssh_url::SshUrl;
use crate::task::patience;
use exec::NoAnswer;
use peer::Target;
use pool::{NoLease, Pool};

pub(super) use exec::Exec;
pub(crate) use host_key::Greeting;
pub(crate) use pool::Limits;

/// The SSH connections that are kept, and how they are made.
pub(crate) struct Ssh {
    pool: Pool,
}

impl Ssh {
    /// Whether nothing is under way on any connection.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }

    /// Opens nothing yet.
    pub(super) fn new(limits: Limits) -> Ssh {
        Ssh {
            pool: Pool::new(limits),
        }
    }

    /// Starts `git-upload-pack` for the repository, writes `body` to it at once, and waits until it
    /// begins to answer.
    ///
    /// On a connection that was kept, and that turns out to have ended before anything of an answer
    /// came, it is started once more on a new one. What it is asked only reads, so that is sound.
    ///
    /// Errors: `network`, `host_key`, `auth`, `invalid` (the private key), `repo_not_found`,
    /// `unsupported`, `protocol`.
    pub(super) async fn upload_pack(
        &self,
        url: &SshUrl,
        endpoint: &Endpoint,
        v2: bool,
        body: Bytes,
    ) -> Result<Exec> {
        let (target, shown) = (Arc::new(Target::new(url, endpoint)?), url.redacted());
        let pack = brings_a_pack(&body);
        // The second time, only on a connection that is newer than the failure.
        for first in [true, false] {
            let newer_than = if first { 0 } else { self.pool.made() };
            let lease = match self.pool.lease(&target, &shown, pack, newer_than).await {
                Ok(lease) => lease,
                Err(NoLease::Stale) => continue,
                Err(NoLease::Failed(e)) => return Err(e),
            };
            let may_be_stale = !lease.fresh && first;
            patience::asked();
            if !first {
                patience::again();
            }
            match Exec::begin(lease, &url.path, &shown, v2, body.clone()).await {
                Ok(exec) => return Ok(exec),
                Err(NoAnswer::Silent(_)) if may_be_stale => {}
                Err(NoAnswer::Silent(e) | NoAnswer::Failed(e)) => return Err(e),
            }
        }
        let sentence =
            format!("the connection to {shown} was cut before its answer began; try again later");
        Err(Error::new(Kind::Network, sentence).with(Key::Url, shown))
    }

    /// Connects and checks the host key, on a connection of its own, and leaves it at that.
    ///
    /// Errors: `network`, `host_key`, `unsupported`, `protocol`.
    pub(super) async fn greet(&self, url: &SshUrl, endpoint: &Endpoint) -> Result<Greeting> {
        let target = Target::new(url, endpoint)?;
        let (_, greeting) =
            connection::connect(&target, &url.redacted(), self.pool.limits.keepalive, true).await?;
        Ok(greeting)
    }
}

/// Whether the answer to `body` is a pack: all but a list of refs, and what a server says by
/// itself.
fn brings_a_pack(body: &[u8]) -> bool {
    !body.is_empty()
        && body
            .get(4..)
            .is_none_or(|line| !line.starts_with(b"command=ls-refs"))
}

/// What the fuzz target feeds: what some known_hosts say of a host.
#[cfg(fuzzing)]
pub(super) fn fuzz_known_hosts(text: &str) {
    for port in [22, 2222] {
        let trusted = known_hosts::Trusted::find(&[text], "git.example.com", port);
        let _ = (trusted.algorithms(), trusted.certificate_algorithms());
    }
}
