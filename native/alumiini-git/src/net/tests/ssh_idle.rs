//! What becomes of SSH connections that nobody uses: kept for the next request, asked for signs of
//! life, and ended.
//!
//! The times are those of production made short, one in each test: what the others govern cannot
//! happen within it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::relay::{Counts, Relay};
use super::repo::Repo;
use super::ssh::{at, endpoint, with_key};
use super::sshd::*;
use super::*;
use crate::net::auth::SshLogin;
use crate::net::ssh::{Limits, Ssh};

fn net(limits: Limits) -> Net {
    Net {
        ssh: Ssh::new(limits),
        ..Net::new()
    }
}

async fn poll(net: &Net, endpoint: &Endpoint) {
    assert_eq!(
        refs(net, endpoint, &["refs/heads/"]).await.unwrap().len(),
        2
    );
}

/// A session ends after its answer, and only then its connection is idle: with two of them, it may
/// be in the other order.
async fn poll_to_the_end(net: &Net, endpoint: &Endpoint) {
    poll(net, endpoint).await;
    while !net.ssh.is_idle() {
        tokio::task::yield_now().await;
    }
}

/// Where other tasks go on: the relay's own wait blocks.
async fn wait(relay: &Relay, what: &str, reached: impl Fn(&Counts) -> bool) {
    tokio::task::block_in_place(|| relay.wait(what, reached));
}

#[test]
fn a_peer_keeps_its_connection_while_it_gives_signs_of_life_and_loses_it_when_it_falls_silent() {
    let (repo, sshd) = (Repo::with_history(), Sshd::start());
    let net = net(Limits {
        keepalive: Duration::from_millis(500),
        ..Limits::default()
    });
    run(async {
        let endpoint = endpoint(&sshd, &repo);
        poll(&net, &endpoint).await;
        let polled = sshd.relay.counts().answers;
        // What is left of the poll is a few pieces. Unheard, the fourth question would have been
        // the last.
        wait(&sshd.relay, "the server is asked, and answers", |counts| {
            counts.answers >= polled + 12
        })
        .await;
        poll(&net, &endpoint).await;
        assert_eq!((sshd.relay.accepted(), sshd.relay.counts().open), (1, 1));

        // When it is idle: a session that does not close, and a channel that does not open, have
        // times of their own.
        let polled = sshd.relay.counts().answers;
        wait(
            &sshd.relay,
            "the server is asked again, and answers",
            |counts| counts.answers >= polled + 12,
        )
        .await;
        sshd.relay.silence();
        wait(&sshd.relay, "the silent connection ends", |counts| {
            counts.open == 0
        })
        .await;
        poll(&net, &endpoint).await;
        assert_eq!((sshd.relay.accepted(), sshd.relay.counts().open), (2, 1));
    });
}

#[test]
fn a_connection_ends_some_time_after_its_last_use() {
    let (repo, sshd) = (Repo::with_history(), Sshd::start());
    let idle = Duration::from_secs(1);
    let net = net(Limits {
        idle,
        look: Duration::from_millis(50),
        ..Limits::default()
    });
    run(async {
        let endpoint = endpoint(&sshd, &repo);
        let begun = Instant::now();
        let mut last = begun;
        while begun.elapsed() < 2 * idle {
            last = Instant::now();
            poll(&net, &endpoint).await;
        }
        wait(&sshd.relay, "the idle connection ends", |counts| {
            counts.open == 0
        })
        .await;
        assert!(last.elapsed() >= idle, "{:?}", last.elapsed());
        assert_eq!(sshd.relay.accepted(), 1);
        poll(&net, &endpoint).await;
        assert_eq!(sshd.relay.accepted(), 2);
        // Also where nothing came after it.
        wait(&sshd.relay, "the next idle connection ends", |counts| {
            counts.open == 0
        })
        .await;
    });
}

/// Also where it has been at it for longer than others have been idle.
#[test]
fn a_connection_at_work_is_not_idle() {
    let repo = Repo::with_history();
    let fifos = tempfile::tempdir().unwrap();
    let at_fifo = |name: &str| fifos.path().join(name);
    for name in ["started", "go"] {
        assert!(
            Command::new("mkfifo")
                .arg(at_fifo(name))
                .status()
                .unwrap()
                .success()
        );
    }
    let dir = fifos.path().display();
    // A server that waits for a word while `hang` is there.
    let hang = format!("echo x > {dir}/started; cat {dir}/go");
    let command =
        format!(r#"command="if [ -e {dir}/hang ]; then {hang}; fi; eval $SSH_ORIGINAL_COMMAND" "#);
    let authorized = format!("{command}{}\n{}", public(ECDSA), public(USER_KEY));
    let sshd = Sshd::with("AcceptEnv GIT_PROTOCOL\n", &authorized);
    let net = net(Limits {
        idle: Duration::from_secs(3),
        look: Duration::from_millis(50),
        ..Limits::default()
    });
    // In threads that nobody waits for: where there is no other side, the test ends all the same.
    let on_fifo = |name: &str, act: fn(PathBuf) -> bool| {
        let (done, result) = tokio::sync::oneshot::channel();
        let path = at_fifo(name);
        std::thread::spawn(move || done.send(act(path)));
        async {
            assert!(
                tokio::time::timeout(Duration::from_secs(30), result)
                    .await
                    .unwrap()
                    .unwrap()
            )
        }
    };
    run(async {
        let url = sshd.url(&repo.path());
        let (slow, quick) = (at(&url, with_key(&sshd, ECDSA)), endpoint(&sshd, &repo));
        // So that what follows takes one session.
        poll(&net, &slow).await;
        fs::write(at_fifo("hang"), "").unwrap();
        let beside = async {
            on_fifo("started", |path| fs::read(path).is_ok()).await;
            let before = sshd.relay.accepted();
            poll(&net, &quick).await;
            assert_eq!(sshd.relay.accepted(), before + 1);
            wait(&sshd.relay, "the idle connection ends", |counts| {
                counts.open == 1
            })
            .await;
            fs::remove_file(at_fifo("hang")).unwrap();
            on_fifo("go", |path| fs::write(path, "").is_ok()).await;
        };
        tokio::join!(poll(&net, &slow), beside);
        // It has been kept, for it was used a moment ago.
        let before = sshd.relay.accepted();
        poll(&net, &slow).await;
        assert_eq!(sshd.relay.accepted(), before);
        wait(&sshd.relay, "the other one ends, too", |counts| {
            counts.open == 0
        })
        .await;
    });
}

#[test]
fn of_too_many_idle_connections_those_that_were_used_last_are_kept() {
    let (repo, sshd) = (Repo::with_history(), Sshd::start());
    let net = net(Limits {
        max_idle: 2,
        look: Duration::from_millis(50),
        ..Limits::default()
    });
    run(async {
        // Who trusts something else gets a connection of its own.
        let endpoints: Vec<Endpoint> = (0..5)
            .map(|n| {
                let known_hosts = Some(format!("# {n}\n{}", sshd.known_hosts()));
                let login = SshLogin {
                    known_hosts,
                    ..with_key(&sshd, USER_KEY)
                };
                at(&sshd.url(&repo.path()), login)
            })
            .collect();
        for endpoint in &endpoints {
            poll_to_the_end(&net, endpoint).await;
        }
        assert_eq!(sshd.relay.accepted(), 5);
        wait(&sshd.relay, "all but two end", |counts| counts.open == 2).await;
        for last in [4, 3] {
            poll_to_the_end(&net, &endpoints[last]).await;
        }
        assert_eq!((sshd.relay.accepted(), sshd.relay.counts().open), (5, 2));
        poll_to_the_end(&net, &endpoints[0]).await;
        assert_eq!(sshd.relay.accepted(), 6);
        wait(&sshd.relay, "the one used longest ago ends", |counts| {
            counts.open == 2
        })
        .await;
        poll_to_the_end(&net, &endpoints[3]).await;
        assert_eq!(sshd.relay.accepted(), 6);
        poll_to_the_end(&net, &endpoints[4]).await;
        assert_eq!(sshd.relay.accepted(), 7);
    });
}
