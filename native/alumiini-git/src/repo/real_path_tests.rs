use std::fs;
use std::os::unix::fs::symlink;

use git2::{Repository, RepositoryOpenFlags};

use super::*;
use crate::repo::held_dir::HeldDir;
use crate::repo::test_git::git;

fn bytes(path: &Path) -> Option<CString> {
    kept(path.as_os_str().as_bytes())
}

#[test]
fn a_path_through_a_descriptor_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    fs::create_dir_all(real.join("a/b")).unwrap();
    symlink("a", real.join("link")).unwrap();
    let held = HeldDir::open(&real).unwrap();
    let at = held.at();
    if !at.starts_with(DESCRIPTORS) {
        return;
    }
    let is = |path: &Path| Some(CString::new(path.as_os_str().as_bytes()).unwrap());
    assert_eq!(bytes(at), is(at));
    assert_eq!(bytes(&at.join("./a//b/")), is(&at.join("a/b")));
    assert_eq!(bytes(&at.join("a/../a")), is(&at.join("a")));
    // For realpath(3) to tell.
    for other in ["..", "a/../..", "link", "link/b", "missing"] {
        assert_eq!(bytes(&at.join(other)), None, "{other}");
    }
    for other in [
        real.as_path(),
        Path::new("/proc/self/fd"),
        Path::new("/proc/self/fd/x"),
        Path::new("/proc/self/fd/1x"),
    ] {
        assert_eq!(bytes(other), None, "{other:?}");
    }
}

// The linker could take libgit2's own function: then this is red.
#[test]
fn libgit2_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    git(&real, &["init", "--quiet", "repo"]);
    let held = HeldDir::open(&real.join("repo")).unwrap();
    if !held.at().starts_with(DESCRIPTORS) {
        return;
    }
    let repo =
        Repository::open_ext(held.at(), RepositoryOpenFlags::NO_SEARCH, &[] as &[&str]).unwrap();
    assert!(
        is_kept(&held.at().join(".git"), repo.path()),
        "{:?}",
        repo.path()
    );
    assert_eq!(repo.workdir(), Some(&*held.at().join("")));
    fs::rename(real.join("repo"), real.join("moved")).unwrap();
    git(&real, &["init", "--quiet", "repo"]);
    repo.reference_symbolic("refs/heads/new", "refs/heads/main", false, "")
        .unwrap();
    assert!(real.join("moved/.git/refs/heads/new").exists());
    assert!(!real.join("repo/.git/refs/heads/new").exists());
}
