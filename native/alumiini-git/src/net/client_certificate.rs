//! Keeps our certificate from a proxy that is reached over TLS itself.
//!
//! The HTTP client makes two handshakes with one configuration: first with the proxy, then with the
//! server in the tunnel. A resolver of certificates is not told who asks. So it gives the
//! certificate only after somebody has proved their identity, which in each handshake comes after
//! the request for our certificate: the first proof is the proxy's, so only the server's request
//! comes after a proof.

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
    /// Whether somebody has proved their identity on the connection that is being made.
    static PROVED: Cell<bool>;
}

/// Call this for each server certificate that was verified.
pub(super) fn proved() {
    // Outside of such a connection there is no proxy to keep the certificate from.
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

/// A layer around the connector: each connection that it makes has its own [`PROVED`].
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
