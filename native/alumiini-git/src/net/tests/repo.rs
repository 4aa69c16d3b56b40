//! Repositories made by the `git` command, apart from this machine's configuration.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use git2::Oid;
use tempfile::TempDir;

pub(super) struct Repo {
    dir: TempDir,
}

impl Repo {
    /// An empty one.
    pub(super) fn new() -> Repo {
        let repo = Repo {
            dir: tempfile::tempdir().unwrap(),
        };
        repo.git(&["-c", "init.defaultBranch=main", "init", "-q"]);
        repo
    }

    /// Four commits on main, a file that changes a little each time, a tag of the second, a branch
    /// that forks there.
    pub(super) fn with_history() -> Repo {
        let repo = Repo::new();
        for n in 1..=4 {
            repo.commit(n);
            if n == 2 {
                repo.git(&["tag", "-a", "-m", "two", "v2"]);
                repo.git(&["branch", "other"]);
            }
        }
        repo
    }

    pub(super) fn commit(&self, n: u32) -> Oid {
        let lines: String = (0..400)
            .map(|i| format!("line {i} of {}\n", if i == n { n } else { 0 }))
            .collect();
        std::fs::write(self.path().join("big.yaml"), lines).unwrap();
        std::fs::write(self.path().join(format!("{n}.yaml")), format!("n: {n}\n")).unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", &format!("commit {n}")]);
        self.rev("HEAD")
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        git(&self.path(), args, None)
    }

    pub(super) fn rev(&self, rev: &str) -> Oid {
        Oid::from_str(&self.git(&["rev-parse", "--verify", rev])).unwrap()
    }

    /// Takes a pack in and notes what is shallow, as a sync does.
    pub(super) fn index(&self, pack: &[u8], shallow: &[Oid]) {
        git(
            &self.path(),
            &["index-pack", "--stdin", "--fix-thin"],
            Some(pack),
        );
        let lines: String = shallow.iter().map(|oid| format!("{oid}\n")).collect();
        let file = self.path().join(".git/shallow");
        if shallow.is_empty() {
            std::fs::remove_file(file).unwrap_or(())
        } else {
            std::fs::write(file, lines).unwrap()
        }
    }

    /// The commits reachable from `oid`, after a check that everything under them is there.
    pub(super) fn commits(&self, oid: Oid) -> usize {
        self.git(&["rev-list", "--objects", "--quiet", &oid.to_string()]);
        self.git(&["fsck", "--connectivity-only", &oid.to_string()]);
        self.git(&["rev-list", "--count", &oid.to_string()])
            .parse()
            .unwrap()
    }
}

/// A `git` with nothing of this machine in it.
pub(super) fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("GIT_"))
    {
        command.env_remove(key);
    }
    command
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Ann")
            .env(format!("GIT_{who}_EMAIL"), "ann@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0100");
    }
    command
}

pub(super) fn git(dir: &Path, args: &[&str], input: Option<&[u8]>) -> String {
    let output = piped(command(dir).args(args), input.unwrap_or_default());
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What `git upload-pack` answers to `body` in version `version`, or its advertisement where there
/// is no body.
pub(super) fn upload_pack(dir: &Path, version: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut command = command(dir);
    command
        .args(["upload-pack", "--stateless-rpc"])
        .env("GIT_PROTOCOL", version);
    if body.is_none() {
        command.arg("--http-backend-info-refs");
    }
    piped(command.arg("."), body.unwrap_or_default()).stdout
}

fn piped(command: &mut Command, input: &[u8]) -> std::process::Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // An upload-pack that refuses a request does not read it to its end.
        scope.spawn(move || stdin.write_all(input).unwrap_or(()));
        child.wait_with_output().unwrap()
    })
}
