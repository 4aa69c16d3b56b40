//! An ssh-agent, which signs with keys that never leave it (draft-miller-ssh-agent).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

use crate::error::{Error, Kind, Result};
use crate::net::git::pkt_line::sanitised;

use super::handler::Checker;

/// Servers end a connection after so many keys that they do not know (sshd_config(5),
/// MaxAuthTries).
const MAX_IDENTITIES: usize = 6;

/// Why a server did not let a user in.
pub(super) enum Refusal {
    /// Not one of the keys with these fingerprints was taken.
    Keys(Vec<String>),
    /// The server ended the connection after the last of these fingerprints.
    Ended(Vec<String>),
    /// Something is missing on this side, such as an agent.
    Ours(Error),
}

/// Shows the server the agent's identities, in the agent's order, until it takes one. `rsa`: how
/// RSA keys sign.
///
/// `auth`: there is no agent, it has no identities, or the server takes none of them.
#[cfg(unix)]
pub(super) async fn authenticate(
    handle: &mut Handle<Checker>,
    socket: Option<&Path>,
    user: &str,
    rsa: Option<HashAlg>,
) -> Result<(), Refusal> {
    let path = match socket {
        Some(path) => path.to_owned(),
        None => std::env::var_os("SSH_AUTH_SOCK")
            .filter(|path| !path.is_empty())
            .map(Into::into)
            .ok_or_else(|| {
                ours(
                    "there is no ssh-agent: SSH_AUTH_SOCK is not set where the worker runs; \
                      start one, or pass its socket",
                )
            })?,
    };
    let named = path.display();
    let mut agent = AgentClient::connect_uds(&path).await.map_err(|e| {
        let why = match e {
            russh::keys::Error::IO(e) => e.to_string(),
            _ => "it does not answer".to_owned(),
        };
        ours(&format!(
            "there is no ssh-agent at {named}: {why}; start one, or pass its socket"
        ))
    })?;
    // For keys that are bound to destinations (ssh-add -h). An agent that does not know this
    // extension refuses it, which does no harm.
    if let Some(binding) = handle.agent_session_binding().cloned() {
        let _ = agent.bind_session(&binding, false).await;
    }
    let identities = agent.request_identities().await.map_err(|_| {
        ours(&format!(
            "the ssh-agent at {named} does not list its keys: check that it is one, and not locked"
        ))
    })?;
    if identities.is_empty() {
        return Err(ours(&format!(
            "the ssh-agent at {named} holds no keys for this server: add one with ssh-add"
        )));
    }
    let mut tried = vec![];
    for identity in identities.into_iter().take(MAX_IDENTITIES) {
        let key = identity.public_key();
        let hash = match key.algorithm() {
            Algorithm::Rsa { .. } => rsa.or(Some(HashAlg::Sha256)),
            _ => None,
        };
        let shown = match &identity {
            AgentIdentity::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            AgentIdentity::Certificate { certificate, .. } => with_certificate(certificate, user),
        };
        let result = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                handle
                    .authenticate_publickey_with(user, key, hash, &mut agent)
                    .await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                handle
                    .authenticate_certificate_with(user, certificate, hash, &mut agent)
                    .await
            }
        };
        tried.push(shown);
        match result {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure { .. }) if handle.is_closed() => {
                return Err(Refusal::Ended(tried));
            }
            // An agent that will not sign with this key (a token that is not plugged in, a user who
            // says no) may with the next.
            Ok(AuthResult::Failure { .. }) | Err(_) => {}
        }
    }
    Err(Refusal::Keys(tried))
}

/// Names a key that was offered with a certificate, and what in the certificate may be why the
/// server refused it. The server itself gives no reason.
#[cfg(unix)]
fn with_certificate(certificate: &Certificate, user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let principals = certificate.valid_principals();
    let why = if certificate.cert_type() != CertType::User {
        ", which is a host's".to_owned()
    } else if now < certificate.valid_after() {
        ", which is not valid yet (or this machine's clock is wrong)".to_owned()
    } else if now >= certificate.valid_before() {
        ", which has expired (or this machine's clock is wrong)".to_owned()
    } else if principals.iter().any(|principal| principal == user) {
        String::new()
    } else {
        // A server may have a list of other principals for this user.
        format!(
            ", which is for {}",
            sanitised(principals.join(", ").as_bytes())
        )
    };
    format!(
        "{} with a certificate of the authority {}{why}",
        certificate.public_key().fingerprint(HashAlg::Sha256),
        certificate.signature_key().fingerprint(HashAlg::Sha256),
    )
}

#[cfg(not(unix))]
pub(super) async fn authenticate(
    _: &mut Handle<Checker>,
    _: Option<&Path>,
    _: &str,
    _: Option<HashAlg>,
) -> Result<(), Refusal> {
    Err(Refusal::Ours(Error::new(
        Kind::Unsupported,
        "an ssh-agent is not supported on this system: pass the key",
    )))
}

fn ours(why: &str) -> Refusal {
    Refusal::Ours(Error::new(Kind::Auth, why))
}
