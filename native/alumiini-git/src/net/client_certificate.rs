//! Our certificate, where a connection leads through a proxy that is spoken to over TLS itself.
//!
//! The HTTP client makes both handshakes, first the proxy's, then the server's in the tunnel, with
//! one configuration, and a resolver of certificates is not told who asks. So it answers once
//! whoever was spoken to first has proved who they are: that is the proxy, and in a handshake a
//! certificate is asked for before.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use tokio::task::futures::TaskLocalFuture;
use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    /// While a connection is made: whether somebody has proved who they are.
    static PROVED: Cell<bool>;
}

/// To be told of each server certificate that was found good.
pub(super) fn proved() {
    // Elsewhere there is no proxy to beware of.
    let _ = PROVED.try_with(|proved| proved.set(true));
}

/// Shows a certificate to the server behind the proxy only.
#[derive(Debug)]
pub(super) struct BehindProxy(pub(super) Arc<dyn ResolvesClientCert>);

impl ResolvesClientCert for BehindProxy {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let behind = PROVED.try_with(Cell::get).unwrap_or(false);
        if behind {
            self.0.resolve(issuers, schemes)
        } else {
            None
        }
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}

/// Around what makes connections: each has its own [`PROVED`].
#[derive(Clone)]
pub(super) struct PerConnection;

#[derive(Clone)]
pub(super) struct Scoped<S>(S);

impl<S> Layer<S> for PerConnection {
    type Service = Scoped<S>;

    fn layer(&self, inner: S) -> Scoped<S> {
        Scoped(inner)
    }
}

impl<R, S: Service<R>> Service<R> for Scoped<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<Cell<bool>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        PROVED.scope(Cell::new(false), self.0.call(request))
    }
}
