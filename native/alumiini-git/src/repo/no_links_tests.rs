use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

type Opens = fn(&Path, OFlags) -> Result<OwnedFd, Errno>;
/// As the kernel does it, where it can, and as we do.
const BOTH: [Opens; 2] = [open, by_steps];

fn real() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[test]
fn no_link_is_followed_wherever_it_is() {
    let (_dir, path) = real();
    fs::create_dir_all(path.join("a/b")).unwrap();
    symlink("a", path.join("to-a")).unwrap();
    symlink("b", path.join("a/to-b")).unwrap();
    symlink("nowhere", path.join("a/dangling")).unwrap();
    for open in BOTH {
        let found = open(&path.join("a/b"), DIR).unwrap();
        let there = rustix::fs::stat(path.join("a/b")).unwrap();
        assert_eq!(identity(&fstat(&found).unwrap()), identity(&there));
        for link in ["to-a", "to-a/b", "a/to-b", "a/dangling"] {
            let found = open(&path.join(link), DIR).map(drop);
            assert_eq!(found, Err(Errno::LOOP), "{link}");
        }
        assert_eq!(open(&path.join("a/b/c"), DIR).map(drop), Err(Errno::NOENT));
        assert!(open(Path::new("/"), DIR).is_ok());
    }
}

#[test]
fn what_is_missing_is_made_and_taken_back() {
    let (_dir, path) = real();
    let mut made = Vec::new();
    make(&path.join("a/b/c"), &mut made).unwrap();
    assert!(path.join("a/b/c").is_dir());
    assert_eq!(made.len(), 3);
    remove(&made);
    assert!(!path.join("a").exists());
    assert!(path.exists());
}

#[test]
fn nothing_is_made_through_a_link() {
    let (_dir, path) = real();
    let (_other, other) = real();
    symlink(&other, path.join("link")).unwrap();
    let mut made = Vec::new();
    // For who opens it to tell.
    assert_eq!(make(&path.join("link/a/b"), &mut made), Ok(()));
    assert!(made.is_empty());
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn only_what_was_made_is_taken_back() {
    let (_dir, path) = real();
    let mut made = Vec::new();
    make(&path.join("a/b"), &mut made).unwrap();
    fs::rename(path.join("a"), path.join("moved")).unwrap();
    fs::create_dir_all(path.join("a/b")).unwrap();
    remove(&made);
    assert!(!path.join("moved/b").exists());
    assert!(path.join("a/b").exists());
}
