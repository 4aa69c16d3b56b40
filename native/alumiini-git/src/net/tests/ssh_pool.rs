//! What SSH connections share, and what ends them.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use super::relay::Relay;
use super::repo::Repo;
use super::ssh::{at, endpoint, with_key};
use super::sshd::*;
use super::*;
use crate::error::Kind;
use crate::net::auth::SshLogin;

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
        assert!(
            Command::new("mkfifo")
                .arg(at(name))
                .status()
                .unwrap()
                .success()
        );
    }
    let dir = fifos.path().display();
    // A server that says nothing while `hang` is there, and tells when its input ends.
    let hang = format!("echo x > {dir}/started; cat > {dir}/input; echo x > {dir}/ended");
    let command = format!(
        r#"command="if [ -e {dir}/hang ]; then {hang}; else eval $SSH_ORIGINAL_COMMAND; fi" "#
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
                assert_eq!(
                    refs(&net, &endpoint, &["refs/heads/"]).await.unwrap().len(),
                    1
                );
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
        assert_eq!(
            refs(&net, &endpoint, &["refs/heads/"]).await.unwrap().len(),
            1
        );
        assert_eq!(
            fetched(&net, &endpoint, &request).await.unwrap().0.shallow,
            []
        );
    });
    assert!(sshd.relay.accepted() <= 3, "{}", sshd.relay.accepted());
}

/// `cargo test -- --ignored --nocapture warm_polls`: what a poll costs on a warm connection, beside
/// `git ls-remote`.
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
        command.env("GIT_SSH_COMMAND", ssh).args([
            "ls-remote",
            &sshd.url(&repo.path()),
            "refs/heads/main",
        ]);
        assert!(command.output().unwrap().status.success());
        start.elapsed()
    });
    let git = median(git.collect());
    let delay = Duration::from_millis(25);
    let far = Relay::start(sshd.port(), delay);
    for (port, what) in [
        (sshd.port(), "loopback"),
        (far.port, "50 ms of round trip added"),
    ] {
        let url = sshd
            .url(&repo.path())
            .replace(&sshd.port().to_string(), &port.to_string());
        let login = SshLogin {
            known_hosts: Some(
                sshd.known_hosts()
                    .replace(&sshd.port().to_string(), &port.to_string()),
            ),
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

/// Unasked where that is short, and asked where it is long: as Git's own trace of what it says has
/// it.
#[test]
fn few_refs_are_listened_to_and_many_are_asked_for() {
    let repo = Repo::with_history();
    let config = "AcceptEnv GIT_PROTOCOL\nSetEnv HOME={dir} GIT_TRACE_PACKET={dir}/trace\n";
    let sshd = Sshd::with(config, &public(USER_KEY));
    let (net, endpoint) = (Net::new(), endpoint(&sshd, &repo));
    let asked = || {
        let trace = std::fs::read_to_string(sshd.at("trace")).unwrap();
        trace.matches("upload-pack< command=ls-refs").count()
    };
    let main = || async {
        let refs = refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap();
        refs.iter().map(|found| found.oid).collect::<Vec<_>>()
    };
    run(async {
        assert_eq!(main().await, [repo.rev("main")]);
        assert_eq!(asked(), 1);
        for n in 5..8 {
            repo.commit(n);
            assert_eq!(main().await, [repo.rev("main")]);
        }
        assert_eq!(asked(), 1);
        let tags = refs(&net, &endpoint, &["refs/tags/"]).await.unwrap();
        assert_eq!(tags[0].peeled, Some(repo.rev("v2^{commit}")));

        for n in 0..100 {
            repo.git(&["branch", &format!("topic/{n}")]);
        }
        for n in 8..11 {
            repo.commit(n);
            assert_eq!(main().await, [repo.rev("main")]);
            assert_eq!(asked(), n as usize - 6);
        }
        assert_eq!(sshd.relay.accepted(), 1);
    });
}

/// Whoever answers v2 only, whatever comes of v0, is asked in v2.
#[test]
fn a_server_without_v0_is_asked() {
    let repo = Repo::with_history();
    let refuses = concat!(
        r#"ForceCommand [ -n "$GIT_PROTOCOL" ] || { echo only v2 is spoken here; exit; }; "#,
        r#"eval "$SSH_ORIGINAL_COMMAND""#
    );
    for config in [
        format!("AcceptEnv GIT_PROTOCOL\n{refuses}\n"),
        "SetEnv HOME={dir} GIT_PROTOCOL=version=2\n".into(),
    ] {
        let sshd = Sshd::with(&config, &public(USER_KEY));
        let (net, endpoint) = (Net::new(), endpoint(&sshd, &repo));
        run(async {
            for n in 20..23 {
                repo.commit(n);
                let found = refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap();
                assert_eq!(found[0].oid, repo.rev("main"), "{config}");
                let known = net.server_cache.get(&endpoint).unwrap();
                assert_eq!(
                    known.v0_too_long.load(std::sync::atomic::Ordering::Relaxed),
                    n > 20,
                    "{config}"
                );
            }
            assert_eq!(sshd.relay.accepted(), 1);
        });
        // The same commits again would be none.
        repo.git(&["reset", "--hard", "-q", "HEAD~3"]);
    }
}
