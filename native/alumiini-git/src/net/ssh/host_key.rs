//! Whether a server's host key is accepted, and the error where it is not.

use std::io::Read;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::error::{Error, Key, Kind, Result};
use crate::net::auth::SshLogin;
use crate::net::ssh_url::DEFAULT_PORT;

use super::known_hosts::{Trusted, Verdict};

/// The most of a known_hosts file that is read.
const MAX_FILE: u64 = 16 << 20;

/// The keys that `login` trusts for `host` and `port`: those in its own text, or else in the user's
/// and the system's files, as ssh(1) reads them.
pub(super) async fn trusted(login: &SshLogin, host: &str, port: u16) -> Result<Trusted> {
    let (given, host) = (login.known_hosts.clone(), host.to_owned());
    let find = move || {
        let texts = given.map_or_else(
            || {
                let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
                files(home.map(PathBuf::from), "/etc/ssh".into())
            },
            |given| vec![given],
        );
        Trusted::find(&texts, &host, port)
    };
    // This reads files, and computes a hash for each hashed line.
    tokio::task::spawn_blocking(find)
        .await
        .map_err(|_| Error::new(Kind::Internal, "known_hosts cannot be read"))
}

/// The texts of the user's and the system's files that exist and can be read.
fn files(home: Option<PathBuf>, system: PathBuf) -> Vec<String> {
    let user = home.map(|home| home.join(".ssh"));
    let of_user = user
        .into_iter()
        .flat_map(|dir| [dir.join("known_hosts"), dir.join("known_hosts2")]);
    let of_system = [
        system.join("ssh_known_hosts"),
        system.join("ssh_known_hosts2"),
    ];
    let read = |path: PathBuf| {
        let mut bytes = vec![];
        let file = std::fs::File::open(path).ok()?;
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    of_user.chain(of_system).filter_map(read).collect()
}

/// A server, for `probe`: what it calls itself, and the key by which it was recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// `SSH-2.0-OpenSSH_9.2p1`. Without control characters, and no longer than 255 bytes.
    pub(crate) version: String,
    /// `ssh-ed25519`; for a certificate, of the key in it.
    pub(crate) key_type: String,
    /// `SHA256:…`
    pub(crate) fingerprint: String,
    /// Whether the server showed a certificate.
    pub(crate) certificate: bool,
}

/// `host_key`, unless the key is trusted.
pub(super) fn check(
    shown_key: &PublicKeyOrCertificate,
    trusted: &Trusted,
    (host, port): (&str, u16),
    login: &SshLogin,
    shown: &str,
) -> Result<Greeting> {
    let key = shown_key.public_key();
    let verdict = match shown_key.certificate() {
        None => trusted.judge(key.key_data()),
        Some(certificate) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            trusted.judge_certificate(certificate, now.map_or(0, |now| now.as_secs()))
        }
    };
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let key_type = key.algorithm().to_string();
    let line = line(&key, host, port)?;
    let file = match login.known_hosts {
        Some(_) => "the known_hosts of these credentials",
        None => "~/.ssh/known_hosts",
    };
    let add = format!(
        "if it is the server's, by what whoever runs it says, add this line to {file}: {line}"
    );
    let sentence = match verdict {
        Verdict::Known => {
            return Ok(Greeting {
                version: String::new(),
                key_type,
                fingerprint,
                certificate: shown_key.certificate().is_some(),
            });
        }
        Verdict::Unknown => {
            format!("the host key of {shown} is not known: {key_type} {fingerprint}; {add}")
        }
        Verdict::OtherTypes => format!(
            "the host key of {shown} is not known: {key_type} {fingerprint}; of this host, \
             known_hosts has keys of other types only, which the server did not show; {add}"
        ),
        Verdict::Changed => format!(
            "the host key of {shown} has changed: it is {key_type} {fingerprint} now, and \
             known_hosts has another one of that type. Someone may be in the middle. Only if the \
             change is known to be right, remove the old line from {file} and add this one: {line}"
        ),
        Verdict::Revoked => format!(
            "the host key of {shown}, {key_type} {fingerprint}, or the authority behind it is \
             revoked in known_hosts: this is not a server to trust"
        ),
        Verdict::BadCertificate(why) => format!(
            "the host certificate of {shown} {why}: it must be renewed there; its key is \
             {key_type} {fingerprint}"
        ),
    };
    let error = Error::new(Kind::HostKey, sentence)
        .with(Key::Fingerprint, fingerprint)
        .with(Key::Url, shown);
    Err(match verdict {
        Verdict::Revoked | Verdict::BadCertificate(_) => error,
        _ => error.with(Key::Line, line),
    })
}

/// A line for known_hosts: `[host]:port ssh-ed25519 AAAA…`, or `host …` for port 22.
fn line(key: &PublicKey, host: &str, port: u16) -> Result<String> {
    let key = PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .map_err(|_| {
            Error::new(
                Kind::Protocol,
                "the server shows a host key that cannot be read",
            )
        })?;
    Ok(match port {
        DEFAULT_PORT => format!("{host} {}", key.trim_end()),
        port => format!("[{host}]:{port} {}", key.trim_end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_ssh_reads() {
        let (home, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = |home: Option<&std::path::Path>| {
            files(home.map(PathBuf::from), system.path().to_owned())
        };
        assert!(read(Some(home.path())).is_empty());
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(home.path().join(".ssh/known_hosts"), "one").unwrap();
        // Not UTF-8: a comment in it must not cost the rest.
        std::fs::write(home.path().join(".ssh/known_hosts2"), b"# \xff\ntwo").unwrap();
        std::fs::write(system.path().join("ssh_known_hosts"), "three").unwrap();
        assert_eq!(read(Some(home.path())), ["one", "# \u{fffd}\ntwo", "three"]);
        assert_eq!(read(None), ["three"]);
    }
}
