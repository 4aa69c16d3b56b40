//! `git-upload-pack` over SSH.

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::net::auth::Login;
use crate::net::pkt::Chunks;
use crate::net::proxy::Proxy;
use crate::net::ssh_url::SshUrl;

/// The SSH connections that are kept, and how they are made.
#[derive(Default)]
pub(crate) struct Ssh {}

/// One `git-upload-pack` at work: its standard output.
pub(super) struct Exec {}

impl Ssh {
    /// Starts `git-upload-pack` for the repository and writes `body` to it, at once: it need not have answered yet.
    pub(super) async fn upload_pack(
        &self,
        url: &SshUrl,
        _login: &Login,
        _proxy: Option<&Proxy>,
        _v2: bool,
        _body: Bytes,
    ) -> Result<Exec> {
        Err(Error::new(
            Kind::Unsupported,
            format!("{url}: SSH is not supported yet"),
        ))
    }
}

impl Chunks for Exec {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}
