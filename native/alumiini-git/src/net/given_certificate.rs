//! A server's own certificate that a request gives as one to trust, such as `openssl req -x509`
//! makes. It is not the certificate of an authority.
//!
//! OpenSSL, and with it Git, trusts such a certificate by itself. webpki trusts only what an
//! authority has signed, and reports it as a CA that is used as a server, or as one of an unknown
//! issuer.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::net::client_certificate;

/// The platform's verifier, which decides, and the certificates that a request gives.
#[derive(Debug)]
pub(super) struct OrGiven {
    pub(super) platform: Verifier,
    pub(super) given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OrGiven {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.platform.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let verdict = match &verdict {
            // webpki checks dates and purpose first, so these are right.
            Err(error) if is_doubt(error) && self.given.iter().any(|given| given == end_entity) => {
                is_for(end_entity, server_name)
            }
            _ => verdict,
        };
        if verdict.is_ok() {
            client_certificate::proved();
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}

/// Whether the error is about the issuer or the name. The name is checked again here.
fn is_doubt(error: &Error) -> bool {
    use CertificateError as C;
    match error {
        Error::InvalidCertificate(
            C::UnknownIssuer | C::NotValidForName | C::NotValidForNameContext { .. },
        ) => true,
        Error::InvalidCertificate(C::Other(other)) => is_authority(other),
        _ => false,
    }
}

/// Whether the error is that the server's certificate is that of an authority.
pub(super) fn is_authority(error: &OtherError) -> bool {
    error.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

fn is_for(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<ServerCertVerified, Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let named = match common_name(certificate, parsed.subject()) {
        // The common name, which Git's HTTP client uses where there are no other names.
        Some(common) => fits(&common, &name.to_str()),
        None => parsed.verify_is_valid_for_subject_name(name).is_ok(),
    };
    if named {
        Ok(ServerCertVerified::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }
}

/// The last common name of `subject`, of a certificate that has no other names.
fn common_name(certificate: &[u8], subject: &[u8]) -> Option<String> {
    // The object identifiers 2.5.29.17 (subjectAltName) and 2.5.4.3 (commonName), in DER.
    const OTHER_NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];
    const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
    let position =
        |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).rposition(|part| part == wanted);
    if position(certificate, OTHER_NAMES).is_some() {
        return None;
    }
    let value = &subject[position(subject, COMMON_NAME)? + COMMON_NAME.len()..];
    // A type of text, and a length that fits into one byte.
    let (_, length, text) = match value {
        [kind, length, text @ ..] if *length < 128 => (kind, usize::from(*length), text),
        _ => return None,
    };
    String::from_utf8(text.get(..length)?.to_vec()).ok()
}

/// Whether `pattern`, whose first label may be `*`, is the name of `host`.
fn fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest == domain && rest.contains('.')),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_whole_ones() {
        for (pattern, host, expected) in [
            ("git.example.com", "GIT.example.com", true),
            ("git.example.com", "example.com", false),
            ("*.example.com", "git.example.com", true),
            ("*.example.com", "a.git.example.com", false),
            ("*.com", "example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(fits(pattern, host), expected, "{pattern} {host}");
        }
    }
}
