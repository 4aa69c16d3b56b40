use std::process::Command;

use super::*;
use crate::repo::test_git::git;

fn repository() -> (tempfile::TempDir, RefFiles, Oid) {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
    let id = Oid::from_str(&git(dir.path(), &["rev-parse", "HEAD"])).unwrap();
    let git_dir = dir.path().join(".git");
    (dir, RefFiles::new(&git_dir, &git_dir), id)
}

fn names(refs: &RefFiles, prefixes: &[&str]) -> Vec<String> {
    let listed = refs.list(prefixes).unwrap();
    listed
        .into_iter()
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect()
}

#[test]
fn refs_are_found_loose_and_packed_in_bytes() {
    let (dir, refs, id) = repository();
    git(dir.path(), &["tag", "t"]);
    git(dir.path(), &["branch", "a/b"]);
    git(dir.path(), &["pack-refs", "--all"]);
    git(dir.path(), &["branch", "a/c"]);
    // A file system of macOS takes no such name.
    let latin: &[u8] = if cfg!(target_os = "macos") {
        b"refs/heads/cafe"
    } else {
        b"refs/heads/caf\xe9"
    };
    fs::write(
        dir.path().join(".git").join(OsStr::from_bytes(latin)),
        format!("{id}\n"),
    )
    .unwrap();
    for name in [
        &b"refs/heads/main"[..],
        b"refs/heads/a/b",
        b"refs/heads/a/c",
        b"refs/tags/t",
        b"HEAD",
        latin,
    ] {
        assert_eq!(refs.resolve(name).unwrap(), Some(id), "{name:?}");
    }
    git(dir.path(), &["pack-refs", "--all"]);
    assert_eq!(refs.resolve(latin).unwrap(), Some(id));
    for name in [
        &b"refs/heads/a"[..],
        b"refs/heads/none",
        b"../config",
        b"refs/heads/main.lock",
    ] {
        assert_eq!(refs.resolve(name).unwrap(), None, "{name:?}");
    }
    assert_eq!(
        names(&refs, &["refs/heads/a"]),
        ["refs/heads/a/b", "refs/heads/a/c"]
    );
    assert_eq!(
        names(&refs, &["HEAD", "refs/tags/"]),
        ["HEAD", "refs/tags/t"]
    );
    assert_eq!(names(&refs, &[]).len(), 6);
}

#[test]
fn what_is_broken_is_in_nobody_elses_way() {
    let (dir, refs, id) = repository();
    let heads = dir.path().join(".git/refs/heads");
    fs::write(heads.join("empty"), "").unwrap();
    fs::write(heads.join("garbage"), "none\n").unwrap();
    fs::write(heads.join("away"), "ref: ../../config\n").unwrap();
    fs::write(heads.join("bad name"), format!("{id}\n")).unwrap();
    fs::write(heads.join("loop"), "ref: refs/heads/loop\n").unwrap();
    fs::write(heads.join("dangling"), "ref: refs/heads/none\n").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(heads.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("..", heads.join("up")).unwrap();
    assert_eq!(refs.resolve(b"refs/heads/main").unwrap(), Some(id));
    for name in [
        &b"refs/heads/empty"[..],
        b"refs/heads/garbage",
        b"refs/heads/away",
        b"refs/heads/loop",
    ] {
        assert_eq!(
            refs.resolve(name).unwrap_err().kind,
            Kind::Corrupt,
            "{name:?}"
        );
    }
    for name in [
        &b"refs/heads/dangling"[..],
        b"refs/heads/pipe",
        b"refs/heads/bad name",
    ] {
        assert_eq!(refs.resolve(name).unwrap(), None, "{name:?}");
    }
    let listed = names(
        &refs,
        &[
            "refs/heads/main",
            "refs/heads/e",
            "refs/heads/g",
            "refs/heads/b",
        ],
    );
    assert_eq!(listed, ["refs/heads/main"]);
}

#[test]
fn a_linked_work_tree_has_a_head_of_its_own_and_shares_the_branches() {
    let (dir, _, id) = repository();
    let linked = dir.path().join("linked");
    git(
        dir.path(),
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "side",
            linked.to_str().unwrap(),
        ],
    );
    let git_dir = dir.path().join(".git/worktrees/linked");
    let refs = RefFiles::new(&git_dir, &dir.path().join(".git"));
    assert_eq!(
        refs.read(b"HEAD").unwrap(),
        Some(RefValue::Symbolic(b"refs/heads/side".to_vec()))
    );
    assert_eq!(refs.resolve(b"refs/heads/main").unwrap(), Some(id));
    assert_eq!(
        names(&refs, &[]),
        ["HEAD", "refs/heads/main", "refs/heads/side"]
    );
}

#[test]
fn names_are_what_git_takes() {
    let takes = |name: &[u8]| {
        let status = Command::new("git")
            .arg("check-ref-format")
            .arg(OsStr::from_bytes(name))
            .status();
        status.unwrap().success()
    };
    let names: [&[u8]; 26] = [
        b"refs/heads/main",
        b"refs/heads/a/b",
        b"refs/heads/\xff\xe9",
        b"refs/heads/a.b",
        b"refs/heads/@",
        b"refs/heads/a@b",
        b"refs/heads/.a",
        b"refs/heads/a.lock",
        b"refs/heads/a.lock/b",
        b"refs/heads/a..b",
        b"refs/heads/a.",
        b"refs/heads/a/",
        b"refs/heads//a",
        b"/refs/heads/a",
        b"refs/heads/a b",
        b"refs/heads/a\x7f",
        b"refs/heads/a\x01",
        b"refs/heads/a~b",
        b"refs/heads/a^",
        b"refs/heads/a:b",
        b"refs/heads/a?",
        b"refs/heads/a*",
        b"refs/heads/[a",
        b"refs/heads/a\\b",
        b"refs/heads/@{a",
        b"refs/heads/-a",
    ];
    for name in names {
        assert_eq!(is_valid_name(name), takes(name), "{}", name.escape_ascii());
    }
    assert!(
        is_valid_name(b"HEAD")
            && is_valid_name(b"FETCH_HEAD")
            && !is_valid_name(b"head")
            && !is_valid_name(b"")
    );
}
