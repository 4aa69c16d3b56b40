#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::{CachedReads, Medium, is_harmless, is_plain};

#[test]
fn only_what_can_be_meant_in_one_way_is_plain() {
    for path in ["/a", "/a/b.c/d e", "/.git/x"] {
        assert!(is_plain(path.as_bytes()), "{path}");
    }
    for path in [
        "", "a", "a/b", "/", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/..",
    ] {
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
fn aged() -> CachedReads {
    CachedReads {
        tick: Duration::ZERO,
        ..CachedReads::default()
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
    assert_eq!(
        at_once.file(&root.join("deploy"), "app.yaml".as_ref(), 100),
        None
    );
    symlink(root, root.join("deploy/again")).unwrap();
    assert_eq!(
        at_once.file(&root.join("deploy/again"), "empty".as_ref(), 100),
        None
    );

    // A checkout that is not finished.
    fs::write(root.join(".git/alumiini-checkout"), "x").unwrap();
    assert_eq!(read("deploy/app.yaml"), None);
    fs::remove_file(root.join(".git/alumiini-checkout")).unwrap();
    assert!(read("deploy/app.yaml").is_some());
}

#[test]
fn trusts_neither_a_young_repository_nor_a_file_system_that_it_does_not_know() {
    let work = repository();
    let young = CachedReads::default();
    young.learn(work.path());
    assert_eq!(
        young.file(work.path(), "deploy/app.yaml".as_ref(), 100),
        None
    );
    assert_eq!(
        aged().file(work.path(), "deploy/app.yaml".as_ref(), 100),
        None
    );
    let nowhere = aged();
    nowhere.learn(Path::new("/proc"));
    let learned = nowhere.devices.lock().unwrap();
    assert!(learned.values().all(|(medium, _)| *medium == Medium::Other));
}

/// A repository without a working tree, at a commit on `main`.
#[cfg(target_os = "linux")]
fn without_files() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    let git = work.path().join(".git");
    fs::create_dir_all(git.join("refs/heads")).unwrap();
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(git.join("config"), "[core]\n\tbare = true\n").unwrap();
    fs::write(git.join("refs/heads/main"), format!("{}\n", "1".repeat(40))).unwrap();
    work
}

/// So that the system knows without looking at the disk.
fn look_for_what_is_missing(git: &Path) {
    for missing in ["alumiini-checkout", "index", "packed-refs"] {
        let _ = fs::metadata(git.join(missing));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn gives_what_was_read_again_as_long_as_the_repository_is_where_it_was() {
    let app: &Path = "deploy/app.yaml".as_ref();
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("the branch moves", |git| {
            fs::write(git.join("new"), format!("{}\n", "2".repeat(40))).unwrap();
            fs::rename(git.join("new"), git.join("refs/heads/main")).unwrap();
        }),
        ("the branch goes", |git| {
            fs::remove_file(git.join("refs/heads/main")).unwrap()
        }),
        ("refs are packed", |git| {
            fs::write(git.join("packed-refs"), "").unwrap()
        }),
        ("HEAD leads elsewhere", |git| {
            fs::write(git.join("HEAD"), "ref: refs/heads/next\n").unwrap();
        }),
        ("the config changes", |git| {
            fs::write(git.join("config"), "").unwrap()
        }),
        ("files are checked out", |git| {
            fs::write(git.join("index"), "").unwrap()
        }),
        ("a move begins", |git| {
            fs::write(git.join("alumiini-checkout"), "x").unwrap()
        }),
        ("another repository takes its place", |git| {
            let other = without_files();
            fs::rename(git, git.with_extension("old")).unwrap();
            fs::rename(other.path().join(".git"), git).unwrap();
        }),
    ];
    for (what, change) in changes {
        let work = without_files();
        let (root, git) = (work.path(), work.path().join(".git"));
        let at_once = aged();
        let at = at_once.at(root).unwrap();
        at_once.keep(root, at.clone(), app, b"kind: A");
        assert_eq!(at_once.file(root, app, 100), None, "not learned yet");
        at_once.learn(root);
        at_once.keep(root, at, app, b"kind: A");
        look_for_what_is_missing(&git);
        assert_eq!(
            at_once.file(root, app, 100).as_deref(),
            Some(&b"kind: A"[..]),
            "{what}"
        );
        assert_eq!(at_once.file(root, app, 6), None, "{what}");
        assert_eq!(
            at_once.file(root, "deploy/other.yaml".as_ref(), 100),
            None,
            "{what}"
        );
        change(&git);
        assert_eq!(at_once.file(root, app, 100), None, "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn remembers_nothing_of_a_repository_that_is_young_or_says_where_it_is_in_another_way() {
    let work = without_files();
    let git = work.path().join(".git");
    assert!(CachedReads::default().at(work.path()).is_none());
    assert!(aged().at(work.path()).is_some());
    for (file, content) in [
        ("refs/heads/main", "ref: refs/heads/other\n"),
        ("HEAD", "ref: refs/remotes/origin/main\n"),
        ("HEAD", "ref: refs/heads/../../config\n"),
        ("HEAD", "nothing\n"),
    ] {
        fs::write(git.join(file), content).unwrap();
        assert!(aged().at(work.path()).is_none(), "{content}");
    }
    fs::write(git.join("HEAD"), format!("{}\n", "3".repeat(40))).unwrap();
    assert!(aged().at(work.path()).is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_remembered_is_bounded() {
    let work = without_files();
    let at_once = aged();
    at_once.learn(work.path());
    look_for_what_is_missing(&work.path().join(".git"));
    let at = at_once.at(work.path()).unwrap();
    let content = vec![0; 1 << 20];
    for n in 0..40 {
        let file = format!("file-{n}");
        at_once.keep(work.path(), at.clone(), file.as_ref(), &content);
        assert!(
            at_once.file(work.path(), file.as_ref(), 1 << 20).is_some(),
            "{n}"
        );
    }
    assert_eq!(at_once.file(work.path(), "file-0".as_ref(), 1 << 20), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_in_memory_need_not_be_asked_what_it_remembers() {
    // It forgets at once what it does not have, so nothing of that is ever cached.
    let Ok(work) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let git = without_files();
    copy(&git.path().join(".git"), &work.path().join(".git"));
    let at_once = aged();
    at_once.learn(work.path());
    let at = at_once.at(work.path()).unwrap();
    at_once.keep(work.path(), at, "a".as_ref(), b"A");
    assert_eq!(
        at_once.file(work.path(), "a".as_ref(), 9).as_deref(),
        Some(&b"A"[..])
    );
    fs::write(work.path().join(".git/index"), "").unwrap();
    fs::write(work.path().join("a"), "B").unwrap();
    assert_eq!(
        at_once.file(work.path(), "a".as_ref(), 9).as_deref(),
        Some(&b"B"[..])
    );
}

#[cfg(target_os = "linux")]
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
