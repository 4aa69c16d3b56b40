//! Lists of refs as servers send them, odd ones too, held against what `git ls-remote` makes of
//! each.

use super::repo::{Repo, command};
use super::server::{Reply, Server};
use super::*;
use crate::net::git::capabilities::{Capabilities, advertisement};
use crate::net::git::pkt_line::tests::reader;

const V0: &[(&str, &[&str])] = &[
    ("plain", &["A HEAD\0caps\n", "A refs/heads/main\n", "flush"]),
    (
        "no newline",
        &[
            "A HEAD\0multi_ack side-band-64k ofs-delta agent=x",
            "A refs/heads/main",
            "flush",
        ],
    ),
    (
        "two newlines",
        &["A HEAD\0caps\n", "A refs/heads/main\n\n", "flush"],
    ),
    (
        "crlf",
        &["A HEAD\0caps\n", "A refs/heads/main\r\n", "flush"],
    ),
    (
        "trailing space",
        &["A HEAD\0caps\n", "A refs/heads/main \n", "flush"],
    ),
    (
        "space in name",
        &["A HEAD\0caps\n", "A refs/heads/a b\n", "flush"],
    ),
    (
        "two spaces",
        &["A HEAD\0caps\n", "A  refs/heads/a\n", "flush"],
    ),
    (
        "not utf8",
        &["A HEAD\0caps\n", "A refs/heads/\u{ff}\n", "flush"],
    ),
    (
        "dup",
        &["A refs/heads/a\0caps\n", "B refs/heads/a\n", "flush"],
    ),
    ("cap only", &["Z capabilities^{}\0caps\n", "flush"]),
    ("cap nonzero", &["A capabilities^{}\0caps\n", "flush"]),
    (
        "cap then ref",
        &["Z capabilities^{}\0caps\n", "A refs/heads/a\n", "flush"],
    ),
    (
        "cap later",
        &["A HEAD\0caps\n", "Z capabilities^{}\n", "flush"],
    ),
    (
        "cap then shallow",
        &["Z capabilities^{}\0caps\n", "shallow A", "flush"],
    ),
    (
        "peeled",
        &["A refs/tags/v\0caps\n", "B refs/tags/v^{}\n", "flush"],
    ),
    (
        "peeled alone",
        &["A refs/heads/a\0caps\n", "B refs/tags/v^{}\n", "flush"],
    ),
    ("peeled first", &["A refs/tags/v^{}\0caps\n", "flush"]),
    ("have", &["A HEAD\0caps\n", "B .have\n", "flush"]),
    (
        "have first",
        &["A .have\0caps\n", "B refs/heads/a\n", "flush"],
    ),
    ("shallow", &["A HEAD\0caps\n", "shallow B\n", "flush"]),
    ("shallow bad", &["A HEAD\0caps\n", "shallow 12\n", "flush"]),
    ("shallow first", &["shallow A", "flush"]),
    (
        "ref after shallow",
        &["A HEAD\0caps\n", "shallow B\n", "B refs/heads/a\n", "flush"],
    ),
    ("flush", &["flush"]),
    ("delim", &["A HEAD\0caps\n", "delim"]),
    ("end", &["A HEAD\0caps\n", "end"]),
    (
        "caps second",
        &[
            "A HEAD\0caps\n",
            "B refs/heads/a\0side-band object-format=sha256\n",
            "flush",
        ],
    ),
    ("no caps", &["A HEAD\n", "B refs/heads/a\n", "flush"]),
    ("empty caps", &["A HEAD\0\n", "B refs/heads/a\n", "flush"]),
    (
        "two NUL",
        &["A HEAD\0side-band\0object-format=sha256\n", "flush"],
    ),
    ("bad oid", &["A HEAD\0caps\n", "X refs/heads/a\n", "flush"]),
    (
        "short oid",
        &["A HEAD\0caps\n", "S refs/heads/a\n", "flush"],
    ),
    ("long oid", &["A HEAD\0caps\n", "L refs/heads/a\n", "flush"]),
    (
        "upper oid",
        &["A HEAD\0caps\n", "U refs/heads/a\n", "flush"],
    ),
    ("zero oid", &["A HEAD\0caps\n", "Z refs/heads/a\n", "flush"]),
    ("no name", &["A HEAD\0caps\n", "A\n", "flush"]),
    ("empty name", &["A HEAD\0caps\n", "A \n", "flush"]),
    ("tab", &["A HEAD\0caps\n", "A\trefs/heads/a\n", "flush"]),
    (
        "odd names",
        &[
            "A HEAD\0caps\n",
            "A refs/heads/..\n",
            "A refs/../x\n",
            "A refs/\n",
            "A FOO\n",
            "A refs/heads/a.lock\n",
            "A refs/x~1\n",
            "flush",
        ],
    ),
    ("detached", &["A HEAD\0caps\n", "B refs/heads/a\n", "flush"]),
    ("empty line", &["A HEAD\0caps\n", "", "flush"]),
    ("newline line", &["A HEAD\0caps\n", "\n", "flush"]),
    ("ERR", &["ERR no\n"]),
    ("ERR later", &["A HEAD\0caps\n", "ERR no\n"]),
    ("version 1", &["version 1\n", "A HEAD\0caps\n", "flush"]),
    ("version 1 nonl", &["version 1", "A HEAD\0caps\n", "flush"]),
    ("version 3", &["version 3\n", "A HEAD\0caps\n", "flush"]),
    ("version 1 empty", &["version 1", "flush"]),
    (
        "symref",
        &[
            "A HEAD\0symref=HEAD:refs/heads/x symref=refs/heads/s:refs/heads/x \
             object-format=sha1\n",
            "A refs/heads/s\n",
            "A refs/heads/x\n",
            "flush",
        ],
    ),
    (
        "symref unknown",
        &["A HEAD\0symref=HEAD symref=:x symref=Y:\n", "flush"],
    ),
    ("sha256", &["A HEAD\0object-format=sha256\n", "flush"]),
    (
        "two formats",
        &["A HEAD\0object-format=sha1 object-format=sha256\n", "flush"],
    ),
    (
        "after flush",
        &["A HEAD\0caps\n", "flush", "B refs/heads/a\n", "flush"],
    ),
    (
        "service",
        &[
            "# service=git-upload-pack\n",
            "flush",
            "A HEAD\0caps\n",
            "flush",
        ],
    ),
];

const V2: &[(&str, &[&str])] = &[
    (
        "plain",
        &[
            "v2",
            "A HEAD symref-target:refs/heads/a\n",
            "A refs/heads/a\n",
            "flush",
        ],
    ),
    ("no newline", &["v2", "A HEAD", "A refs/heads/a", "flush"]),
    ("peeled", &["v2", "A refs/tags/v peeled:B\n", "flush"]),
    ("bad peeled", &["v2", "A refs/tags/v peeled:12\n", "flush"]),
    ("long peeled", &["v2", "A refs/tags/v peeled:B2\n", "flush"]),
    (
        "unborn",
        &["v2", "unborn HEAD symref-target:refs/heads/a\n", "flush"],
    ),
    ("unborn only", &["v2", "unborn\n", "flush"]),
    ("unknown attr", &["v2", "A HEAD x:y  z\n", "flush"]),
    ("no name", &["v2", "A\n", "flush"]),
    ("empty name", &["v2", "A \n", "flush"]),
    ("bad oid", &["v2", "X HEAD\n", "flush"]),
    ("long oid", &["v2", "L HEAD\n", "flush"]),
    ("delim", &["v2", "A HEAD\n", "delim"]),
    ("end", &["v2", "A HEAD\n", "end"]),
    ("flush end", &["v2", "A HEAD\n", "flush", "end"]),
    ("empty", &["v2", "flush"]),
    ("not utf8", &["v2", "A refs/heads/\u{ff}\n", "flush"]),
    (
        "dup",
        &["v2", "A refs/heads/a\n", "B refs/heads/a\n", "flush"],
    ),
    (
        "odd",
        &["v2", "A FOO\n", "A .have\n", "A refs/../x\n", "flush"],
    ),
    ("ERR", &["v2", "ERR no\n"]),
    ("empty line", &["v2", "", "flush"]),
    ("shallow", &["v2", "A HEAD\n", "shallow B\n", "flush"]),
    (
        "peeled name",
        &["v2", "A refs/tags/v\n", "B refs/tags/v^{}\n", "flush"],
    ),
    ("caps none", &["version 2\n", "flush", "A HEAD\n", "flush"]),
    (
        "caps no ls-refs",
        &["version 2\n", "fetch\n", "flush", "A HEAD\n", "flush"],
    ),
    (
        "caps odd",
        &[
            "version 2\n",
            "agent\n",
            "ls-refs\n",
            "fetch=\n",
            "x y z\n",
            "=\n",
            "\n",
            "flush",
            "A HEAD\n",
            "flush",
        ],
    ),
    (
        "caps empty",
        &[
            "version 2\n",
            "ls-refs",
            "fetch",
            "",
            "flush",
            "A HEAD\n",
            "flush",
        ],
    ),
    (
        "caps sha256",
        &[
            "version 2\n",
            "ls-refs\n",
            "fetch\n",
            "object-format=sha256\n",
            "flush",
            "A HEAD\n",
            "flush",
        ],
    ),
    (
        "caps noformat",
        &[
            "version 2\n",
            "ls-refs\n",
            "fetch\n",
            "object-format\n",
            "flush",
            "A HEAD\n",
            "flush",
        ],
    ),
    ("caps delim", &["version 2\n", "ls-refs\n", "delim"]),
    (
        "version 2 nonl",
        &[
            "version 2",
            "ls-refs\n",
            "fetch\n",
            "flush",
            "A HEAD\n",
            "flush",
        ],
    ),
];

/// Of these git makes an error, and we do not: nothing that is listed there is doubtful.
const LENIENT: &[&str] = &[
    "cap nonzero",
    "cap then ref",
    "cap later",
    "ref after shallow",
    "service",
];

/// Of these git lists a peeled tag without the tag as a ref of its own, which it cannot be.
const PEELED: &[&str] = &["peeled alone", "peeled first"];

/// One letter for an id that is one, or is nearly one.
fn id(letter: u8) -> Option<String> {
    Some(match letter {
        b'A' => "1".repeat(40),
        b'B' => "2".repeat(40),
        b'Z' => "0".repeat(40),
        b'S' => "1".repeat(39),
        b'L' => "1".repeat(41),
        b'U' => "AB".repeat(20),
        b'X' => "x".repeat(40),
        _ => return None,
    })
}

/// A line as it is sent. Each character is one byte.
fn line(text: &str) -> Vec<u8> {
    let mut text = text.replace("\0caps", "\0multi_ack side-band-64k ofs-delta agent=x");
    for before in ["shallow ", "peeled:"] {
        for (letter, digit) in [("A", "1"), ("B", "2")] {
            text = text.replace(
                &format!("{before}{letter}"),
                &format!("{before}{}", digit.repeat(40)),
            );
        }
    }
    let first = text.as_bytes().first().copied();
    if let Some(id) = first
        .and_then(id)
        .filter(|_| !text[1..].starts_with(|c: char| c.is_ascii_alphanumeric()))
    {
        text.replace_range(..1, &id);
    }
    text.chars().map(|c| c as u8).collect()
}

fn sent(lines: &[&str]) -> Vec<u8> {
    let mut out = vec![];
    for text in lines {
        match *text {
            "flush" => out.extend_from_slice(b"0000"),
            "delim" => out.extend_from_slice(b"0001"),
            "end" => out.extend_from_slice(b"0002"),
            "v2" => {
                let capabilities = [
                    "version 2",
                    "agent=x",
                    "ls-refs=unborn",
                    "fetch=shallow",
                    "object-format=sha1",
                ];
                out.extend(sent(&capabilities));
                out.extend_from_slice(b"0000");
            }
            text => {
                let line = line(text);
                out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
                out.extend_from_slice(&line);
            }
        }
    }
    out
}

/// What `git ls-remote` lists; None where it fails.
fn git_lists(repo: &Repo, v2: bool, bytes: &[u8]) -> Option<Vec<u8>> {
    let answer = repo.path().join(".git/answer");
    std::fs::write(&answer, bytes).unwrap();
    // It goes on reading until git has ended, and then says nothing more.
    let server = format!("--upload-pack=cat {}; cat >/dev/null #", answer.display());
    let version = format!("protocol.version={}", if v2 { 2 } else { 0 });
    let output = command(&repo.path())
        .args(["-c", &version, "ls-remote", "--symref", &server, "."])
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}

fn we_list(v2: bool, bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let found = crate::net::git::pkt_line::tests::run(async {
        let mut reader = reader(bytes, size);
        match advertisement(&mut reader, Wanted::unbounded(&[])).await? {
            (Capabilities::V0(_), refs) if !v2 => Ok(refs),
            (Capabilities::V2(able), _) if v2 && able.ls_refs => {
                crate::net::git::ls_refs::parse(&mut reader, Wanted::unbounded(&[])).await
            }
            _ => Err(reader.protocol("cannot list its refs")),
        }
    });
    let mut out = vec![];
    for found in found.ok()? {
        if let Some(target) = &found.symref_target {
            out.extend([b"ref: ", &target[..], b"\t", &found.name, b"\n"].concat());
        }
        out.extend([found.oid.to_string().as_bytes(), b"\t", &found.name, b"\n"].concat());
        if let Some(peeled) = found.peeled {
            out.extend([peeled.to_string().as_bytes(), b"\t", &found.name, b"^{}\n"].concat());
        }
    }
    Some(out)
}

#[test]
fn each_is_taken_as_git_takes_it() {
    let repo = Repo::new();
    for (v2, cases) in [(false, V0), (true, V2)] {
        for (what, lines) in cases {
            let bytes = sent(lines);
            let theirs = git_lists(&repo, v2, &bytes);
            for size in [bytes.len(), 1, 7] {
                let ours = we_list(v2, &bytes, size);
                if LENIENT.contains(what) {
                    assert!(theirs.is_none() && ours.is_some(), "{what}");
                } else if PEELED.contains(what) {
                    assert!(
                        theirs.as_ref().unwrap().ends_with(b"^{}\n") && ours.is_some(),
                        "{what}"
                    );
                } else {
                    let text = |list: &Option<Vec<u8>>| {
                        list.as_deref()
                            .map(|list| String::from_utf8_lossy(list).into_owned())
                    };
                    assert_eq!(
                        text(&ours),
                        text(&theirs),
                        "{what}, v{}",
                        if v2 { 2 } else { 0 }
                    );
                }
            }
        }
    }
}

/// By HTTP a list of v0 comes after the name of the service. Where that is missing git ends; we
/// have the content type to go by.
#[test]
fn by_http_each_is_taken_as_git_takes_it() {
    let repo = Repo::new();
    let git = "application/x-git-upload-pack-advertisement";
    let list = &["A HEAD\0caps\n", "A refs/heads/a\n", "flush"][..];
    let service = "# service=git-upload-pack";
    for (media_type, before, as_git) in [
        (git, &["# service=git-upload-pack\n", "flush"][..], true),
        (git, &[service, "flush"], true),
        (
            git,
            &[service, "more about it\n", "and more", "flush"],
            true,
        ),
        (git, &["# service=git-receive-pack\n", "flush"], true),
        (git, &["# service=git-upload-pack \n", "flush"], true),
        (git, &["no service\n", "flush"], true),
        (git, &[service, "delim"], true),
        (git, &[], false),
        (
            "application/x-git-upload-pack-advertisement; charset=utf-8",
            &[service, "flush"],
            true,
        ),
        (
            "application/x-git-receive-pack-advertisement",
            &[service, "flush"],
            true,
        ),
        ("application/octet-stream", &[service, "flush"], true),
    ] {
        let reply = Reply::new(200, media_type, sent(&[before, list].concat()));
        let server = Server::start(move |seen| match seen.target.contains("service=") {
            true => reply.clone(),
            // Git looks for files then.
            false => Reply::status(404),
        });
        let url = server.url("/r");
        let output = command(&repo.path())
            .args(["-c", "protocol.version=0", "ls-remote", &url])
            .output();
        let theirs = output.unwrap().status.success();
        let ours = run(refs(&Net::new(), &endpoint(&url), &[])).is_ok_and(|refs| refs.len() == 2);
        assert_eq!(ours == theirs, as_git, "{media_type}, {before:?}: {ours}");
    }
}
