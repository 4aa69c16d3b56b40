use super::*;
use crate::error::Detail;

#[test]
fn names_that_mean_git_somewhere() {
    for name in [
        ".git",
        ".GIT",
        ".gIt ",
        ".git. .",
        ".git::$INDEX_ALLOCATION",
        ".git\\config",
        "git~1",
        "GIT~1.",
        ".g\u{200c}it",
        "\u{feff}.git",
        "..",
        ".",
        "",
        "a/b",
        "../a",
    ] {
        assert!(!is_allowed(name.as_bytes()), "{name:?}");
    }
    for name in [
        ".gitignore",
        ".github",
        ".gitattributes",
        "git",
        "git~2",
        ".git2",
        "a.git",
        "...",
        "a\\b",
        " .git",
        ".git-credentials.yaml",
        "\u{e4}",
    ] {
        assert!(is_allowed(name.as_bytes()), "{name:?}");
    }
    assert!(is_allowed(b"\xff\xe2\x80"));
}

fn job() -> Job {
    Job::new(
        tokio_util::sync::CancellationToken::new(),
        crate::task::fault::Fault::default(),
    )
}

fn repository() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path()).unwrap();
    (dir, repo)
}

fn tree(repo: &Repository, entries: &[(&str, &str, Oid)]) -> Oid {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").bytes());
        bytes.extend(id.as_bytes());
    }
    repo.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
}

fn kind(repo: &Repository, tree: Oid) -> Option<Kind> {
    CheckedTrees::default()
        .check(repo, tree, &job())
        .err()
        .map(|error| error.kind)
}

#[test]
fn depth_and_number_are_bounded_however_trees_are_shared() {
    let (_dir, repo) = repository();
    let blob = repo.blob(b"x").unwrap();
    let leaf = tree(&repo, &[("100644", "f", blob)]);
    let mut chain = vec![leaf];
    for level in 0..MAX_LEVELS as usize {
        chain.push(tree(&repo, &[("40000", "d", chain[level])]));
    }
    assert_eq!(kind(&repo, chain[MAX_LEVELS as usize - 1]), None);
    assert_eq!(
        kind(&repo, chain[MAX_LEVELS as usize]),
        Some(Kind::TooLarge)
    );
    // Looked into from the leaf up, each tree is known before the one above it asks.
    let names: Vec<String> = (0..chain.len()).map(|n| format!("{n:04}")).collect();
    let all: Vec<_> = names
        .iter()
        .zip(&chain)
        .map(|(name, id)| ("40000", name.as_str(), *id))
        .collect();
    assert_eq!(kind(&repo, tree(&repo, &all)), Some(Kind::TooLarge));
    // Two to the power of 40 files in 41 trees.
    let mut bomb = leaf;
    for _ in 0..40 {
        bomb = tree(&repo, &[("40000", "a", bomb), ("40000", "b", bomb)]);
    }
    assert_eq!(kind(&repo, bomb), Some(Kind::TooLarge));
}

#[test]
fn directories_count_where_there_is_no_file() {
    let (_dir, repo) = repository();
    let mut bomb = tree(&repo, &[]);
    for _ in 0..40 {
        bomb = tree(&repo, &[("40000", "a", bomb), ("40000", "b", bomb)]);
    }
    assert_eq!(kind(&repo, bomb), Some(Kind::TooLarge));
}

fn limit(repo: &Repository, tree: Oid) -> Option<Detail> {
    let error = CheckedTrees::default().check(repo, tree, &job()).err()?;
    assert_eq!(error.kind, Kind::TooLarge);
    error.detail.get(&Key::Limit).cloned()
}

#[test]
fn paths_are_bounded_one_by_one_and_together() {
    let (_dir, repo) = repository();
    let blob = repo.blob(b"x").unwrap();
    // 15 names of 255 bytes and a slash each, and one of what is left.
    let long = "n".repeat(255);
    let path = |last: usize| {
        let mut at = tree(&repo, &[("100644", &"f".repeat(last), blob)]);
        for _ in 0..15 {
            at = tree(&repo, &[("40000", &long, at)]);
        }
        at
    };
    assert_eq!(limit(&repo, path(LONGEST_PATH as usize - 15 * 256)), None);
    assert_eq!(
        limit(&repo, path(LONGEST_PATH as usize - 15 * 256 + 1)),
        Some(LONGEST_PATH.into())
    );
    // 100 times 1,000 files, each 1,500 bytes away: 150 MB of paths in 14 trees.
    let names: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| ("100644", name.as_str(), blob))
        .collect();
    let mut deep = tree(&repo, &files);
    for _ in 0..6 {
        deep = tree(&repo, &[("40000", &long, deep)]);
    }
    let times = |count: usize| {
        let all: Vec<_> = names[..count]
            .iter()
            .map(|name| ("40000", name.as_str(), deep))
            .collect();
        tree(&repo, &all)
    };
    assert_eq!(limit(&repo, times(10)), None);
    assert_eq!(limit(&repo, times(100)), Some(MAX_PATH_BYTES.into()));
}

#[test]
fn a_name_that_is_there_twice_is_refused_and_shown_with_its_path() {
    let (_dir, repo) = repository();
    let blob = repo.blob(b"x").unwrap();
    let twice = tree(
        &repo,
        &[("120000", "x", blob), ("40000", "x", tree(&repo, &[]))],
    );
    let top = tree(&repo, &[("40000", "deep", twice)]);
    let error = CheckedTrees::default()
        .check(&repo, top, &job())
        .unwrap_err();
    assert_eq!(error.kind, Kind::UnsafePath);
    assert!(error.message.contains("`deep/x`"), "{error}");
    assert_eq!(
        kind(
            &repo,
            tree(&repo, &[("100644", "x", blob), ("100644", "y", blob)])
        ),
        None
    );
}

#[test]
fn what_is_known_to_be_sound_is_not_looked_into_again() {
    let (dir, repo) = repository();
    let blob = repo.blob(b"x").unwrap();
    let inner = tree(&repo, &[("100644", "file", blob)]);
    let checked = CheckedTrees::default();
    checked
        .check(&repo, tree(&repo, &[("40000", "dir", inner)]), &job())
        .unwrap();

    let next = tree(&repo, &[("40000", "dir", inner), ("100644", "file", blob)]);
    let id = inner.to_string();
    std::fs::remove_file(dir.path().join("objects").join(&id[..2]).join(&id[2..])).unwrap();
    let repo = Repository::open(dir.path()).unwrap();
    checked.check(&repo, next, &job()).unwrap();
    CheckedTrees::default()
        .check(&repo, next, &job())
        .unwrap_err();
}

#[test]
fn a_root_is_held_to_more_than_a_directory() {
    let (_dir, repo) = repository();
    let blob = repo.blob(b"x").unwrap();
    let inner = tree(&repo, &[("100644", OLD_GIT, blob)]);
    let checked = CheckedTrees::default();
    checked
        .check(&repo, tree(&repo, &[("40000", "dir", inner)]), &job())
        .unwrap();
    let error = checked.check(&repo, inner, &job()).unwrap_err();
    assert_eq!(error.kind, Kind::UnsafePath);
}
