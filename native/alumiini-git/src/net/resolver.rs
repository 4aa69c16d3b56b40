//! Names, resolved to the addresses that connections may be made to. All connections are made to
//! these, so the address that was checked is the one that is connected to.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use reqwest::dns::{Addrs, Resolve, Resolving};
use tower_service::Service;

use crate::policy::addresses::Addresses;

type BoxError = Box<dyn StdError + Send + Sync>;

#[derive(Debug, Clone)]
pub(super) struct Resolver {
    addresses: Arc<Addresses>,
    /// The proxy's host, which the operator chose.
    unasked: Option<String>,
}

impl Resolver {
    pub(super) fn new(addresses: Arc<Addresses>) -> Resolver {
        Resolver {
            addresses,
            unasked: None,
        }
    }

    /// Allows any address for `host`, too.
    pub(super) fn but_for(self, host: &str) -> Resolver {
        let unasked = Some(host.to_ascii_lowercase());
        Resolver { unasked, ..self }
    }

    /// The addresses of `host`, an address or a name, that may be connected to.
    /// [`Denied`](crate::policy::addresses::Denied) where there are only others.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, BoxError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = GaiResolver::new().call(host.parse::<Name>()?).await?;
        if self.unasked.as_deref() == Some(host.to_ascii_lowercase().as_str()) {
            return Ok(found.collect());
        }
        let mut found = found.peekable();
        let is_known = found.peek().is_some();
        let allowed: Vec<SocketAddr> = found
            .filter(|found| self.addresses.allows(found.ip()))
            .collect();
        if is_known && allowed.is_empty() {
            return Err(Box::new(self.addresses.denied(host)));
        }
        Ok(allowed)
    }
}

/// For the HTTP client.
impl Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let this = self.clone();
        Box::pin(
            async move { Ok(Box::new(this.lookup(name.as_str()).await?.into_iter()) as Addrs) },
        )
    }
}

/// For connections that are made here.
impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.lookup(name.as_str()).await?.into_iter()) })
    }
}
