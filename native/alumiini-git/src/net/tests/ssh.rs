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
use crate::error::{Error, Kind};
use crate::net::auth::{Login, Proof};

fn with_key(sshd: &Sshd, key: &str) -> Login {
    Login {
        username: None,
        proof: Proof::Key {
            private_key: key.to_owned(),
            passphrase: None,
        },
        known_hosts: Some(sshd.known_hosts()),
    }
}

fn at(url: &str, login: Login) -> Endpoint {
    let url = match RemoteUrl::parse(url.as_bytes()).unwrap().location {
        Location::Network(url) => url,
        other => panic!("{other:?}"),
    };
    Endpoint::new(url, Some(Auth::Ssh(login)), false, Tls::default(), None).unwrap()
}

fn endpoint(sshd: &Sshd, repo: &Repo) -> Endpoint {
    at(&sshd.url(&repo.path()), with_key(sshd, USER_KEY))
}

/// Asks for all refs with `login`.
fn ask(sshd: &Sshd, repo: &Repo, login: Login) -> Result<Vec<RemoteRef>> {
    run(async {
        let net = Net::new();
        refs(&net, &at(&sshd.url(&repo.path()), login), &[]).await
    })
}

fn fails(sshd: &Sshd, repo: &Repo, login: Login, kind: Kind, says: &str) -> Error {
    let error = ask(sshd, repo, login).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(says), "{error}");
    assert_eq!(error.detail["url"], sshd.url(&repo.path()).into());
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
            let shallow = Repo::new();
            let request = FetchRequest {
                depth: Some(1),
                ..want(tip)
            };
            let (outcome, pack) = fetched(&net, &endpoint, &request).await.unwrap();
            shallow.index(&pack, &outcome.shallow);
            assert_eq!(shallow.commits(tip), 1);
            assert_eq!(refs(&net, &endpoint, &["refs/heads/other"]).await.unwrap(), all[2..3]);
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
        if let Proof::Key { passphrase, .. } = &mut login.proof {
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
    let error = fails(&sshd, &repo, wrong, Kind::Auth, "does not accept the key SHA256:");
    let fingerprint = key(ECDSA).fingerprint(HashAlg::Sha256).to_string();
    assert!(error.message.contains(&fingerprint), "{error}");
    assert!(error.message.contains(&format!("{}@127.0.0.1", user())), "{error}");

    let encrypted = with_key(&sshd, ED25519_ENCRYPTED);
    fails(&sshd, &repo, encrypted.clone(), Kind::Auth, "pass its passphrase");
    let proof = Proof::Key {
        private_key: ED25519_ENCRYPTED.into(),
        passphrase: Some("open barley".into()),
    };
    let error = fails(&sshd, &repo, Login { proof, ..encrypted }, Kind::Auth, "does not open");
    assert!(!error.message.contains("barley"));
    fails(&sshd, &repo, with_key(&sshd, "sesame"), Kind::Invalid, "no private key");
    let nobody = Login {
        username: Some("nobody-of-that-name".into()),
        ..with_key(&sshd, USER_KEY)
    };
    fails(&sshd, &repo, nobody, Kind::Auth, "nobody-of-that-name@127.0.0.1");
}

#[test]
fn host_keys() {
    let repo = Repo::with_history();
    let sshd = Sshd::start();
    let with = |known_hosts: &str| Login {
        known_hosts: Some(known_hosts.to_owned()),
        ..with_key(&sshd, USER_KEY)
    };
    let error = fails(&sshd, &repo, with(""), Kind::HostKey, "is not known");
    assert!(
        error.message.contains(error.detail["fingerprint"].as_str().unwrap()),
        "{error}"
    );
    let line = error.detail["line"].as_str().unwrap().to_owned();
    assert!(error.message.contains(&line), "{error}");
    assert_eq!(ask(&sshd, &repo, with(&line)).unwrap().len(), 4);

    // Of several keys, the one that is known is asked for.
    for line in sshd.known_hosts().lines() {
        assert_eq!(ask(&sshd, &repo, with(line)).unwrap().len(), 4);
    }
    let host = format!("[127.0.0.1]:{}", sshd.port());
    let changed = format!("{host} {}\n", public(RSA_PKCS1));
    let error = fails(&sshd, &repo, with(&changed), Kind::HostKey, "in the middle");
    assert!(error.detail["line"].as_str().unwrap().contains("ssh-rsa"));
    let others = format!("{host} {}\n", public(ED25519));
    fails(&sshd, &repo, with(&others), Kind::HostKey, "other types only");
    let revoked = format!("{line}\n@revoked * {}\n", public(ECDSA521));
    let error = fails(&sshd, &repo, with(&revoked), Kind::HostKey, "revoked");
    assert!(!error.detail.contains_key("line"));
}

#[test]
fn a_greeting_needs_no_login() {
    let sshd = Sshd::start();
    let wrong = with_key(&sshd, ECDSA);
    let url = match RemoteUrl::parse(sshd.url("/r".as_ref()).as_bytes()).unwrap().location {
        Location::Network(NetUrl::Ssh(url)) => url,
        other => panic!("{other:?}"),
    };
    let ssh = crate::net::ssh::Ssh::default();
    run(async {
        let greeting = ssh.greet(&url, &wrong, None).await.unwrap();
        assert!(greeting.version.starts_with("SSH-2.0-OpenSSH"), "{greeting:?}");
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
        let with = |known_hosts: String| Login {
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
        assert_eq!(ask(&sshd, &repo, with(trusted + &sshd.known_hosts())).unwrap().len(), 4);
    }
}

#[test]
fn an_agent_signs() {
    let repo = Repo::with_history();
    let sshd = Sshd::with(
        "AcceptEnv GIT_PROTOCOL\n",
        &format!("{}\n{}", public(ED25519), public(RSA)),
    );
    let with = |socket: PathBuf| Login {
        proof: Proof::Agent { socket: Some(socket) },
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
    fails(&sshd, &repo, with(Agent::start(&[]).socket()), Kind::Auth, "ssh-add");
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
        let endpoint = at(&sshd.url(path.as_ref()).replace(' ', "%20"), with_key(&sshd, USER_KEY));
        let error = run(async { refs(&Net::new(), &endpoint, &[]).await }).unwrap_err();
        assert_eq!(error.kind, Kind::RepoNotFound, "{error}");
        assert!(
            error.message.contains("does not appear to be a git repository"),
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

#[test]
fn a_connection_serves_all_repositories_and_is_made_anew_when_it_is_cut() {
    let (one, two) = (Repo::with_history(), Repo::with_history());
    let sshd = Sshd::start();
    run(async {
        let net = Net::new();
        let (one, two) = (endpoint(&sshd, &one), endpoint(&sshd, &two));
        for _ in 0..5 {
            for endpoint in [&one, &two] {
                assert_eq!(refs(&net, endpoint, &[]).await.unwrap().len(), 4);
            }
        }
        assert_eq!(sshd.relay.accepted(), 1);
        for cuts in 1..4 {
            sshd.relay.cut();
            assert_eq!(refs(&net, &one, &[]).await.unwrap().len(), 4);
            assert_eq!(refs(&net, &two, &[]).await.unwrap().len(), 4);
            assert_eq!(sshd.relay.accepted(), 1 + cuts);
        }
        // Other credentials, another connection.
        let other = at(&sshd.url(&Repo::new().path()), with_key(&sshd, ECDSA));
        assert_eq!(refs(&net, &other, &[]).await.unwrap_err().kind, Kind::Auth);
        assert_eq!(sshd.relay.accepted(), 5);
    });
}

/// With the sessions that sshd allows unless told otherwise, and with fewer than we would use.
#[test]
fn many_at_once_share_few_connections() {
    let repo = Repo::with_history();
    for (max_sessions, connections) in [(10, 8), (2, 32), (1, 32)] {
        let config = format!("AcceptEnv GIT_PROTOCOL\nMaxSessions {max_sessions}\n");
        let sshd = Sshd::with(&config, &public(USER_KEY));
        let (net, endpoint) = (Net::new(), endpoint(&sshd, &repo));
        run(async {
            let all = (0..30).map(|_| refs(&net, &endpoint, &["refs/heads/"]));
            for refs in futures_util::future::join_all(all).await {
                assert_eq!(refs.unwrap().len(), 2);
            }
        });
        assert!(
            sshd.relay.accepted() <= connections,
            "{max_sessions}: {}",
            sshd.relay.accepted()
        );
    }
}

/// Who fails to log in does so once for all that wait.
#[test]
fn a_failure_is_shared_by_those_who_wait_for_it() {
    let sshd = Sshd::start();
    let repos: Vec<Repo> = (0..6).map(|_| Repo::new()).collect();
    let net = Net::new();
    run(async {
        let endpoints: Vec<Endpoint> = repos
            .iter()
            .map(|repo| at(&sshd.url(&repo.path()), with_key(&sshd, ECDSA)))
            .collect();
        let all = endpoints.iter().map(|endpoint| refs(&net, endpoint, &[]));
        for (repo, result) in repos.iter().zip(futures_util::future::join_all(all).await) {
            let error = result.unwrap_err();
            assert_eq!(error.kind, Kind::Auth);
            assert!(error.message.contains(&sshd.url(&repo.path())), "{error}");
        }
    });
    assert_eq!(sshd.relay.accepted(), 1);
}

#[test]
fn a_dropped_request_closes_its_session_and_nothing_else() {
    let repo = Repo::with_history();
    let fifos = tempfile::tempdir().unwrap();
    let at = |name: &str| fifos.path().join(name);
    for name in ["started", "ended"] {
        assert!(Command::new("mkfifo").arg(at(name)).status().unwrap().success());
    }
    let dir = fifos.path().display();
    // A server that says nothing while `hang` is there, and tells when its input ends.
    let command = format!(
        r#"command="if [ -e {dir}/hang ]; then echo x > {dir}/started; cat > {dir}/input; echo x > {dir}/ended; else eval $SSH_ORIGINAL_COMMAND; fi" "#
    );
    let sshd = Sshd::with("AcceptEnv GIT_PROTOCOL\n", &(command + &public(USER_KEY)));
    let (net, endpoint) = (Net::new(), endpoint(&sshd, &repo));
    run(async {
        assert_eq!(refs(&net, &endpoint, &[]).await.unwrap().len(), 4);
        std::fs::write(at("hang"), "").unwrap();
        for _ in 0..10 {
            let wait = |name: &str| {
                let path = at(name);
                tokio::task::spawn_blocking(move || std::fs::read(path).unwrap())
            };
            let started = wait("started");
            tokio::select! {
                biased;
                _ = started => {}
                answered = refs(&net, &endpoint, &[]) => panic!("{answered:?}"),
            }
            wait("ended").await.unwrap();
        }
        std::fs::remove_file(at("hang")).unwrap();
        assert_eq!(refs(&net, &endpoint, &[]).await.unwrap().len(), 4);
    });
    assert_eq!(sshd.relay.accepted(), 1);
}

#[test]
fn a_pack_that_nobody_takes_holds_up_nobody() {
    let repo = Repo::new();
    // Nothing that compresses, and more than any buffer on the way.
    let mut noise = vec![0; 24 << 20];
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut noise)
        .unwrap();
    std::fs::write(repo.path().join("noise"), noise).unwrap();
    repo.git(&["add", "."]);
    repo.git(&["commit", "-q", "-m", "noise"]);
    let sshd = Sshd::start();
    let (net, endpoint) = (Net::new(), endpoint(&sshd, &repo));
    run(async {
        let request = want(repo.rev("HEAD"));
        let (sink, mut source) = mpsc::channel::<Bytes>(1);
        let mut pack = Box::pin(fetch(&net, &endpoint, &request, &sink));
        let polls = async {
            let mut bytes = source.recv().await.unwrap().len();
            for _ in 0..20 {
                assert_eq!(refs(&net, &endpoint, &["refs/heads/"]).await.unwrap().len(), 1);
            }
            while bytes < 20 << 20 {
                bytes += source.recv().await.unwrap().len();
            }
            source
        };
        let source = tokio::select! {
            source = polls => source,
            done = &mut pack => panic!("{done:?}"),
        };
        // Given up in the middle, its connection serves again.
        drop((pack, source));
        assert_eq!(refs(&net, &endpoint, &["refs/heads/"]).await.unwrap().len(), 1);
        assert_eq!(fetched(&net, &endpoint, &request).await.unwrap().0.shallow, []);
    });
    assert!(sshd.relay.accepted() <= 3, "{}", sshd.relay.accepted());
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
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(banner.as_bytes()).unwrap();
            let mut seen = [0; 4096];
            let mut read = 0;
            // Our banner; and what opens a key exchange, which is long.
            while read < if banner.is_empty() { 8 } else { 200 } {
                read += stream.read(&mut seen).unwrap();
            }
            begun.send(()).unwrap();
            while stream.read(&mut seen).unwrap_or_else(|e| panic!("still open: {e}")) > 0 {}
        });
        run(async {
            let net = Net::new();
            let proof = Proof::Key {
                private_key: USER_KEY.into(),
                passphrase: None,
            };
            let endpoint = at(
                &url,
                Login {
                    username: None,
                    proof,
                    known_hosts: Some(String::new()),
                },
            );
            tokio::select! {
                _ = reached => {}
                answered = refs(&net, &endpoint, &[]) => panic!("{answered:?}"),
            }
            tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
        });
    }
}

#[test]
fn what_is_no_ssh_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let proof = Proof::Key {
        private_key: USER_KEY.into(),
        passphrase: None,
    };
    let login = Login {
        username: None,
        proof,
        known_hosts: Some(String::new()),
    };
    let net = Net::new();
    let error = run(refs(&net, &at(&format!("ssh://{address}/r"), login.clone()), &[])).unwrap_err();
    assert!(matches!(error.kind, Kind::Protocol | Kind::Network), "{error}");
    let error = run(refs(&net, &at("ssh://127.0.0.1:1/r", login), &[])).unwrap_err();
    assert_eq!(error.kind, Kind::Network, "{error}");
    assert_eq!(error.hint, Some(crate::error::Hint::Unreachable));
}

/// `cargo test -- --ignored --nocapture warm_polls`: what a poll costs on a warm connection, beside `git ls-remote`.
#[test]
#[ignore = "a measurement"]
fn warm_polls() {
    let repo = Repo::with_history();
    let sshd = Sshd::start();
    let key = sshd.at("user_key");
    private_file(&key, USER_KEY);
    let known = sshd.at("known_hosts");
    std::fs::write(&known, sshd.known_hosts()).unwrap();
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let git = (0..15).map(|_| {
        let start = std::time::Instant::now();
        let ssh = format!(
            "ssh -i {} -o UserKnownHostsFile={} -o BatchMode=yes",
            key.display(),
            known.display()
        );
        let mut command = super::repo::command(&repo.path());
        command
            .env("GIT_SSH_COMMAND", ssh)
            .args(["ls-remote", &sshd.url(&repo.path()), "refs/heads/main"]);
        assert!(command.output().unwrap().status.success());
        start.elapsed()
    });
    let git = median(git.collect());
    let delay = Duration::from_millis(25);
    let far = Relay::start(sshd.port(), delay);
    for (port, what) in [(sshd.port(), "loopback"), (far.port, "50 ms of round trip added")] {
        let url = sshd
            .url(&repo.path())
            .replace(&sshd.port().to_string(), &port.to_string());
        let login = Login {
            known_hosts: Some(sshd.known_hosts().replace(&sshd.port().to_string(), &port.to_string())),
            ..with_key(&sshd, USER_KEY)
        };
        let endpoint = at(&url, login);
        let ours = run(async {
            let net = Net::new();
            let mut times = vec![];
            for _ in 0..40 {
                let start = std::time::Instant::now();
                refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap();
                times.push(start.elapsed());
                // As between two polls: what was sent meanwhile arrives.
                tokio::time::sleep(2 * delay).await;
            }
            times.split_off(5)
        });
        let ours = median(ours);
        println!(
            "{what}: {ours:?}; git ls-remote on loopback: {git:?}; ratio {:.3}",
            ours.as_secs_f64() / git.as_secs_f64()
        );
    }
}
