use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::Kind;
use crate::net::git::fetch::{UNSHALLOW, is_denied};

fn serving(repo: &Repo, v2: bool) -> Server {
    let dir = repo.path();
    Server::start(move |seen| git_answer(&dir, seen, v2))
}

#[test]
fn refs_are_what_git_says() {
    let repo = Repo::with_history();
    for v2 in [true, false] {
        let server = serving(&repo, v2);
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            let all = refs(&net, &endpoint, &[]).await.unwrap();
            let names: Vec<_> = all
                .iter()
                .map(|r| String::from_utf8_lossy(&r.name).into_owned())
                .collect();
            assert_eq!(
                names,
                [
                    "HEAD",
                    "refs/heads/main",
                    "refs/heads/other",
                    "refs/tags/v2"
                ]
            );
            assert_eq!(all[0].oid, repo.rev("main"));
            assert_eq!(
                all[0].symref_target.as_deref(),
                Some(&b"refs/heads/main"[..])
            );
            assert_eq!(all[3].oid, repo.rev("v2"));
            assert_eq!(all[3].peeled, Some(repo.rev("v2^{commit}")));
            assert_eq!(
                refs(&net, &endpoint, &["refs/heads/other"]).await.unwrap(),
                all[2..3]
            );
            assert_eq!(
                refs(&net, &endpoint, &["refs/heads/none"]).await.unwrap(),
                []
            );
        });
        let get = "GET /r/info/refs?service=git-upload-pack";
        let post = "POST /r/git-upload-pack";
        // v2 is found out once; v0 knows no other way to list refs.
        let expected: &[&str] = if v2 {
            &[get, post, post, post]
        } else {
            &[get, get, get]
        };
        assert_eq!(server.asked(), expected);
        // The client begins a second one where the first is not back in its pool yet, and keeps
        // what comes of it.
        assert!(
            server.seen().iter().all(|seen| seen.connection <= 1),
            "a kept connection serves all"
        );
        for seen in server.seen() {
            assert_eq!(seen.header("git-protocol"), Some("version=2"));
            assert!(seen.header("user-agent").unwrap().starts_with("git/"));
            assert_eq!(
                (seen.header("accept-encoding"), seen.header("authorization")),
                (None, None)
            );
        }
    }
}

#[test]
fn an_empty_repository_has_no_refs() {
    let repo = Repo::new();
    for v2 in [true, false] {
        let server = serving(&repo, v2);
        assert_eq!(
            run(refs(&Net::new(), &endpoint(&server.url("/r")), &["HEAD"])).unwrap(),
            []
        );
    }
}

#[test]
fn a_sha256_repository_is_unsupported() {
    let repo = Repo::new();
    std::fs::remove_dir_all(repo.path().join(".git")).unwrap();
    repo.git(&["init", "-q", "--object-format=sha256"]);
    for v2 in [true, false] {
        let error = run(refs(
            &Net::new(),
            &endpoint(&serving(&repo, v2).url("/r")),
            &[],
        ))
        .unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{error}");
        assert!(error.message.contains("SHA-256"), "{error}");
    }
}

/// Full, incremental with a thin pack, shallow, deeper, unshallow: what `git` holds after each is
/// the server's history.
#[test]
fn packs_are_whole() {
    for v2 in [true, false] {
        let repo = Repo::with_history();
        let server = serving(&repo, v2);
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r/")));
        run(async {
            let tip = repo.rev("main");
            let full = Repo::new();
            let (outcome, pack) = fetched(&net, &endpoint, &want(tip)).await.unwrap();
            assert_eq!((&outcome.shallow, &outcome.unshallow), (&vec![], &vec![]));
            full.index(&pack, &[]);
            assert_eq!(full.commits(tip), 4);

            let new = repo.commit(5);
            let (_, pack) = fetched(
                &net,
                &endpoint,
                &FetchRequest {
                    haves: vec![tip],
                    ..want(new)
                },
            )
            .await
            .unwrap();
            full.index(&pack, &[]);
            assert_eq!(full.commits(new), 5);
            assert_eq!(
                full.git(&["cat-file", "-p", &format!("{new}:5.yaml")]),
                "n: 5"
            );
            // Thin: on its own the pack lacks what its deltas stand on.
            let parsed = std::panic::catch_unwind(|| Repo::new().index(&pack, &[]));
            assert!(parsed.is_err());

            let clone = Repo::new();
            let (first, pack) = fetched(
                &net,
                &endpoint,
                &FetchRequest {
                    depth: Some(1),
                    ..want(new)
                },
            )
            .await
            .unwrap();
            assert_eq!((&first.shallow, &first.unshallow), (&vec![new], &vec![]));
            clone.index(&pack, &first.shallow);
            assert_eq!(clone.commits(new), 1);

            let deeper = FetchRequest {
                depth: Some(3),
                haves: vec![new],
                shallow: vec![new],
                ..want(new)
            };
            let (second, pack) = fetched(&net, &endpoint, &deeper).await.unwrap();
            assert_eq!(
                (&second.shallow, &second.unshallow),
                (&vec![repo.rev("main~2")], &vec![new])
            );
            clone.index(&pack, &second.shallow);
            assert_eq!(clone.commits(new), 3);

            // Without a depth, what is shallow stays so.
            let next = repo.commit(6);
            let update = FetchRequest {
                haves: vec![new],
                shallow: second.shallow.clone(),
                ..want(next)
            };
            let (third, pack) = fetched(&net, &endpoint, &update).await.unwrap();
            assert_eq!((&third.shallow, &third.unshallow), (&vec![], &vec![]));
            clone.index(&pack, &second.shallow);
            assert_eq!(clone.commits(next), 4);

            let all = FetchRequest {
                depth: Some(UNSHALLOW),
                haves: vec![next],
                shallow: second.shallow.clone(),
                ..want(next)
            };
            let (fourth, pack) = fetched(&net, &endpoint, &all).await.unwrap();
            assert_eq!(
                (&fourth.shallow, &fourth.unshallow),
                (&vec![], &second.shallow)
            );
            clone.index(&pack, &[]);
            assert_eq!(clone.commits(next), 6);
        });
        // One round each, and one question what the server speaks.
        assert_eq!(
            server
                .asked()
                .iter()
                .filter(|asked| asked.starts_with("POST"))
                .count(),
            6
        );
        assert_eq!(server.asked().len(), 7);
    }
}

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

#[test]
fn pieces_of_any_size_will_do() {
    let repo = Repo::with_history();
    for v2 in [true, false] {
        for size in [1, 3, 4096] {
            let dir = repo.path();
            let server = Server::start(move |seen| Reply {
                pieces: Some(size),
                ..git_answer(&dir, seen, v2)
            });
            let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
            run(async {
                assert_eq!(refs(&net, &endpoint, &[]).await.unwrap().len(), 4);
                let tip = repo.rev("other");
                let (_, pack) = fetched(&net, &endpoint, &want(tip)).await.unwrap();
                let clone = Repo::new();
                clone.index(&pack, &[]);
                assert_eq!(clone.commits(tip), 2);
            });
            assert!(
                server.seen().iter().all(|seen| seen.connection <= 1),
                "read to the end, it serves again"
            );
        }
    }
}

#[test]
fn a_want_that_is_gone_can_be_told() {
    let repo = Repo::with_history();
    for v2 in [true, false] {
        let server = serving(&repo, v2);
        let gone = git2::Oid::from_str(&"12".repeat(20)).unwrap();
        let error = run(fetched(
            &Net::new(),
            &endpoint(&server.url("/r")),
            &want(gone),
        ))
        .unwrap_err();
        assert!(is_denied(&error), "{error}");
        assert_eq!(
            server.asked().len(),
            2,
            "asked once: the ref is what moved, not the server"
        );
    }
}

#[test]
fn a_pack_may_be_too_large_or_unwanted() {
    let repo = Repo::with_history();
    let server = serving(&repo, true);
    let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
    run(async {
        let request = FetchRequest {
            max_bytes: 100,
            ..want(repo.rev("main"))
        };
        assert_eq!(
            fetched(&net, &endpoint, &request).await.unwrap_err().kind,
            Kind::TooLarge
        );
        let (sink, source) = mpsc::channel(1);
        drop(source);
        let error = fetch(&net, &endpoint, &want(repo.rev("main")), &sink)
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Cancelled);
    });
}

#[test]
fn a_pack_that_is_cut_is_an_error_however_it_ends() {
    let repo = Repo::with_history();
    for pieces in [None, Some(64)] {
        let dir = repo.path();
        let server = Server::start(move |seen| {
            let mut reply = git_answer(&dir, seen, true);
            if seen.is_post() {
                // With pieces, HTTP's own end is in place and only Git's is missing.
                match pieces {
                    Some(_) => reply.body.truncate(200),
                    None => reply.cut = Some(200),
                }
            }
            Reply { pieces, ..reply }
        });
        let error = run(fetched(
            &Net::new(),
            &endpoint(&server.url("/r")),
            &want(repo.rev("main")),
        ))
        .unwrap_err();
        assert_eq!(error.kind, Kind::Network, "{error}");
        assert!(error.message.contains("cut"), "{error}");
        assert_eq!(
            server.asked().len(),
            2,
            "what began to answer is not asked again"
        );
    }
}
