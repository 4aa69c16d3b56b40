//! The worker over its pipes: order, ids, wrong frames, the end of the input.

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use support::{Value, Worker, commit, encode, git, origin, program};

fn text(path: &std::path::Path) -> Value {
    path.to_str().unwrap().into()
}

#[test]
fn the_exchanges_of_the_contract_work_without_handshake_and_id() {
    let dir = tempfile::tempdir().unwrap();
    let origin = origin(dir.path());
    let path = dir.path().join("clone");
    let mut worker = Worker::start();
    worker.ask(&[
        ("op", "sync".into()),
        ("url", text(&origin)),
        ("branch", "main".into()),
        ("path", text(&path)),
        ("depth", 1.into()),
    ]);
    worker.ask(&[
        ("op", "files".into()),
        ("path", text(&path)),
        ("subpath", "deploy/".into()),
    ]);
    worker.ask(&[
        ("op", "read".into()),
        ("path", text(&path)),
        ("file", "deploy/app.yaml".into()),
    ]);
    // All asked before the first is answered, and the input ended: answered all the same, in order,
    // and then it exits.
    drop(worker.input.take());
    let head = git(&origin, &["rev-parse", "HEAD"]);
    assert_eq!(
        worker.next().unwrap(),
        Value::Map(vec![("ok".into(), head.into())])
    );
    assert_eq!(
        worker.next().unwrap()["ok"],
        Value::Array(vec!["app.yaml".into(), "service.yml".into()])
    );
    assert_eq!(worker.next().unwrap()["ok"], "YXBwOiAxCg==".into());
    assert_eq!(worker.next(), None);
    assert_eq!(worker.child.wait().unwrap().code(), Some(0));
    git(&path, &["fsck", "--strict"]);
    assert_eq!(git(&path, &["status", "--porcelain", "--ignored"]), "");
}

#[test]
fn a_request_that_waits_holds_up_no_other_and_ends_when_it_is_told_to() {
    // A server that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::start();
    let sync = |id: u64, timeout: u64, path: &str| {
        let fields: Vec<(&str, Value)> = vec![
            ("op", "sync".into()),
            ("id", id.into()),
            ("url", url.as_str().into()),
            ("branch", "main".into()),
            ("path", text(&dir.path().join(path))),
            ("timeout", timeout.into()),
        ];
        fields
    };
    worker.ask(&sync(1, 60_000, "a"));
    assert_eq!(
        worker.ok(&[
            ("op", "hello".into()),
            ("id", 3.into()),
            ("protocol", 1.into())
        ])["protocol"],
        1.into()
    );
    let refused = worker.call(&sync(1, 1000, "a"));
    assert_eq!(
        (&refused["id"], &refused["kind"]),
        (&1.into(), &"invalid".into())
    );
    worker.ask(&sync(2, 300, "b"));
    let expired = worker.next().unwrap();
    assert_eq!(
        (&expired["id"], &expired["kind"], &expired["retryable"]),
        (&2.into(), &"timeout".into(), &true.into())
    );
    worker.ask(&[("op", "cancel".into()), ("id", 1.into())]);
    let cancelled = worker.next().unwrap();
    assert_eq!(
        (&cancelled["id"], &cancelled["kind"]),
        (&1.into(), &"cancelled".into())
    );
    worker.ask(&[("op", "cancel".into()), ("id", 99.into())]);
    // The id is free again.
    assert_eq!(
        worker.kind(&[
            ("op", "head".into()),
            ("id", 1.into()),
            ("path", text(&dir.path().join("none")))
        ]),
        "path_not_found"
    );
}

#[test]
fn the_end_of_the_input_ends_the_process_whatever_is_in_flight() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::start();
    worker.ask(&[
        ("op", "sync".into()),
        ("id", 1.into()),
        ("url", url.as_str().into()),
        ("branch", "main".into()),
        ("path", text(&dir.path().join("a"))),
    ]);
    // It is at it: the server has its connection.
    let _connection = silent.accept().unwrap();
    let ended = Instant::now();
    drop(worker.input.take());
    assert_eq!(worker.child.wait().unwrap().code(), Some(0));
    assert!(ended.elapsed() < Duration::from_secs(1));
}

/// Without an id a request is waited for, but not when nobody is left to read its answer.
#[test]
fn a_client_that_has_gone_altogether_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", silent.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::start();
    worker.ask(&[
        ("op", "sync".into()),
        ("url", url.as_str().into()),
        ("branch", "main".into()),
        ("path", text(&dir.path().join("a"))),
    ]);
    let _connection = silent.accept().unwrap();
    let ended = Instant::now();
    drop(worker.input.take());
    drop(worker.output.take());
    worker.child.wait().unwrap();
    assert!(ended.elapsed() < Duration::from_secs(1));
}

#[test]
fn wrong_frames_are_answered_and_the_next_one_is_read() {
    let mut worker = Worker::start();
    let hello = [
        ("op", "hello".into()),
        ("id", 8.into()),
        ("protocol", 1.into()),
    ];
    for wrong in [
        &b"\xc1"[..],
        b"",
        b"\x01",
        b"\x90",
        b"\x81\xa2op\xa4what",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        &[0x91; 5000],
    ] {
        worker.send(wrong);
        let reply = worker.next().unwrap();
        assert_eq!(reply["kind"], "invalid".into(), "{wrong:?}");
        assert_eq!(worker.ok(&hello)["protocol"], 1.into());
    }
    // One that is too long: skipped, however long it is.
    let input = worker.input.as_mut().unwrap();
    let length = (1u32 << 20) + 1;
    input.write_all(&length.to_be_bytes()).unwrap();
    input.write_all(&vec![7; length as usize]).unwrap();
    assert!(
        worker.next().unwrap()["err"]
            .as_str()
            .unwrap()
            .contains("1048577 bytes")
    );
    assert_eq!(worker.ok(&hello)["protocol"], 1.into());
    assert_eq!(
        worker.kind(&[
            ("op", "hello".into()),
            ("id", 9.into()),
            ("protocol", 2.into())
        ]),
        "protocol"
    );
    // Half a frame.
    worker
        .input
        .as_mut()
        .unwrap()
        .write_all(b"\0\0\0\x09abc")
        .unwrap();
    drop(worker.input.take());
    assert!(
        worker.next().unwrap()["err"]
            .as_str()
            .unwrap()
            .contains("middle of a frame")
    );
    assert_eq!(worker.next(), None);
}

/// Requests and refusals by the hundred thousand, with a reader that takes its time, leave memory
/// where it was.
#[test]
fn floods_are_answered_within_bounded_memory() {
    let mut worker = Worker::start();
    let rounds: u64 = std::env::var("ALUMIINI_SOAK").map_or(200_000, |_| 1_000_000);
    let pid = worker.child.id();
    let mut input = worker.input.take().unwrap();
    let sender = std::thread::spawn(move || {
        let mut frame = |body: &[u8]| {
            input.write_all(&(body.len() as u32).to_be_bytes()).unwrap();
            input.write_all(body).unwrap();
        };
        for n in 0..rounds {
            match n % 4 {
                0 => frame(b"\xc1"),
                1 => frame(&encode(&[
                    ("op", "head".into()),
                    ("path", "/nowhere".into()),
                ])),
                2 => frame(&encode(&[
                    ("op", "head".into()),
                    ("id", (n + 1).into()),
                    ("path", "/nowhere".into()),
                ])),
                _ => frame(&encode(&[("op", "what".into()), ("id", (n + 1).into())])),
            }
        }
        input
    });
    let mut answered = 0;
    let mut most = 0;
    while answered < rounds {
        let reply = worker.next().expect("every request has its reply");
        assert!(!reply["err"].is_nil());
        answered += 1;
        if answered % 10_000 == 0 {
            most = most.max(resident(pid));
        }
    }
    drop(sender.join().unwrap());
    assert_eq!(worker.next(), None);
    assert!(most < 64 << 20, "{most} bytes resident");
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn what_the_program_says_of_itself() {
    let version = program().arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(
        version.starts_with(&format!(
            "alumiini-git {} protocol 1 libgit2 1.",
            env!("CARGO_PKG_VERSION")
        )),
        "{version}"
    );
    let mut worker = Worker::start();
    let killed = program()
        .args(["--kill", &worker.child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(worker.child.wait().unwrap().code(), None);
    for wrong in ["1", "0", "-1", "x", ""] {
        let refused = program().args(["--kill", wrong]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_local_remote_is_followed_wherever_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let origin = origin(dir.path());
    let path = dir.path().join("deep/er/clone");
    let mut worker = Worker::start();
    let mut sync = |branch: &str| {
        let url = format!("file://{}", origin.display());
        worker.ok(&[
            ("op", "sync".into()),
            ("url", url.into()),
            ("branch", branch.into()),
            ("path", text(&path)),
        ])
    };
    let same = |branch: &str, synced: Value| {
        assert_eq!(synced, git(&origin, &["rev-parse", branch]).into());
        assert_eq!(
            git(&path, &["rev-parse", "HEAD"]),
            git(&origin, &["rev-parse", branch])
        );
        assert_eq!(
            git(&path, &["symbolic-ref", "HEAD"]),
            format!("refs/heads/{branch}")
        );
        assert_eq!(git(&path, &["status", "--porcelain", "--ignored"]), "");
        git(&path, &["fsck", "--strict"]);
    };
    same("main", sync("main"));
    std::fs::write(origin.join("deploy/app.yaml"), "app: 2\n").unwrap();
    std::fs::remove_file(origin.join("deploy/service.yml")).unwrap();
    commit(&origin);
    same("main", sync("main"));
    assert!(!path.join("deploy/service.yml").exists());
    // Rewritten history, a branch below a name that was a branch, and back.
    git(&origin, &["commit", "-q", "--amend", "-m", "rewritten"]);
    same("main", sync("main"));
    git(&origin, &["checkout", "-q", "-b", "feature"]);
    commit(&origin);
    same("feature", sync("feature"));
    git(&origin, &["checkout", "-q", "main"]);
    git(&origin, &["branch", "-q", "-m", "feature", "feature/one"]);
    same("feature/one", sync("feature/one"));
    same("main", sync("main"));
    // Many syncs later it is still one pack.
    for n in 0..120 {
        std::fs::write(origin.join("deploy/app.yaml"), format!("app: {n}\n")).unwrap();
        commit(&origin);
        sync("main");
    }
    same("main", sync("main"));
    let packs = std::fs::read_dir(path.join(".git/objects/pack"))
        .unwrap()
        .count();
    assert!(packs < 2 * 52, "{packs} files in objects/pack");
}

#[test]
fn reads_see_nothing_of_an_unfinished_clone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app");
    let mut worker = Worker::start();
    std::fs::create_dir_all(&path).unwrap();
    assert_eq!(
        worker.kind(&[("op", "files".into()), ("path", text(&path))]),
        "incomplete"
    );
    std::fs::create_dir_all(path.join(".git.alumiini-1-0/objects")).unwrap();
    assert_eq!(
        worker.kind(&[("op", "files".into()), ("path", text(&path))]),
        "incomplete"
    );
    // Files without a repository are somebody's, and may be read.
    std::fs::remove_dir_all(path.join(".git.alumiini-1-0")).unwrap();
    std::fs::write(path.join("a.yaml"), "a").unwrap();
    assert_eq!(
        worker.ok(&[("op", "files".into()), ("path", text(&path))]),
        Value::Array(vec!["a.yaml".into()])
    );
}

/// A subdirectory named as the place to read in is still part of the working tree that it belongs
/// to.
#[test]
fn reads_below_a_work_tree_wait_for_its_unfinished_checkout() {
    let dir = tempfile::tempdir().unwrap();
    let origin = origin(dir.path());
    let path = dir.path().join("clone");
    let mut worker = Worker::start();
    let head = worker.ok(&[
        ("op", "sync".into()),
        ("url", text(&origin)),
        ("branch", "main".into()),
        ("path", text(&path)),
    ]);
    // As a kill in the middle of a checkout leaves it.
    let marker = path.join(".git/alumiini-checkout");
    std::fs::write(&marker, format!("{}\nmain\n", head.as_str().unwrap())).unwrap();
    std::fs::remove_file(path.join("deploy/app.yaml")).unwrap();
    let names = worker.ok(&[("op", "files".into()), ("path", text(&path.join("deploy")))]);
    assert_eq!(
        names,
        Value::Array(vec!["app.yaml".into(), "service.yml".into()])
    );
    assert!(!marker.exists());
}
