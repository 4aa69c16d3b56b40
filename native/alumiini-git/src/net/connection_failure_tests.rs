use super::*;

#[test]
fn certificates_say_what_is_wrong_with_them() {
    for (certificate, says) in [
        (CertificateError::Expired, "has expired"),
        (CertificateError::UnknownIssuer, "SSL_CERT_FILE"),
        (CertificateError::NotValidForName, "another host name"),
    ] {
        // As it arrives: rustls inside an io::Error, inside others.
        let error = io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(
            certificate,
        )));
        let (kind, sentence) = handshake(find(&error).unwrap(), "https://h/r");
        assert_eq!(kind, Kind::Certificate);
        assert!(sentence.contains(says), "{sentence}");
    }
    let other = rustls::Error::General("no".into());
    assert_eq!(handshake(&other, "https://h/r").0, Kind::Network);
}
