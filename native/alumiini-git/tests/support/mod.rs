//! The worker as a client meets it: a process with two pipes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub use rmpv::Value;

pub struct Worker {
    pub child: Child,
    pub input: Option<ChildStdin>,
    pub output: Option<ChildStdout>,
}

/// The worker as a program; where it is for another machine, started by what runs such programs
/// here, as `cross test` says.
pub fn program() -> Command {
    let program = env!("CARGO_BIN_EXE_alumiini-git");
    match std::env::var_os("ALUMIINI_GIT_TEST_RUNNER") {
        None => Command::new(program),
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
    }
}

impl Worker {
    pub fn start() -> Worker {
        let mut child = program()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Worker {
            child,
            input,
            output,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input
            .write_all(&(bytes.len() as u32).to_be_bytes())
            .unwrap();
        input.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, fields: &[(&str, Value)]) {
        self.send(&encode(fields));
    }

    /// The next frame; none at the end of the output.
    pub fn next(&mut self) -> Option<Value> {
        let output = self.output.as_mut().unwrap();
        let mut head = [0; 4];
        output.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        output.read_exact(&mut body).unwrap();
        Some(rmpv::decode::read_value(&mut &body[..]).unwrap())
    }

    pub fn call(&mut self, fields: &[(&str, Value)]) -> Value {
        self.ask(fields);
        self.next().expect("a reply")
    }

    /// The `ok` of a call that succeeds.
    pub fn ok(&mut self, fields: &[(&str, Value)]) -> Value {
        let reply = self.call(fields);
        assert!(reply["err"].is_nil(), "{reply}");
        reply["ok"].clone()
    }

    /// The `kind` of a call that fails.
    pub fn kind(&mut self, fields: &[(&str, Value)]) -> String {
        let reply = self.call(fields);
        assert!(!reply["err"].is_nil(), "{reply}");
        reply["kind"].as_str().unwrap().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn encode(fields: &[(&str, Value)]) -> Vec<u8> {
    let map = Value::Map(
        fields
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    );
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &map).unwrap();
    bytes
}

/// Runs `git` apart from this machine's configuration.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
        ])
        .envs([
            ("GIT_COMMITTER_NAME", "C"),
            ("GIT_COMMITTER_EMAIL", "c@example.com"),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// A repository with one commit of manifests.
pub fn origin(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("origin");
    std::fs::create_dir_all(path.join("deploy")).unwrap();
    git(dir, &["init", "-q", "origin"]);
    std::fs::write(path.join("deploy/app.yaml"), "app: 1\n").unwrap();
    std::fs::write(path.join("deploy/service.yml"), "service: 1\n").unwrap();
    std::fs::write(path.join("deploy/notes.txt"), "not a manifest\n").unwrap();
    commit(&path);
    path
}

pub fn commit(path: &Path) -> String {
    git(path, &["add", "-A"]);
    git(path, &["commit", "-q", "-m", "change", "--allow-empty"]);
    git(path, &["rev-parse", "HEAD"])
}
