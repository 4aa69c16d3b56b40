//! What is remembered of a server against what that does now: whatever it is, the call ends as
//! Git's would, which remembers nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::Kind;
use crate::net::git::capabilities::{Capabilities, V0, V2};
use crate::net::server_cache;

const RESULT: &str = "application/x-git-upload-pack-result";

/// What a server may answer to a question that is no longer the right one.
fn refusals() -> Vec<Reply> {
    let mut all: Vec<Reply> = [301, 400, 401, 403, 404, 405, 410, 500, 501, 502, 503]
        .map(Reply::status)
        .to_vec();
    all.extend([
        Reply::nothing(),
        Reply::new(200, "text/html", "<html>"),
        Reply::new(200, RESULT, "hmm, no"),
        Reply::new(200, RESULT, ""),
        Reply::new(200, RESULT, "0013ERR no service"),
        Reply {
            raw: Some(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            ..Reply::status(200)
        },
        // v0's word for a request that it cannot read.
        Reply::new(200, RESULT, "0008NAK\n"),
    ]);
    all
}

/// A switch that a test turns, and the server's closure reads.
fn switch() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    (on.clone(), on)
}

async fn is_as_ever(net: &Net, endpoint: &Endpoint, repo: &Repo, what: &dyn std::fmt::Debug) {
    let refs = refs(net, endpoint, &[]).await;
    assert_eq!(refs.map(|refs| refs.len()), Ok(4), "{what:?}");
    brings_a_pack(net, endpoint, repo, what).await;
}

async fn brings_a_pack(net: &Net, endpoint: &Endpoint, repo: &Repo, what: &dyn std::fmt::Debug) {
    let fetched = fetched(net, endpoint, &want(repo.rev("main"))).await;
    assert!(
        fetched.is_ok_and(|(_, pack)| pack.starts_with(b"PACK")),
        "{what:?}"
    );
}

#[test]
fn a_server_that_spoke_v2_and_speaks_v0() {
    let repo = Repo::with_history();
    for fetch_first in [false, true] {
        for refusal in refusals() {
            let (dir, refuse) = (repo.path(), refusal.clone());
            let (back, is_back) = switch();
            let server = Server::start(move |seen| match is_back.load(Ordering::SeqCst) {
                true if seen.is_post() && seen.header("git-protocol").is_some() => refuse.clone(),
                is_back => git_answer(&dir, seen, !is_back),
            });
            let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
            run(async {
                is_as_ever(&net, &endpoint, &repo, &"before").await;
                back.store(true, Ordering::SeqCst);
                if fetch_first {
                    brings_a_pack(&net, &endpoint, &repo, &refusal).await;
                }
                is_as_ever(&net, &endpoint, &repo, &refusal).await;
            });
        }
    }
}

#[test]
fn a_server_that_spoke_v0_and_speaks_v2() {
    let repo = Repo::with_history();
    for refusal in refusals() {
        let (dir, refuse) = (repo.path(), refusal.clone());
        let (forth, is_forth) = switch();
        let server = Server::start(move |seen| match is_forth.load(Ordering::SeqCst) {
            true if seen.is_post() && seen.header("git-protocol").is_none() => refuse.clone(),
            is_forth => git_answer(&dir, seen, is_forth),
        });
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            is_as_ever(&net, &endpoint, &repo, &"before").await;
            forth.store(true, Ordering::SeqCst);
            brings_a_pack(&net, &endpoint, &repo, &refusal).await;
            is_as_ever(&net, &endpoint, &repo, &refusal).await;
        });
    }
}

/// Asked anew, and no more than once; what is found then is remembered.
#[test]
fn it_is_asked_anew_once() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let (back, is_back) = switch();
    let server = Server::start(move |seen| match is_back.load(Ordering::SeqCst) {
        true if seen.header("git-protocol").is_some() && seen.is_post() => Reply::status(500),
        is_back => git_answer(&dir, seen, !is_back),
    });
    let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
    run(async {
        refs(&net, &endpoint, &[]).await.unwrap();
        back.store(true, Ordering::SeqCst);
        is_as_ever(&net, &endpoint, &repo, &"v0").await;
    });
    let methods: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.method.clone())
        .collect();
    assert_eq!(methods, ["GET", "POST", "POST", "GET", "POST"]);

    let dead = Server::start(|_| Reply::status(500));
    let (net, endpoint) = (Net::new(), endpoint_of(&dead));
    run(async {
        remember(&net, &endpoint, &dead.url("/r"), v2());
        for requests in [2, 3] {
            assert_eq!(
                refs(&net, &endpoint, &[]).await.unwrap_err().kind,
                Kind::Network
            );
            assert_eq!(dead.asked().len(), requests);
        }
    });
}

/// A server that refused HTTP/2 may have come to speak nothing else.
#[test]
fn a_server_that_wanted_http_1_1() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let server = Server::start(move |seen| match seen.connection {
        0 => Reply {
            raw: Some(b"\0\0\x12\x04\0\0\0\0\0".to_vec()),
            ..Reply::status(200)
        },
        _ => git_answer(&dir, seen, true),
    });
    let (net, endpoint, base) = (Net::new(), endpoint_of(&server), http(&server.url("/r")));
    net.http.learn_http2(&base, false);
    assert!(net.http.is_without_http2(&base));
    run(is_as_ever(&net, &endpoint, &repo, &"HTTP/2"));
    assert!(!net.http.is_without_http2(&base));
}

/// It was there a moment ago: one of the servers behind it has not heard of it yet.
#[test]
fn a_repository_that_is_listed_and_then_not_there_is_asked_for_again() {
    let repo = Repo::with_history();
    for denials in [1, 3, 4] {
        let (dir, posts) = (repo.path(), AtomicUsize::new(0));
        let server = Server::start(move |seen| {
            match seen.is_post() && posts.fetch_add(1, Ordering::SeqCst) < denials {
                true => Reply::status(404),
                false => git_answer(&dir, seen, true),
            }
        });
        let (net, endpoint) = (Net::new(), endpoint_of(&server));
        let refs = run(refs(&net, &endpoint, &[]));
        match denials {
            4 => assert_eq!(refs.unwrap_err().kind, Kind::RepoNotFound),
            _ => assert_eq!(refs.unwrap().len(), 4),
        }
    }
}

/// The URL's own server says so to whoever asks: another request would be one more.
#[test]
fn a_busy_server_is_not_asked_again() {
    let repo = Repo::with_history();
    for (reply, kind) in [
        (Reply::status(429), Kind::RateLimited),
        (Reply::status(503).header("Retry-After", "7"), Kind::Network),
    ] {
        let (dir, posts) = (repo.path(), AtomicUsize::new(0));
        let server = Server::start(move |seen| {
            match seen.is_post() && posts.fetch_add(1, Ordering::SeqCst) == 1 {
                true => reply.clone(),
                false => git_answer(&dir, seen, true),
            }
        });
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            refs(&net, &endpoint, &[]).await.unwrap();
            assert_eq!(refs(&net, &endpoint, &[]).await.unwrap_err().kind, kind);
            refs(&net, &endpoint, &[]).await.unwrap();
        });
        assert_eq!(
            server.asked().len(),
            4,
            "GET and three POSTs: what it speaks is still known"
        );
    }
}

fn endpoint_of(server: &Server) -> Endpoint {
    endpoint(&server.url("/r"))
}

fn v2() -> Capabilities {
    Capabilities::V2(V2 {
        ls_refs: true,
        fetch: true,
        ..V2::default()
    })
}

fn remember(net: &Net, endpoint: &Endpoint, base: &str, capabilities: Capabilities) {
    remember_at(net, endpoint, NetUrl::Http(http(base)), capabilities);
}

fn remember_at(net: &Net, endpoint: &Endpoint, base: NetUrl, capabilities: Capabilities) {
    let server = server_cache::ServerInfo {
        base,
        capabilities,
        until: None,
        v0_too_long: false.into(),
    };
    net.server_cache.insert(endpoint, Arc::new(server));
}

/// The URL led elsewhere once, where by now there is anything at all.
#[test]
fn a_redirect_that_leads_there_no_more() {
    let repo = Repo::with_history();
    let dir = repo.path();
    let server = Server::start(move |seen| git_answer(&dir, seen, true));
    let endpoint = endpoint_of(&server);
    let mut refusals = refusals();
    let busy = Reply::status(429).header("Retry-After", "3600");
    // An empty list, too: what moved on may have left an empty repository behind.
    refusals.extend([busy, Reply::new(200, RESULT, "0000")]);
    for refusal in refusals {
        let refuse = refusal.clone();
        let old = Server::start(move |_| refuse.clone());
        for capabilities in [v2(), Capabilities::V0(V0::default())] {
            let net = Net::new();
            remember(&net, &endpoint, &old.url("/r"), capabilities);
            run(is_as_ever(&net, &endpoint, &repo, &refusal));
        }
        if refusal.body != b"0000" {
            let net = Net::new();
            remember(&net, &endpoint, &old.url("/r"), v2());
            run(brings_a_pack(&net, &endpoint, &repo, &refusal));
        }
    }
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for gone in [
        format!("http://127.0.0.1:{free}/r"),
        "http://nowhere.invalid/r".into(),
        // No TLS there.
        server.url("/r").replace("http:", "https:"),
    ] {
        for fetch_first in [false, true] {
            let net = Net::new();
            remember(&net, &endpoint, &gone, v2());
            run(async {
                if fetch_first {
                    brings_a_pack(&net, &endpoint, &repo, &gone).await;
                }
                is_as_ever(&net, &endpoint, &repo, &gone).await;
            });
        }
    }
}

/// A connection that was kept leads to what was there when it was made.
#[test]
fn a_kept_connection_to_what_is_there_no_more() {
    let repo = Repo::with_history();
    for v2 in [true, false] {
        for refusal in refusals() {
            let (dir, refuse, latest) =
                (repo.path(), refusal.clone(), Arc::new(AtomicUsize::new(0)));
            let limit = Arc::new(AtomicUsize::new(0));
            let (seen_latest, refused) = (latest.clone(), limit.clone());
            let server = Server::start(move |seen| {
                seen_latest.fetch_max(seen.connection, Ordering::SeqCst);
                match seen.connection < refused.load(Ordering::SeqCst) {
                    true => refuse.clone(),
                    false => git_answer(&dir, seen, v2),
                }
            });
            let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
            run(async {
                is_as_ever(&net, &endpoint, &repo, &"before").await;
                limit.store(latest.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..2 {
                    is_as_ever(&net, &endpoint, &repo, &refusal).await;
                }
            });
        }
    }
}

/// As Git, which begins at the URL each time: a redirect for now holds for a fetch that follows the
/// question, a permanent one for minutes.
#[test]
fn a_redirect_is_followed_anew() {
    let repo = Repo::with_history();
    for (status, holds) in [(302, 10), (303, 10), (307, 10), (301, 300), (308, 300)] {
        let dir = repo.path();
        let new = Server::start(move |seen| git_answer(&dir, seen, true));
        let to = new.url("/new/r/info/refs?service=git-upload-pack");
        let old = Server::start(move |_| Reply::status(status).header("Location", &to));
        let (net, endpoint) = (Net::new(), endpoint(&old.url("/r")));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            is_as_ever(&net, &endpoint, &repo, &status).await;
            assert_eq!(old.asked().len(), 1);
            for (passed, asked) in [(holds - 2, 1), (3, 2)] {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(passed)).await;
                tokio::time::resume();
                is_as_ever(&net, &endpoint, &repo, &status).await;
                assert_eq!(old.asked().len(), asked, "{status} after {passed} s more");
            }
        });
    }
}

#[cfg(unix)]
#[test]
fn over_ssh_what_is_remembered_is_doubted_too() {
    use super::{ssh, sshd::*};
    let repo = Repo::with_history();
    for config in ["AcceptEnv GIT_PROTOCOL\n", ""] {
        let sshd = Sshd::with(config, &public(USER_KEY));
        let endpoint = ssh::endpoint(&sshd, &repo);
        for fetch_first in [false, true] {
            for capabilities in [v2(), Capabilities::V0(V0::default())] {
                let net = Net::new();
                let what = format!("{config}{capabilities:?}");
                remember_at(&net, &endpoint, endpoint.url.clone(), capabilities);
                run(async {
                    if fetch_first {
                        brings_a_pack(&net, &endpoint, &repo, &what).await;
                    }
                    is_as_ever(&net, &endpoint, &repo, &what).await;
                });
            }
        }
    }
}
