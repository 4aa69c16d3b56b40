//! The server that a connection is made to, and the user.

use std::sync::Arc;

use crate::error::Result;
use crate::net::Endpoint;
use crate::net::auth::SshLogin;
use crate::net::proxy::Proxy;
use crate::net::ssh_url::{DEFAULT_PORT, SshUrl};
use crate::policy::addresses::Addresses;

/// A server and a user. Connections of equal targets may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) login: SshLogin,
    pub(super) proxy: Option<Proxy>,
    pub(super) addresses: Arc<Addresses>,
}

impl Target {
    pub(super) fn new(url: &SshUrl, endpoint: &Endpoint) -> Result<Target> {
        let login = endpoint.ssh_login()?;
        let user = login.username.as_ref().or(url.user.as_ref());
        Ok(Target {
            host: url.host.clone(),
            port: url.port,
            user: user.cloned().unwrap_or_else(|| "git".to_owned()),
            login: login.clone(),
            proxy: endpoint.proxy(&endpoint.url).cloned(),
            addresses: endpoint.addresses.clone(),
        })
    }

    /// `git@host`, with the port where it is not 22.
    pub(super) fn who(&self) -> String {
        match self.port {
            DEFAULT_PORT => format!("{}@{}", self.user, self.host),
            port => format!("{}@{}, port {port}", self.user, self.host),
        }
    }
}
