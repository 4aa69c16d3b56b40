//! How answers may come by HTTP: what `git` (with curl) was seen to take, we take.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::Kind;

/// The status line and headers before `body`'s, as one odd server or another writes them.
fn heads() -> Vec<(&'static str, String)> {
    let many: String = (0..500).map(|n| format!("X-H{n}: v\r\n")).collect();
    let long: String = (0..20)
        .map(|n| format!("X-H{n}: {}\r\n", "v".repeat(5000)))
        .collect();
    let ok = "HTTP/1.1 200 OK\r\n";
    vec![
        ("as always", ok.to_owned()),
        ("no reason", "HTTP/1.1 200\r\n".to_owned()),
        (
            "folded headers",
            format!("{ok}X-A: one\r\n  two\r\n\tthree\r\n"),
        ),
        ("more than 100 headers", format!("{ok}{many}")),
        ("long headers", format!("{ok}{long}")),
        ("spaces after a name", format!("{ok}X-A : v\r\n")),
        (
            "a name that is none",
            format!("{ok}X \u{c4}(odd): v\r\nthis is no header\r\n"),
        ),
        (
            "interim answers",
            format!(
                "HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: \
                 a\r\n\r\n{ok}"
            ),
        ),
        ("lines without CR", ok.to_owned()),
    ]
}

/// Where the body ends: by its length, twice, in chunks with all that belongs to them, or with the
/// connection.
fn framed(end: &str, body: &[u8]) -> Vec<u8> {
    let chunk = format!("{:x};ext=1\r\n", body.len());
    let head = match end {
        "length" => format!("Content-Length: {}\r\n\r\n", body.len()),
        "two lengths" => format!(
            "Content-Length: {0}\r\nContent-Length: {0}\r\n\r\n",
            body.len()
        ),
        "chunks" => format!("Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n{chunk}"),
        "chunks and a length" => {
            format!("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")
        }
        "nothing" => "\r\n".to_owned(),
        other => panic!("{other}"),
    };
    let tail: &[u8] = match end {
        "chunks" => b"\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
        "chunks and a length" => b"\r\n0\r\n\r\n",
        _ => b"",
    };
    [head.as_bytes(), body, tail].concat()
}

/// Lists refs and fetches from a server that writes each answer of `git` as `write` says.
fn is_taken(
    repo: &Repo,
    what: &str,
    write: impl Fn(Reply) -> Reply + Clone + Send + Sync + 'static,
) {
    for v2 in [true, false] {
        let (dir, write) = (repo.path(), write.clone());
        let server = Server::start(move |seen| write(git_answer(&dir, seen, v2)));
        let (net, endpoint) = (Net::new(), endpoint(&server.url("/r")));
        run(async {
            let refs = refs(&net, &endpoint, &[]).await;
            assert_eq!(refs.map(|refs| refs.len()), Ok(4), "{what}");
            let (_, pack) = fetched(&net, &endpoint, &want(repo.rev("main")))
                .await
                .expect(what);
            let clone = Repo::new();
            clone.index(&pack, &[]);
            assert_eq!(clone.commits(repo.rev("main")), 4, "{what}");
        });
    }
}

#[test]
fn headers_and_ends_of_bodies() {
    let repo = Repo::with_history();
    for (what, head) in heads() {
        is_taken(&repo, what, move |reply| {
            let mut raw = head.clone();
            for (name, value) in &reply.headers {
                raw += &format!("{name}: {value}\r\n");
            }
            raw += &format!("Content-Length: {}\r\n\r\n", reply.body.len());
            if what == "lines without CR" {
                raw = raw.replace('\r', "");
            }
            Reply {
                raw: Some([raw.as_bytes(), &reply.body].concat()),
                ..reply
            }
        });
    }
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        for end in [
            "length",
            "two lengths",
            "chunks",
            "chunks and a length",
            "nothing",
        ] {
            if version == "HTTP/1.0" && end.starts_with("chunks") {
                continue;
            }
            is_taken(&repo, &format!("{version}, {end}"), move |reply| {
                let (_, media_type) = &reply.headers[0];
                let head = format!("{version} 200 OK\r\nContent-Type: {media_type}\r\n");
                Reply {
                    raw: Some([head.as_bytes(), &framed(end, &reply.body)].concat()),
                    ..reply
                }
            });
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bodies_that_come_compressed() {
    let repo = Repo::with_history();
    for (name, how) in [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "zlib"),
        ("deflate", "raw"),
        ("none", "none"),
    ] {
        for pieces in [None, Some(7)] {
            is_taken(&repo, how, move |reply| {
                let body = match how {
                    "gzip" => gzip(&reply.body),
                    "zlib" => {
                        let mut encoder = ZlibEncoder::new(vec![], Compression::fast());
                        encoder.write_all(&reply.body).unwrap();
                        encoder.finish().unwrap()
                    }
                    "raw" => {
                        let mut encoder = DeflateEncoder::new(vec![], Compression::fast());
                        encoder.write_all(&reply.body).unwrap();
                        encoder.finish().unwrap()
                    }
                    _ => reply.body.clone(),
                };
                let reply = reply.header("Content-Encoding", name);
                Reply {
                    body,
                    pieces,
                    ..reply
                }
            });
        }
    }
}

/// Limits count what comes out. `said` is what a refusal says, compressed or not.
#[test]
fn compressed_bodies_are_bounded_and_whole() {
    let git = "application/x-git-upload-pack-advertisement";
    let bomb = |line: &str| gzip(line.repeat((65 << 20) / line.len()).as_bytes());
    let line = format!(
        "{:04x}{} refs/heads/{}\n",
        4 + 40 + 12 + 9000,
        "1".repeat(40),
        "x".repeat(9000 - 1)
    );
    let cut = gzip(b"001e# service=git-upload-pack\n0000");
    for (status, body, kind, says) in [
        (200, bomb(&line), Kind::TooLarge, "lists more than"),
        (
            200,
            cut[..cut.len() - 4].to_vec(),
            Kind::Network,
            "damaged or was cut",
        ),
        (
            200,
            b"001e# service=git-upload-pack\n0000".to_vec(),
            Kind::Network,
            "damaged or was cut",
        ),
        (400, gzip(b"TF401041"), Kind::Protocol, "says: TF401041"),
        (400, bomb("y "), Kind::Protocol, "says: y y"),
    ] {
        let media_type = if status == 200 { git } else { "text/plain" };
        let reply = Reply::new(status, media_type, body).header("Content-Encoding", "gzip");
        let server = Server::start(move |_| reply.clone());
        let error = run(refs(&Net::new(), &endpoint(&server.url("/r")), &[])).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}
