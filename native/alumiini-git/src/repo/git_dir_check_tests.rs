use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use git2::Repository;

use super::*;
use crate::repo::marker;
use crate::repo::open as repository;

/// A repository of ours, and something beside it that is nobody's business.
fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init(dir.path().join("repo")).unwrap();
    repo.config()
        .unwrap()
        .set_bool(repository::MANAGED, true)
        .unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    fs::write(dir.path().join("elsewhere/file"), "theirs").unwrap();
    let git_dir = repo.path().to_owned();
    (dir, git_dir)
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_repository_of_ours_is_taken() {
    let (_dir, git_dir) = fixture();
    fs::create_dir_all(git_dir.join("refs/remotes/origin")).unwrap();
    check_ours(&git_dir).unwrap();
    repository::managed(&git_dir).unwrap();
    check_ours(&git_dir.join("missing")).unwrap();
}

#[test]
fn links_and_pipes_are_refused_wherever_they_are_and_not_waited_for() {
    let names = [
        "HEAD",
        "config",
        "index",
        "shallow",
        "packed-refs",
        "alumiini-checkout",
        "refs/heads/main",
        "refs/remotes",
        "objects/pack",
        "objects/info/x",
        "logs",
        "info/attributes",
        "x",
    ];
    for name in names {
        for link in [true, false] {
            let (dir, git_dir) = fixture();
            let path = git_dir.join(name);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match link {
                true => symlink(dir.path().join("elsewhere"), &path).unwrap(),
                false => pipe(&path),
            }
            let error = repository::managed(&git_dir).err().unwrap();
            assert_eq!(error.kind, Kind::UnsafePath, "{name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
            // Whose it is cannot be asked of a config that is none.
            assert_eq!(repository::is_managed(&git_dir), name != "config", "{name}");
            let _ = repository::shallow(&git_dir);
            let _ = marker::get(&git_dir);
        }
    }
}

#[test]
fn nothing_of_ours_leads_to_another_repository() {
    let (dir, git_dir) = fixture();
    for name in ELSEWHERE {
        fs::create_dir_all(git_dir.join("objects/info")).unwrap();
        fs::write(git_dir.join(name), dir.path().as_os_str().as_bytes()).unwrap();
        assert_eq!(
            check_ours(&git_dir).unwrap_err().kind,
            Kind::UnsafePath,
            "{name}"
        );
        fs::remove_file(git_dir.join(name)).unwrap();
    }
    let config = fs::read_to_string(git_dir.join("config")).unwrap();
    for more in [
        "[include]\n\tpath = /etc/x\n",
        "[core]\n  worktree = /\n",
        "  [IncludeIf \"x\"]\n",
    ] {
        fs::write(git_dir.join("config"), format!("{config}{more}")).unwrap();
        assert_eq!(
            check_ours(&git_dir).unwrap_err().kind,
            Kind::UnsafePath,
            "{more}"
        );
    }
    fs::rename(&git_dir, dir.path().join("moved")).unwrap();
    symlink(
        dir.path().join("moved"),
        git_dir.parent().unwrap().join(".git"),
    )
    .unwrap();
    let link = git_dir.parent().unwrap().join(".git");
    assert_eq!(check_ours(&link).unwrap_err().kind, Kind::UnsafePath);
}

#[test]
fn files_that_are_longer_than_any_are_not_read() {
    for (name, most) in FILES {
        let (_dir, git_dir) = fixture();
        let path = git_dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.set_len(most + 1).unwrap();
        assert!(check_ours(&git_dir).is_err(), "{name}");
        assert!(read(&path, most).is_err(), "{name}");
    }
}

#[test]
fn directories_are_gone_into_so_deep_and_no_deeper() {
    let (_dir, git_dir) = fixture();
    let deep = |levels: usize| git_dir.join("refs").join(vec!["d"; levels].join("/"));
    fs::create_dir_all(deep(30)).unwrap();
    check_ours(&git_dir).unwrap();
    fs::create_dir_all(deep(80)).unwrap();
    assert_eq!(check_ours(&git_dir).unwrap_err().kind, Kind::UnsafePath);
}
