//! TLS: how a server's certificate is verified, and the certificate that we show where it asks.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use crate::error::{Error, Kind, Result};
use crate::net::client_certificate::BehindProxy;
use crate::net::frames;
use crate::net::given_certificate::OrGiven;
use crate::net::pem::tidied;

/// What a request adds to the system's roots. `Eq` and `Hash`, so that connections can be shared by
/// it; `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// PEM certificates of CAs that are trusted beside the system's.
    pub(crate) ca: Option<String>,
    /// Our certificate and its chain, and its private key, both PEM.
    pub(crate) client: Option<(String, String)>,
}

/// The peers of a connection's handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Handshakes {
    /// The server only.
    Direct,
    /// A proxy, which must not see our certificate, and then the server.
    ProxyFirst,
}

impl Tls {
    /// A configuration for TLS 1.2 and 1.3 (rustls has no older), with the system's roots, for the
    /// `protocols` of ALPN. Reads files.
    ///
    /// Verification cannot be turned off: a request can only add roots.
    ///
    /// `invalid`: PEM that cannot be read, or a certificate and key that do not belong together.
    /// `certificate`: no roots at all.
    pub(super) fn config(
        &self,
        protocols: &[&[u8]],
        handshakes: Handshakes,
    ) -> Result<ClientConfig> {
        let provider = Arc::new(frames::bounded(rustls::crypto::ring::default_provider()));
        let verifier = verifier(self.ca.as_deref(), provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::new(Kind::Internal, "the TLS versions cannot be set up"))?
            // This is not dangerous: the platform's own verifier decides. rustls has no other way
            // to use it with additional roots.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config =
            match &self.client {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => {
                    let chain = certificates("tls.cert", chain)?;
                    // The parser's own error is left out, since it may quote the text.
                    let key = PrivateKeyDer::from_pem_slice(tidied(key).as_bytes()).map_err(|_| {
                    invalid("`tls.key` holds no private key in PEM that can be read; one with a \
                             passphrase must be decrypted first")
                })?;
                    builder.with_client_auth_cert(chain, key).map_err(|_| {
                        invalid(
                            "`tls.cert` and `tls.key` cannot be used: the key is not that of the \
                             first certificate, or of an unsupported type",
                        )
                    })?
                }
            };
        if handshakes == Handshakes::ProxyFirst && self.client.is_some() {
            config.client_auth_cert_resolver =
                Arc::new(BehindProxy(config.client_auth_cert_resolver));
            // In a resumed session the proxy would not prove its identity again.
            config.resumption = Resumption::disabled();
        }
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

fn verifier(ca: Option<&str>, provider: Arc<CryptoProvider>) -> Result<OrGiven> {
    let extra = match ca {
        None => vec![],
        Some(pem) => certificates("tls.ca", pem)?,
    };
    let given = extra.clone();
    let platform = Verifier::new_with_extra_roots(extra, provider).map_err(|_| {
        if !given.is_empty() {
            invalid("`tls.ca` holds a certificate that cannot be used as a root")
        } else {
            Error::new(
                Kind::Certificate,
                "this system has no certificates to verify servers by: install them \
                 (ca-certificates), name a file of them in SSL_CERT_FILE, or pass tls: [ca: …]",
            )
        }
    })?;
    Ok(OrGiven { platform, given })
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(tidied(pem).as_bytes())
        .map(|certificate| certificate.ok())
        .collect();
    match certificates {
        Some(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(invalid(&format!(
            "`{field}` holds no certificate in PEM that can be read"
        ))),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(Kind::Invalid, message)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(redacted)")
    }
}
