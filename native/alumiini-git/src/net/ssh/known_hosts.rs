//! Which host keys are trusted, from text in the form of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT",
//! decided as OpenSSH does (its hostfile.c and sshconnect.c). Nothing here reads files or a clock.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};
use sha1::Sha1;

use crate::net::ssh_url::DEFAULT_PORT;

/// The host key algorithms that are taken at all. RSA with SHA-1 signatures is not among them, as
/// in OpenSSH since 8.8.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// What known_hosts texts say of one host and port.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    host: String,
    keys: Vec<KeyData>,
    /// For a port that is not 22: keys of the host without its port. OpenSSH accepts such a key,
    /// but does not report another key as changed because of it.
    portless: Vec<KeyData>,
    authorities: Vec<KeyData>,
    revoked: Vec<KeyData>,
}

/// What to think of the key that a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    /// Nothing is known of this host.
    Unknown,
    /// Keys of this host are known, all of other types.
    OtherTypes,
    /// Another key of this type is known.
    Changed,
    Revoked,
    /// A certificate of a trusted authority that is not valid here, and why. The key in it is not
    /// known either.
    BadCertificate(&'static str),
}

impl Trusted {
    /// What `texts` say of `host` (in lower case, an address without brackets) and `port`.
    pub(super) fn find<T: AsRef<str>>(texts: &[T], host: &str, port: u16) -> Trusted {
        let mut trusted = Trusted {
            host: host.to_owned(),
            ..Trusted::default()
        };
        let with_port = format!("[{host}]:{port}");
        for line in texts.iter().flat_map(|text| text.as_ref().lines()) {
            trusted.line(line, &with_port, host, port == DEFAULT_PORT);
        }
        trusted
    }

    /// Lines that cannot be parsed are skipped, as OpenSSH skips them.
    fn line(&mut self, line: &str, with_port: &str, host: &str, bare_is_exact: bool) {
        let mut words = line
            .split([' ', '\t', '\r'])
            .filter(|word| !word.is_empty());
        let Some(mut patterns) = words.next().filter(|word| !word.starts_with('#')) else {
            return;
        };
        let mut marker = None;
        if patterns.starts_with('@') {
            marker = Some(patterns);
            let Some(next) = words.next() else { return };
            patterns = next;
        }
        let exact = matches(patterns, with_port) || (bare_is_exact && matches(patterns, host));
        let bare = !exact && matches(patterns, host);
        if !exact && !bare {
            return;
        }
        let (Some(kind), Some(key)) = (words.next(), words.next()) else {
            return;
        };
        // These are names of signatures. OpenSSH takes them for the type of the key.
        let kind = match kind {
            "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
            other => other,
        };
        let Ok(key) = PublicKey::from_openssh(&format!("{kind} {key}")) else {
            return;
        };
        let key = key.key_data().clone();
        if key.is_other() || key.is_certificate() {
            return;
        }
        match marker {
            None if exact => self.keys.push(key),
            None => self.portless.push(key),
            // An authority counts with and without the port in its pattern, as OpenSSH looks for
            // both names.
            Some("@cert-authority") => self.authorities.push(key),
            // A key that is revoked for one port is not trusted for another.
            Some("@revoked") => self.revoked.push(key),
            Some(_) => {}
        }
    }

    /// The host key algorithms to offer, those of known keys first: a server with several keys then
    /// shows one that is known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let known = |algorithm: &Algorithm| {
            let mut keys = self.keys.iter().chain(&self.portless);
            keys.any(|key| same_type(&key.algorithm(), algorithm))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(known);
        first.extend(rest);
        first
    }

    /// The same for certificates: none where no authority is trusted for this host, since a server
    /// that has a certificate would show it in place of its key.
    pub(super) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() {
            vec![]
        } else {
            ALGORITHMS.to_vec()
        }
    }

    pub(super) fn judge(&self, key: &KeyData) -> Verdict {
        if self.revoked.contains(key) {
            Verdict::Revoked
        } else if self.keys.contains(key) || self.portless.contains(key) {
            Verdict::Known
        } else if self
            .keys
            .iter()
            .any(|known| same_type(&known.algorithm(), &key.algorithm()))
        {
            Verdict::Changed
        } else if self.keys.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::OtherTypes
        }
    }

    /// A certificate is accepted where its authority is trusted for this host, or where the key in
    /// it is known by itself.
    ///
    /// `now`: seconds since 1970.
    pub(super) fn judge_certificate(&self, certificate: &Certificate, now: u64) -> Verdict {
        let key = certificate.public_key();
        let authority = certificate.signature_key();
        if self.revoked.contains(key) || self.revoked.contains(authority) {
            return Verdict::Revoked;
        }
        if !self.authorities.contains(authority) {
            return self.judge(key);
        }
        match (self.fault(certificate, now), self.judge(key)) {
            (None, _) | (_, Verdict::Known) => Verdict::Known,
            (Some(fault), _) => Verdict::BadCertificate(fault),
        }
    }

    /// Why the certificate is not valid here, if it is not: by the rules of OpenSSH's
    /// sshkey_cert_check_host. An empty list of principals is for no host.
    fn fault(&self, certificate: &Certificate, now: u64) -> Option<&'static str> {
        let named = |principal: &String| {
            glob(
                principal.to_ascii_lowercase().as_bytes(),
                self.host.as_bytes(),
            )
        };
        let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
        let algorithm = certificate.signature().algorithm();
        if certificate.cert_type() != CertType::Host {
            Some("is a user's, not a host's")
        } else if now < certificate.valid_after() {
            Some("is not valid yet (or this machine's clock is wrong)")
        } else if now >= certificate.valid_before() {
            Some("has expired (or this machine's clock is wrong)")
        } else if !certificate.valid_principals().iter().any(named) {
            Some("is for another host name")
        } else if certificate.critical_options().iter().next().is_some() {
            Some("has critical options, which are not known for hosts")
        } else if algorithm == (Algorithm::Rsa { hash: None }) {
            Some("is signed with SHA-1")
        } else if certificate.validate_at(now, [&authority]).is_err() {
            Some("has a wrong signature")
        } else {
            None
        }
    }
}

/// RSA keys sign in several ways, and known_hosts says `ssh-rsa` for all of them.
fn same_type(known: &Algorithm, offered: &Algorithm) -> bool {
    known == offered || (known.clone().is_rsa() && offered.clone().is_rsa())
}

/// Whether the first word of a line is for a name in lower case. The word is `|1|salt|hash`, or
/// patterns with commas: one of them has to match, and none that begins with `!`.
fn matches(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return hash_matches(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in patterns.split(',') {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if glob(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
            if negated {
                return false;
            }
            found = true;
        }
    }
    found
}

/// `salt|hash`, both in Base64: the hash is HMAC-SHA1 of the name, with the salt as the key
/// (hostfile.c, host_hash).
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&STANDARD.decode(salt).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&STANDARD.decode(hash).ok()?).is_ok())
}

/// `*` and `?` are the only wildcards (ssh_config(5), "PATTERNS").
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to resume when the text after a star does not match: after the star, one character
    // further in the name.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(b) if *b == b'?' || *b == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, at)) => {
                    star = Some((after, at + 1));
                    p = after;
                    n = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
