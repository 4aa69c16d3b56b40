//! What many requests hold at once is bounded, whatever a remote or a repository has them answer.

#![cfg(target_os = "linux")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::{Value, Worker, git, origin};

/// The peak of the worker's resident memory.
fn peak_mib(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<u64>()
        .unwrap()
        >> 10
}

/// Until no thread of the worker has anything to do but wait for its client to read.
fn at_rest(worker: &Worker) {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[11].to_owned(), fields[12].to_owned())
    };
    let (mut last, mut same) = (ticks(), 0);
    while same < 20 {
        std::thread::sleep(Duration::from_millis(25));
        let now = ticks();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
}

fn pkt(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

/// What a server of protocol v0 says, with refs of so many bytes.
fn advertisement(bytes: usize) -> String {
    let mut lines = pkt("# service=git-upload-pack") + "0000";
    lines += &pkt(&format!("{} HEAD\0agent=test", "1".repeat(40)));
    let mut listed = 0;
    for n in 0.. {
        let name = format!("refs/heads/branch-{n:06}");
        listed += name.len() + 40;
        if listed > bytes {
            break;
        }
        lines += &pkt(&format!("{} {name}", "2".repeat(40)));
    }
    lines + "0000"
}

fn answer(mut connection: TcpStream, body: &str) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => head.extend_from_slice(&buffer[..n]),
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(head.as_bytes());
    let _ = connection.write_all(body.as_bytes());
}

/// A server that lists refs of so many bytes, on a host of its own: one host is asked by a few
/// requests at a time only.
fn server(host: u8, bytes: usize) -> String {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, host), 0)).unwrap();
    let url = format!("http://{}/r.git", listener.local_addr().unwrap());
    let body = Arc::new(advertisement(bytes));
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let body = body.clone();
            std::thread::spawn(move || answer(connection, &body));
        }
    });
    url
}

#[test]
fn many_lists_of_refs_at_once_share_what_they_may_hold() {
    const LISTS: u64 = 200;
    const OTHER: u64 = LISTS + 1;
    let urls: Vec<String> = (1..=8).map(|host| server(host, (4 << 20) - 100)).collect();
    let small = server(9, 100);
    let mut worker = Worker::start();
    for id in 1..=LISTS {
        let url = urls[id as usize % urls.len()].as_str();
        worker.ask(&[
            ("op", "refs".into()),
            ("id", id.into()),
            ("url", url.into()),
        ]);
    }
    worker.ask(&[
        ("op", "ls_remote".into()),
        ("id", OTHER.into()),
        ("url", small.as_str().into()),
        ("ref", "HEAD".into()),
    ]);
    let mut order = vec![];
    for _ in 0..=LISTS {
        let reply = worker.next().unwrap();
        assert!(reply["err"].is_nil(), "{}", reply["err"]);
        order.push(reply["id"].as_u64().unwrap());
    }
    let other = order.iter().position(|id| *id == OTHER).unwrap();
    assert!(other < 100, "a small answer waited for {other} long lists");
    let peak = peak_mib(&worker);
    println!(
        "{LISTS} lists at once: {peak} MiB at the peak, {other} lists before the other answer"
    );
    assert!(peak < 400, "{LISTS} lists at once took {peak} MiB");
}

/// Asks so many times before any answer is read: what the worker took at its peak.
fn unread(worker: &mut Worker, count: u64, fields: &[(&str, Value)]) -> u64 {
    for id in 1..=count {
        let mut request = fields.to_vec();
        request.push(("id", id.into()));
        worker.ask(&request);
    }
    // The first answers fill the pipe. That the others wait shows once these are read.
    at_rest(worker);
    for _ in 0..count {
        let reply = worker.next().unwrap();
        assert!(reply["err"].is_nil(), "{}", reply["err"]);
    }
    peak_mib(worker)
}

#[test]
fn many_lists_of_files_at_once_share_what_they_may_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    std::fs::create_dir(&path).unwrap();
    let long = "n".repeat(200);
    for n in 0..20_000 {
        std::fs::write(path.join(format!("{long}-{n:06}.yaml")), "").unwrap();
    }
    let mut worker = Worker::start();
    let peak = unread(
        &mut worker,
        100,
        &[
            ("op", "files".into()),
            ("path", path.to_str().unwrap().into()),
        ],
    );
    println!("100 lists of 4 MiB of names: {peak} MiB at the peak");
    assert!(peak < 250, "100 lists of 4 MiB of names took {peak} MiB");
}

fn with_message(dir: &Path, bytes: usize) -> std::path::PathBuf {
    let origin = origin(dir);
    std::fs::write(dir.join("message"), "m".repeat(bytes)).unwrap();
    git(
        &origin,
        &["commit", "-q", "--allow-empty", "-F", "../message"],
    );
    origin
}

#[test]
fn many_heads_at_once_share_what_they_may_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_message(dir.path(), 3 << 20);
    let mut worker = Worker::start();
    let peak = unread(
        &mut worker,
        100,
        &[
            ("op", "head".into()),
            ("path", path.to_str().unwrap().into()),
        ],
    );
    println!("100 commits of 3 MiB: {peak} MiB at the peak");
    assert!(peak < 250, "100 commits of 3 MiB took {peak} MiB");
}
