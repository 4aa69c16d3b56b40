use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::Kind;
use crate::net::git::fetch::{UNSHALLOW, is_denied};

pub(super) fn serving(repo: &Repo, v2: bool) -> Server {
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
