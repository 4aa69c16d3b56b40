//! Throwaway keys of OpenSSH 9.2 and OpenSSL 3.0 (`golden/keys/`); those that are encrypted, by
//! `sesame`. What they are is what `ssh-keygen -l` said of them.

use super::*;
use russh::keys::HashAlg;

macro_rules! golden {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("golden/keys/", $name)))),*]
    };
}

fn fingerprint(name: &str) -> Option<&'static str> {
    let all = include_str!("golden/keys/fingerprints.txt");
    all.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn shows(name: &str, key: &PrivateKey) {
    if let Some(expected) = fingerprint(name) {
        assert_eq!(
            key.fingerprint(HashAlg::Sha256).to_string(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn every_form() {
    let keys = golden!(
        "ed25519" "ecdsa" "ecdsa384" "ecdsa521" "rsa" "rsa-pkcs1" "ecdsa-sec1" "rsa-pkcs8"
        "ecdsa-pkcs8" "ed25519-pkcs8"
    );
    for (name, text) in keys {
        // A passphrase that nothing needs is no mistake.
        for passphrase in [None, Some("sesame"), Some("")] {
            shows(
                name,
                &decode(text, passphrase).unwrap_or_else(|e| panic!("{name}: {e}")),
            );
        }
        let windows = text.replace('\n', "\r\n");
        shows(name, &decode(&windows, None).unwrap());
        let indented = format!("\u{feff}\n{}", text.trim_end().replace('\n', "\n    "));
        shows(name, &decode(&indented, None).unwrap());
    }
}

#[test]
fn passphrases() {
    for (name, text) in
        golden!("ed25519-enc" "rsa-enc" "rsa-pkcs1-enc" "rsa-pkcs8-enc" "ed25519-pkcs8-enc")
    {
        shows(
            name,
            &decode(text, Some("sesame")).unwrap_or_else(|e| panic!("{name}: {e}")),
        );
        for (passphrase, says) in [
            (None, "is encrypted"),
            (Some(""), "is encrypted"),
            (Some("open barley"), "does not open"),
        ] {
            let error = decode(text, passphrase).unwrap_err();
            assert_eq!(error.kind, Kind::Auth, "{name}: {error}");
            assert!(error.message.contains(says), "{name}: {error}");
            assert!(!error.message.contains("barley"));
        }
    }
}

#[test]
fn what_is_no_private_key_or_not_supported() {
    let [(_, dsa), (_, old), (_, good)] = golden!("dsa" "ecdsa-sec1-enc" "ed25519");
    let cut = &good[..good.len() / 2];
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    for (text, says) in [
        ("", "is empty"),
        (" \n", "is empty"),
        (include_str!("golden/ed25519.pub"), "public key"),
        (include_str!("golden/ecdsa.pub"), "public key"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "public key",
        ),
        ("sesame", "is no private key"),
        (certificate, "is no private key"),
        (dsa, "supported"),
        (
            "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----",
            "DSA",
        ),
        (old, "ssh-keygen -p"),
        (cut, "cannot be read"),
        (
            "-----BEGIN PRIVATE KEY-----\nsesame==\n-----END PRIVATE KEY-----",
            "cannot be read",
        ),
    ] {
        let error = decode(text, Some("sesame")).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(!error.message.contains("sesame"));
    }
}
