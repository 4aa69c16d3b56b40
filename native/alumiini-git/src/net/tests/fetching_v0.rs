//! What servers of protocol v0 send, and leave out.

use super::fetching::serving;
use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::Kind;
use crate::net::git::fetch::UNSHALLOW;

/// Azure DevOps answers so whoever does not take up its offer.
#[test]
fn a_v0_server_may_insist_on_multi_ack() {
    let repo = Repo::with_history();
    for offered in ["multi_ack_detailed", "multi_ack"] {
        let dir = repo.path();
        let server = Server::start(move |seen| {
            let request = String::from_utf8_lossy(&seen.body).into_owned();
            let words = request.lines().next().unwrap_or_default().split(' ');
            if seen.is_post() && !words.into_iter().any(|word| word == offered) {
                return Reply::new(
                    400,
                    "text/plain",
                    "TF401041: The request must use multi_ack.",
                );
            }
            let hidden = if offered == "multi_ack" {
                "multi_ack_detailed"
            } else {
                " "
            };
            without(&[hidden], git_answer(&dir, seen, false))
        });
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            let (old, tip) = (repo.rev("main~2"), repo.rev("main"));
            let clone = Repo::new();
            let (_, pack) = fetched(&net, &endpoint, &want(old)).await.unwrap();
            clone.index(&pack, &[]);
            // Several in common: `ACK … common`, `ACK … ready` and `ACK …`, or `ACK … continue` and
            // `ACK …`.
            let haves = vec![old, repo.rev("main~3"), repo.rev("v2^{commit}")];
            let (_, pack) = fetched(&net, &endpoint, &FetchRequest { haves, ..want(tip) })
                .await
                .unwrap();
            clone.index(&pack, &[]);
            assert_eq!(clone.commits(tip), 4);
        });
    }
}

/// The answer with `capabilities` no longer offered.
fn without(capabilities: &[&str], mut reply: Reply) -> Reply {
    let Some(end) = reply
        .body
        .windows(2)
        .position(|pair| pair == b"\n0")
        .filter(|_| reply.status == 200)
    else {
        return reply;
    };
    // As long as before, since it is in a pkt-line.
    let mut first = String::from_utf8_lossy(&reply.body[end..]).into_owned();
    if let Some((line, _)) = first.split_once("agent=") {
        let mut line = line.to_owned();
        for capability in capabilities {
            let hidden = "x".repeat(capability.len());
            for before in [" ", "\0"] {
                line = line.replace(
                    &format!("{before}{capability} "),
                    &format!("{before}{hidden} "),
                );
            }
        }
        first.replace_range(..line.len(), &line);
        reply.body.splice(end.., first.into_bytes());
    }
    reply
}

/// As Git: what is not offered is not asked for, and what comes is a whole pack.
#[test]
fn a_v0_server_may_lack_anything() {
    let repo = Repo::with_history();
    let side_bands = ["side-band", "side-band-64k"];
    let acks = ["multi_ack", "multi_ack_detailed", "no-done"];
    for lacking in [
        &["side-band-64k"][..],
        &side_bands,
        &["ofs-delta"],
        &["thin-pack"],
        &["no-progress"],
        &["shallow"],
        &acks,
        &[
            &side_bands[..],
            &acks,
            &["ofs-delta", "thin-pack", "no-progress", "shallow"],
        ]
        .concat(),
    ] {
        let (dir, owned) = (
            repo.path(),
            lacking
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>(),
        );
        let server = Server::start(move |seen| {
            let owned: Vec<&str> = owned.iter().map(String::as_str).collect();
            match seen.is_post() {
                true => git_answer(&dir, seen, false),
                false => without(&owned, git_answer(&dir, seen, false)),
            }
        });
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            let (old, tip) = (repo.rev("main~2"), repo.rev("main"));
            let clone = Repo::new();
            for request in [
                want(old),
                FetchRequest {
                    haves: vec![repo.rev("main~3"), old],
                    ..want(tip)
                },
            ] {
                let (_, pack) = fetched(&net, &endpoint, &request).await.unwrap();
                clone.index(&pack, &[]);
            }
            assert_eq!(clone.commits(tip), 4, "{lacking:?}");
            let shallow = FetchRequest {
                depth: Some(1),
                ..want(tip)
            };
            let result = fetched(&net, &endpoint, &shallow).await;
            if lacking.contains(&"shallow") {
                assert_eq!(result.unwrap_err().kind, Kind::Unsupported);
            } else {
                let (outcome, pack) = result.unwrap();
                let clone = Repo::new();
                clone.index(&pack, &outcome.shallow);
                assert_eq!(clone.commits(tip), 1);
            }
        });
        for seen in server.seen().iter().filter(|seen| seen.is_post()) {
            let body = String::from_utf8_lossy(&seen.body);
            let first = body.lines().next().unwrap();
            assert!(
                !first.split(' ').any(|word| lacking.contains(&word)),
                "{first}"
            );
        }
    }
}

/// Of version 3, and cut where only the pack's own checksum can tell.
#[test]
fn a_pack_without_side_bands_is_taken_as_git_takes_it() {
    use sha1::{Digest, Sha1};
    let repo = Repo::with_history();
    for (version, cut) in [(2, 0), (3, 0), (2, 1), (3, 30)] {
        let dir = repo.path();
        let server = Server::start(move |seen| {
            let mut reply = git_answer(&dir, seen, false);
            if !seen.is_post() {
                return without(&["side-band", "side-band-64k"], reply);
            }
            let start = reply
                .body
                .windows(4)
                .position(|four| four == b"PACK")
                .unwrap();
            let end = reply.body.len() - 20;
            reply.body[start + 7] = version;
            let sum = Sha1::digest(&reply.body[start..end]);
            reply.body[end..].copy_from_slice(&sum);
            reply.body.truncate(end + 20 - cut);
            reply
        });
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        let tip = repo.rev("main");
        let result = run(fetched(&net, &endpoint, &want(tip)));
        if cut > 0 {
            let error = result.unwrap_err();
            assert_eq!(error.kind, Kind::Network, "{error}");
            continue;
        }
        let (_, pack) = result.unwrap();
        assert_eq!(pack[..8], *b"PACK\0\0\0\x02");
        let clone = Repo::new();
        clone.index(&pack, &[]);
        assert_eq!(clone.commits(tip), 4);
    }
}

/// The history of a repository that is shallow itself ends where that says.
#[test]
fn a_shallow_repository_is_cloned_as_git_clones_it() {
    for v2 in [true, false] {
        let origin = Repo::with_history();
        let mirror = Repo::new();
        let url = format!("file://{}", origin.path().display());
        mirror.git(&["pull", "-q", "--depth", "2", &url, "main"]);
        let (tip, boundary) = (origin.rev("main"), origin.rev("main~1"));
        let server = serving(&mirror, v2);
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            for (depth, shallow, commits) in [
                (None, boundary, 2),
                (Some(1), tip, 1),
                (Some(2), boundary, 2),
                (Some(10), boundary, 2),
                (Some(UNSHALLOW), boundary, 2),
            ] {
                assert_eq!(
                    refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap()[0].oid,
                    tip
                );
                let clone = Repo::new();
                let request = FetchRequest { depth, ..want(tip) };
                let (outcome, pack) = fetched(&net, &endpoint, &request).await.unwrap();
                assert_eq!(
                    (&outcome.shallow, &outcome.unshallow),
                    (&vec![shallow], &vec![]),
                    "{v2} {depth:?}"
                );
                clone.index(&pack, &outcome.shallow);
                assert_eq!(clone.commits(tip), commits);
            }
            let clone = Repo::new();
            let (outcome, pack) = fetched(&net, &endpoint, &want(tip)).await.unwrap();
            clone.index(&pack, &outcome.shallow);
            // What comes later, and then all that came before.
            let new = origin.commit(5);
            mirror.git(&["pull", "-q", &url, "main"]);
            refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap();
            let mut update = FetchRequest {
                depth: Some(UNSHALLOW),
                haves: vec![tip, boundary],
                shallow: outcome.shallow,
                ..want(new)
            };
            let (outcome, pack) = fetched(&net, &endpoint, &update).await.unwrap();
            assert_eq!(outcome.unshallow, []);
            clone.index(&pack, &[boundary]);
            assert_eq!(clone.commits(new), 3);
            mirror.git(&["fetch", "-q", "--unshallow", &url]);
            refs(&net, &endpoint, &["refs/heads/main"]).await.unwrap();
            update.haves.insert(0, new);
            let (outcome, pack) = fetched(&net, &endpoint, &update).await.unwrap();
            assert_eq!(
                (&outcome.shallow, &outcome.unshallow),
                (&vec![], &vec![boundary])
            );
            clone.index(&pack, &[]);
            assert_eq!(clone.commits(new), 5);
        });
    }
}
