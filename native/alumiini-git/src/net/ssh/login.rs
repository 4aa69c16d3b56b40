//! How a user logs in: with a key, or with an agent that holds keys.

use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};

use super::agent::{self, Refusal};
use super::handler::Checker;
use super::keys;
use super::peer::Target;
use crate::error::{Error, Kind, Result};
use crate::net::auth::SshCredential;

/// bcrypt, which guards keys in OpenSSH's form, is slow by design.
pub(super) async fn decode(private_key: &str, passphrase: Option<&str>) -> Result<PrivateKey> {
    let (private_key, passphrase) = (private_key.to_owned(), passphrase.map(str::to_owned));
    tokio::task::spawn_blocking(move || keys::decode(&private_key, passphrase.as_deref()))
        .await
        .map_err(|_| Error::new(Kind::Internal, "the private key cannot be decoded"))?
}

pub(super) async fn login(
    handle: &mut Handle<Checker>,
    target: &Target,
    key: Option<PrivateKey>,
) -> Result<(), Refusal> {
    let rsa_key = key.as_ref().is_none_or(|key| key.algorithm().is_rsa());
    let rsa = if rsa_key {
        match handle.best_supported_rsa_hash().await {
            // A server that does not list its signature algorithms takes SHA-256 all the same,
            // unless it is older than RFC 8332.
            Ok(None) => Some(HashAlg::Sha256),
            Ok(Some(hash)) => hash,
            Err(_) => return Err(Refusal::Ended(vec![])),
        }
    } else {
        None
    };
    let Some(key) = key else {
        let socket = match &target.login.proof {
            SshCredential::Agent { socket } => socket.as_deref(),
            SshCredential::Key { .. } => None,
        };
        return agent::authenticate(handle, socket, &target.user, rsa).await;
    };
    let tried = vec![key.fingerprint(HashAlg::Sha256).to_string()];
    if rsa_key && rsa.is_none() {
        let sentence = "its server takes RSA keys with SHA-1 signatures only, which are not safe: \
                        use an ed25519 key";
        return Err(Refusal::Ours(Error::new(Kind::Unsupported, sentence)));
    }
    let key = Arc::new(key);
    // A server may list algorithms that it does not accept: sshd lists both hashes even where its
    // configuration allows one.
    let hashes: &[Option<HashAlg>] = match rsa {
        Some(HashAlg::Sha512) => &[Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
        Some(_) => &[Some(HashAlg::Sha256), Some(HashAlg::Sha512)],
        None => &[None],
    };
    for hash in hashes {
        let key = PrivateKeyWithHashAlg::new(key.clone(), *hash);
        match handle.authenticate_publickey(&target.user, key).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                partial_success: true,
                ..
            }) => {
                let sentence = "its server takes the key and asks for more than a key, such as a \
                                one-time code, which is not supported";
                return Err(Refusal::Ours(Error::new(Kind::Auth, sentence)));
            }
            Ok(AuthResult::Failure { .. }) if !handle.is_closed() => {}
            Ok(_) | Err(_) => return Err(Refusal::Ended(tried)),
        }
    }
    Err(Refusal::Keys(tried))
}
