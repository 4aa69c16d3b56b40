//! Private keys in the forms that are in use: OpenSSH's own, PEM (PKCS#1, PKCS#8, SEC1) and
//! PuTTY's, encrypted or not.

use russh::keys::{Algorithm, Error as KeyError, PrivateKey, ssh_key};

use crate::error::{Error, Kind, Result};
use crate::net::pem::tidied;

/// The private key in `text`.
///
/// `auth`: it is encrypted, and the passphrase is missing or wrong. `invalid`: it cannot be read,
/// or is of a kind that is not supported. No error repeats any part of the key or the passphrase.
/// It is slow for an encrypted key (bcrypt), so call it on a blocking thread.
pub(super) fn decode(text: &str, passphrase: Option<&str>) -> Result<PrivateKey> {
    let text = tidied(text);
    let text = text.trim();
    if let Some(why) = no_private_key(text) {
        return Err(invalid(why));
    }
    let encrypted = is_encrypted(text)?;
    let passphrase = passphrase.filter(|passphrase| !passphrase.is_empty());
    if encrypted == Some(true) && passphrase.is_none() {
        return Err(no_passphrase());
    }
    // With a passphrase, russh expects PKCS#8 to be encrypted.
    let given = passphrase.filter(|_| encrypted != Some(false));
    let key = russh::keys::decode_secret_key(text, given)
        .map_err(|e| failed(&e, encrypted == Some(true)))?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        _ => Err(unsupported()),
    }
}

fn no_private_key(text: &str) -> Option<&'static str> {
    let public = ["ssh-", "ecdsa-", "sk-", "---- BEGIN SSH2 PUBLIC KEY"];
    if text.is_empty() {
        Some("is empty")
    } else if public.iter().any(|start| text.starts_with(start)) || text.contains("PUBLIC KEY-----")
    {
        Some("is a public key: pass the private one, which is in the file without .pub")
    } else if text.contains("-----BEGIN DSA PRIVATE KEY-----") {
        Some("is a DSA key, which SSH servers no longer take: make an ed25519 one")
    } else if !text.contains("PRIVATE KEY-----") && !text.starts_with("PuTTY-User-Key-File-") {
        Some(
            "is no private key: it should begin with -----BEGIN OPENSSH PRIVATE KEY----- or \
             another such line",
        )
    } else {
        None
    }
}

/// Whether a key in PEM is encrypted. `None` for forms that only their decoder can tell.
fn is_encrypted(text: &str) -> Result<Option<bool>> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Ok(Some(true));
    }
    if text.contains("\nProc-Type: 4,ENCRYPTED") {
        // Of these, russh reads the form that ssh-keygen and openssl wrote for RSA: AES-128.
        let readable = text.contains("-----BEGIN RSA PRIVATE KEY-----")
            && text.contains("\nDEK-Info: AES-128-CBC,");
        return if readable {
            Ok(Some(true))
        } else {
            Err(invalid(
                "is encrypted in an old way that is not supported: rewrite it with `ssh-keygen -p \
                 -f FILE`",
            ))
        };
    }
    let inside = [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "PuTTY-User-Key-File-",
    ];
    Ok((!inside.iter().any(|form| text.contains(form))).then_some(false))
}

/// The decoder's own words may quote what it read, so none of them are passed on.
fn failed(error: &KeyError, encrypted: bool) -> Error {
    match error {
        KeyError::KeyIsEncrypted | KeyError::SshKey(ssh_key::Error::Encrypted) => no_passphrase(),
        KeyError::SshKey(ssh_key::Error::Crypto) => wrong_passphrase(),
        KeyError::SshKey(
            ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. },
        )
        | KeyError::UnsupportedKeyType { .. }
        | KeyError::UnknownAlgorithm(_) => unsupported(),
        // With PEM, a wrong passphrase gives bytes that are no key, and no other sign.
        other if encrypted && !other.to_string().contains("nsupported") => wrong_passphrase(),
        _ => invalid(
            "cannot be read: it is damaged or incomplete, or of a form that is not supported",
        ),
    }
}

fn no_passphrase() -> Error {
    Error::new(
        Kind::Auth,
        "the private key is encrypted: pass its passphrase too",
    )
}

fn wrong_passphrase() -> Error {
    Error::new(
        Kind::Auth,
        "the passphrase does not open the private key: check that it is this key's",
    )
}

fn unsupported() -> Error {
    invalid(
        "is of a type or encrypted in a way that is not supported: ed25519, ecdsa (P-256, P-384, \
         P-521) and rsa are",
    )
}

fn invalid(why: &str) -> Error {
    Error::new(Kind::Invalid, format!("`private_key` {why}"))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
