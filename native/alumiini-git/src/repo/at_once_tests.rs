#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::{AtOnce, is_harmless, is_plain};

#[test]
fn only_what_can_be_meant_in_one_way_is_plain() {
    for path in ["/a", "/a/b.c/d e", "/.git/x"] {
        assert!(is_plain(path.as_bytes()), "{path}");
    }
    for path in ["", "a", "a/b", "/", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/.."] {
        assert!(!is_plain(path.as_bytes()), "{path}");
    }
    for file in ["a", "a/b.yaml", ".gitignore", "a/.github"] {
        assert!(is_harmless(file.as_bytes()), "{file}");
    }
    for file in [
        "",
        "/a",
        "a/",
        "a//b",
        "./a",
        "a/..",
        "../a",
        ".git",
        ".Git/config",
        "a/.GIT/x",
        "\u{fc}",
        ".g\u{200c}it",
    ] {
        assert!(!is_harmless(file.as_bytes()), "{file}");
    }
}

fn repository() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir_all(work.path().join(".git")).unwrap();
    fs::write(work.path().join(".git/index"), "").unwrap();
    fs::create_dir_all(work.path().join("deploy")).unwrap();
    fs::write(work.path().join("deploy/app.yaml"), "kind: A").unwrap();
    fs::write(work.path().join("empty"), "").unwrap();
    work
}

/// What was just made is taken for old.
fn aged() -> AtOnce {
    AtOnce {
        tick: Duration::ZERO,
        ..AtOnce::default()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn reads_a_file_that_is_in_memory_and_nothing_that_is_more_to_it() {
    let work = repository();
    let root = work.path();
    let at_once = aged();
    at_once.learn(root);
    let read = |file: &str| at_once.file(root, file.as_ref(), 100);
    let _ = fs::metadata(root.join(".git/alumiini-checkout"));
    assert_eq!(read("deploy/app.yaml").as_deref(), Some(&b"kind: A"[..]));
    assert_eq!(read("empty").as_deref(), Some(&b""[..]));

    symlink("app.yaml", root.join("deploy/link")).unwrap();
    symlink("deploy", root.join("dir")).unwrap();
    symlink(root, root.join("deploy/self")).unwrap();
    for file in [
        "deploy/link",
        "dir/app.yaml",
        "deploy/self/empty",
        "deploy",
        "missing",
        "deploy/../empty",
        ".git/x",
    ] {
        assert_eq!(read(file), None, "{file}");
    }
    assert_eq!(at_once.file(root, "deploy/app.yaml".as_ref(), 6), None);
    assert_eq!(at_once.file(&root.join("deploy"), "app.yaml".as_ref(), 100), None);
    symlink(root, root.join("deploy/again")).unwrap();
    assert_eq!(at_once.file(&root.join("deploy/again"), "empty".as_ref(), 100), None);

    // A checkout that is not finished.
    fs::write(root.join(".git/alumiini-checkout"), "x").unwrap();
    assert_eq!(read("deploy/app.yaml"), None);
    fs::remove_file(root.join(".git/alumiini-checkout")).unwrap();
    assert!(read("deploy/app.yaml").is_some());
}

#[test]
fn trusts_neither_a_young_repository_nor_a_file_system_that_it_does_not_know() {
    let work = repository();
    let young = AtOnce::default();
    young.learn(work.path());
    assert_eq!(young.file(work.path(), "deploy/app.yaml".as_ref(), 100), None);
    assert_eq!(aged().file(work.path(), "deploy/app.yaml".as_ref(), 100), None);
    let nowhere = aged();
    nowhere.learn(Path::new("/proc"));
    assert!(!nowhere.devices.lock().unwrap().values().any(|(local, _)| *local));
}
