//! SSH against a real sshd, and `git` as the oracle.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use russh::keys::HashAlg;

use super::repo::Repo;
use super::sshd::*;
use super::*;
use crate::error::{Error, Key, Kind};
use crate::net::auth::{SshCredential, SshLogin};

pub(super) fn with_key(sshd: &Sshd, key: &str) -> SshLogin {
    SshLogin {
        username: None,
        proof: SshCredential::Key {
            private_key: key.to_owned(),
            passphrase: None,
        },
        known_hosts: Some(sshd.known_hosts()),
    }
}

pub(super) fn at(url: &str, login: SshLogin) -> Endpoint {
    let url = match RemoteUrl::parse(url.as_bytes()).unwrap().location {
        Location::Network(url) => url,
        other => panic!("{other:?}"),
    };
    let login = Some(Auth::Ssh(login));
    Endpoint::new(
        url,
        login,
        false,
        Tls::default(),
        None,
        std::sync::Arc::default(),
    )
    .unwrap()
}

pub(super) fn endpoint(sshd: &Sshd, repo: &Repo) -> Endpoint {
    at(&sshd.url(&repo.path()), with_key(sshd, USER_KEY))
}

/// Asks for all refs with `login`.
fn ask(sshd: &Sshd, repo: &Repo, login: SshLogin) -> Result<Vec<RemoteRef>> {
    run(async {
        let net = Net::new();
        refs(&net, &at(&sshd.url(&repo.path()), login), &[]).await
    })
}

fn fails(sshd: &Sshd, repo: &Repo, login: SshLogin, kind: Kind, says: &str) -> Error {
    let error = ask(sshd, repo, login).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(says), "{error}");
    assert_eq!(error.detail[&Key::Url], sshd.url(&repo.path()).into());
    error
}

#[test]
fn refs_and_packs_in_both_versions() {
    let repo = Repo::with_history();
    for config in ["AcceptEnv GIT_PROTOCOL\n", ""] {
        let sshd = Sshd::with(config, &public(USER_KEY));
        let endpoint = endpoint(&sshd, &repo);
        run(async {
            let net = Net::new();
            let all = refs(&net, &endpoint, &[]).await.unwrap();
            assert_eq!(all.len(), 4);
            assert_eq!(all[0].oid, repo.rev("main"));
            assert_eq!(all[3].peeled, Some(repo.rev("v2^{commit}")));
            let tip = repo.rev("main");
            let full = Repo::new();
            let (_, pack) = fetched(&net, &endpoint, &want(tip)).await.unwrap();
            full.index(&pack, &[]);
            assert_eq!(full.commits(tip), 4);
            // With an answer to each of several haves.
            let part = Repo::new();
            let haves = vec![repo.rev("other"), repo.rev("main~3")];
            let (_, pack) = fetched(&net, &endpoint, &want(haves[0])).await.unwrap();
            part.index(&pack, &[]);
            let (_, pack) = fetched(&net, &endpoint, &FetchRequest { haves, ..want(tip) })
                .await
                .unwrap();
            part.index(&pack, &[]);
            assert_eq!(part.commits(tip), 4);
            let shallow = Repo::new();
            let request = FetchRequest {
                depth: Some(1),
                ..want(tip)
            };
            let (outcome, pack) = fetched(&net, &endpoint, &request).await.unwrap();
            shallow.index(&pack, &outcome.shallow);
            assert_eq!(shallow.commits(tip), 1);
            assert_eq!(
                refs(&net, &endpoint, &["refs/heads/other"]).await.unwrap(),
                all[2..3]
            );
        });
    }
}

#[test]
fn an_empty_repository_has_no_refs() {
    let repo = Repo::new();
    for config in ["AcceptEnv GIT_PROTOCOL\n", ""] {
        let sshd = Sshd::with(config, &public(USER_KEY));
        assert_eq!(ask(&sshd, &repo, with_key(&sshd, USER_KEY)).unwrap(), []);
    }
}

#[test]
fn every_type_of_key_logs_in() {
    let repo = Repo::with_history();
    let keys = [
        ED25519,
        ED25519_PKCS8,
        ED25519_ENCRYPTED,
        ECDSA,
        ECDSA384,
        ECDSA521,
        RSA,
        RSA_PKCS1,
        RSA_PKCS1_ENCRYPTED,
    ];
    let authorized: Vec<String> = keys.iter().map(|key| public(key)).collect();
    let sshd = Sshd::with("", &authorized.join("\n"));
    for key in keys {
        let mut login = with_key(&sshd, key);
        if let SshCredential::Key { passphrase, .. } = &mut login.proof {
            *passphrase = Some("sesame".into());
        }
        ask(&sshd, &repo, login).unwrap_or_else(|e| panic!("{}: {e}", public(key)));
    }
}

#[test]
fn who_is_not_let_in_learns_why() {
    let repo = Repo::with_history();
    let sshd = Sshd::start();
    let wrong = with_key(&sshd, ECDSA);
    let error = fails(
        &sshd,
        &repo,
        wrong,
        Kind::Auth,
        "does not accept the key SHA256:",
    );
    let fingerprint = key(ECDSA).fingerprint(HashAlg::Sha256).to_string();
    assert!(error.message.contains(&fingerprint), "{error}");
    assert!(
        error.message.contains(&format!("{}@127.0.0.1", user())),
        "{error}"
    );

    let encrypted = with_key(&sshd, ED25519_ENCRYPTED);
    fails(
        &sshd,
        &repo,
        encrypted.clone(),
        Kind::Auth,
        "pass its passphrase",
    );
    let proof = SshCredential::Key {
        private_key: ED25519_ENCRYPTED.into(),
        passphrase: Some("open barley".into()),
    };
    let error = fails(
        &sshd,
        &repo,
        SshLogin { proof, ..encrypted },
        Kind::Auth,
        "does not open",
    );
    assert!(!error.message.contains("barley"));
    fails(
        &sshd,
        &repo,
        with_key(&sshd, "sesame"),
        Kind::Invalid,
        "no private key",
    );
    let nobody = SshLogin {
        username: Some("nobody-of-that-name".into()),
        ..with_key(&sshd, USER_KEY)
    };
    fails(
        &sshd,
        &repo,
        nobody,
        Kind::Auth,
        "nobody-of-that-name@127.0.0.1",
    );
}

#[test]
fn host_keys() {
    let repo = Repo::with_history();
    let sshd = Sshd::start();
    let with = |known_hosts: &str| SshLogin {
        known_hosts: Some(known_hosts.to_owned()),
        ..with_key(&sshd, USER_KEY)
    };
    let error = fails(&sshd, &repo, with(""), Kind::HostKey, "is not known");
    assert!(
        error
            .message
            .contains(error.detail[&Key::Fingerprint].as_str().unwrap()),
        "{error}"
    );
    let line = error.detail[&Key::Line].as_str().unwrap().to_owned();
    assert!(error.message.contains(&line), "{error}");
    assert_eq!(ask(&sshd, &repo, with(&line)).unwrap().len(), 4);

    // Of several keys, the one that is known is asked for.
    for line in sshd.known_hosts().lines() {
        assert_eq!(ask(&sshd, &repo, with(line)).unwrap().len(), 4);
    }
    let host = format!("[127.0.0.1]:{}", sshd.port());
    let changed = format!("{host} {}\n", public(RSA_PKCS1));
    let error = fails(&sshd, &repo, with(&changed), Kind::HostKey, "in the middle");
    assert!(
        error.detail[&Key::Line]
            .as_str()
            .unwrap()
            .contains("ssh-rsa")
    );
    let others = format!("{host} {}\n", public(ED25519));
    fails(
        &sshd,
        &repo,
        with(&others),
        Kind::HostKey,
        "other types only",
    );
    let revoked = format!("{line}\n@revoked * {}\n", public(ECDSA521));
    let error = fails(&sshd, &repo, with(&revoked), Kind::HostKey, "revoked");
    assert!(!error.detail.contains_key(&Key::Line));
}

#[test]
fn a_greeting_needs_no_login() {
    let sshd = Sshd::start();
    let wrong = with_key(&sshd, ECDSA);
    let endpoint = at(&sshd.url("/r".as_ref()), wrong);
    let NetUrl::Ssh(url) = &endpoint.url else {
        panic!("{endpoint:?}")
    };
    let ssh = crate::net::ssh::Ssh::new(Default::default());
    run(async {
        let greeting = ssh.greet(url, &endpoint).await.unwrap();
        assert!(
            greeting.version.starts_with("SSH-2.0-OpenSSH"),
            "{greeting:?}"
        );
        assert_eq!(greeting.key_type, "ecdsa-sha2-nistp521");
        assert_eq!(
            greeting.fingerprint,
            key(ECDSA521).fingerprint(HashAlg::Sha256).to_string()
        );
        assert!(!greeting.certificate);
    });
}

#[test]
fn host_certificates() {
    let repo = Repo::with_history();
    let dir = tempfile::tempdir().unwrap();
    let (ca, host) = (dir.path().join("ca"), dir.path().join("host_ecdsa.pub"));
    private_file(&ca, ECDSA384);
    std::fs::write(&host, public(ECDSA521)).unwrap();
    for (name, good) in [("127.0.0.1", true), ("git.example.com", false)] {
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "host", "-h", "-n", name, "-s"])
            .arg(&ca)
            .arg(&host);
        assert!(sign.status().unwrap().success());
        let certificate = dir.path().join("host_ecdsa-cert.pub");
        let sshd = Sshd::with(
            &format!("HostCertificate {}\n", certificate.display()),
            &public(USER_KEY),
        );
        let with = |known_hosts: String| SshLogin {
            known_hosts: Some(known_hosts),
            ..with_key(&sshd, USER_KEY)
        };
        let trusted = format!("@cert-authority [127.0.0.1]:* {}\n", public(ECDSA384));
        if good {
            assert_eq!(ask(&sshd, &repo, with(trusted.clone())).unwrap().len(), 4);
            let revoked = format!("{trusted}@revoked * {}\n", public(ECDSA384));
            fails(&sshd, &repo, with(revoked), Kind::HostKey, "revoked");
        } else {
            fails(
                &sshd,
                &repo,
                with(trusted.clone()),
                Kind::HostKey,
                "is for another host name",
            );
        }
        let elsewhere = format!("@cert-authority h {}\n", public(ECDSA384));
        fails(&sshd, &repo, with(elsewhere), Kind::HostKey, "is not known");
        // A key that is known will do, whatever the certificate.
        assert_eq!(
            ask(&sshd, &repo, with(trusted + &sshd.known_hosts()))
                .unwrap()
                .len(),
            4
        );
    }
}

#[test]
fn an_agent_signs() {
    let repo = Repo::with_history();
    let sshd = Sshd::with(
        "AcceptEnv GIT_PROTOCOL\n",
        &format!("{}\n{}", public(ED25519), public(RSA)),
    );
    let with = |socket: PathBuf| SshLogin {
        proof: SshCredential::Agent {
            socket: Some(socket),
        },
        ..with_key(&sshd, "")
    };
    let agent = Agent::start(&[ECDSA, ECDSA384, ED25519]);
    assert_eq!(ask(&sshd, &repo, with(agent.socket())).unwrap().len(), 4);
    let rsa = Agent::start(&[RSA]);
    assert_eq!(ask(&sshd, &repo, with(rsa.socket())).unwrap().len(), 4);
    let others = Agent::start(&[ECDSA, ECDSA384]);
    fails(
        &sshd,
        &repo,
        with(others.socket()),
        Kind::Auth,
        "does not accept any of the keys",
    );
    fails(
        &sshd,
        &repo,
        with(Agent::start(&[]).socket()),
        Kind::Auth,
        "ssh-add",
    );
    fails(
        &sshd,
        &repo,
        with("/nowhere/agent".into()),
        Kind::Auth,
        "no ssh-agent at /nowhere/agent",
    );
}

#[test]
fn no_such_repository() {
    let sshd = Sshd::start();
    for path in ["/nowhere/it's here!.git", "/etc"] {
        let endpoint = at(
            &sshd.url(path.as_ref()).replace(' ', "%20"),
            with_key(&sshd, USER_KEY),
        );
        let error = run(async { refs(&Net::new(), &endpoint, &[]).await }).unwrap_err();
        assert_eq!(error.kind, Kind::RepoNotFound, "{error}");
        assert!(
            error
                .message
                .contains("does not appear to be a git repository"),
            "{error}"
        );
        assert!(error.message.contains(&format!("'{path}'")), "{error}");
    }
    let sshd = Sshd::with("ForceCommand exit 127\n", &public(USER_KEY));
    fails(
        &sshd,
        &Repo::new(),
        with_key(&sshd, USER_KEY),
        Kind::Unsupported,
        "does not run git-upload-pack",
    );
}

/// In the middle of a key exchange, when russh looks at nothing but the network.
#[test]
fn a_dropped_handshake_closes_its_socket_at_once() {
    for banner in ["", "SSH-2.0-nothing\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ssh://git@{}/r", listener.local_addr().unwrap());
        let (begun, reached) = tokio::sync::oneshot::channel();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            stream.write_all(banner.as_bytes()).unwrap();
            let mut seen = [0; 4096];
            let mut read = 0;
            // Our banner; and what opens a key exchange, which is long.
            while read < if banner.is_empty() { 8 } else { 200 } {
                read += stream.read(&mut seen).unwrap();
            }
            begun.send(()).unwrap();
            while stream
                .read(&mut seen)
                .unwrap_or_else(|e| panic!("still open: {e}"))
                > 0
            {}
        });
        run(async {
            let net = Net::new();
            let proof = SshCredential::Key {
                private_key: USER_KEY.into(),
                passphrase: None,
            };
            let endpoint = at(
                &url,
                SshLogin {
                    username: None,
                    proof,
                    known_hosts: Some(String::new()),
                },
            );
            tokio::select! {
                _ = reached => {}
                answered = refs(&net, &endpoint, &[]) => panic!("{answered:?}"),
            }
            tokio::task::spawn_blocking(|| server.join().unwrap())
                .await
                .unwrap();
        });
    }
}

#[test]
fn what_is_no_ssh_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream
                .unwrap()
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let proof = SshCredential::Key {
        private_key: USER_KEY.into(),
        passphrase: None,
    };
    let login = SshLogin {
        username: None,
        proof,
        known_hosts: Some(String::new()),
    };
    let net = Net::new();
    let error = run(refs(
        &net,
        &at(&format!("ssh://{address}/r"), login.clone()),
        &[],
    ))
    .unwrap_err();
    assert!(
        matches!(error.kind, Kind::Protocol | Kind::Network),
        "{error}"
    );
    let error = run(refs(&net, &at("ssh://127.0.0.1:1/r", login), &[])).unwrap_err();
    assert_eq!(error.kind, Kind::Network, "{error}");
    assert_eq!(error.hint, Some(crate::error::Hint::Unreachable));
}
