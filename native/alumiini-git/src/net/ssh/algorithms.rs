//! The algorithms that are offered to a server, in order of preference: those that OpenSSH's client
//! offers by default, as far as russh has them (it has neither sntrup761 nor UMAC). The first one
//! that the server has, too, is used.

use russh::{AlgorithmKind, Preferred, cipher, compression, kex, mac};

use super::known_hosts::Trusted;

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
    // These are no algorithms. They announce extensions of the protocol.
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

/// In the order of their speed with ring. CBC is left out.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// SHA-1 is last. As a MAC it is still safe, and some old servers have nothing else.
const MACS: &[mac::Name] = &[
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
    mac::HMAC_SHA1_ETM,
    mac::HMAC_SHA1,
];

pub(super) fn preferred(trusted: &Trusted) -> Preferred {
    Preferred {
        kex: KEX.into(),
        key: trusted.algorithms().into(),
        host_key_certificates: trusted.certificate_algorithms().into(),
        cipher: CIPHERS.into(),
        mac: MACS.into(),
        // Packs are compressed already.
        compression: (&[compression::NONE]).into(),
    }
}

/// A kind of algorithm in words.
pub(super) fn what(kind: &AlgorithmKind) -> &'static str {
    match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key algorithm",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    }
}

/// The names in a server's list of key exchanges that are key exchanges: extensions are announced
/// there, too.
pub(super) fn real(theirs: &[String]) -> Vec<&str> {
    let marks = ["ext-info-", "kex-strict-"];
    let names = theirs.iter().map(String::as_str);
    names
        .filter(|name| !marks.iter().any(|mark| name.starts_with(mark)))
        .collect()
}
