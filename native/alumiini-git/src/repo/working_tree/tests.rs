use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::error::Kind;
use crate::repo::test_git::git;

#[test]
fn an_index_has_the_modes_that_git_makes_of_those_of_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet"]);
    let repo = Repository::open(dir.path()).unwrap();
    let blob = repo.blob(b"x").unwrap();
    for mode in [
        "100644", "100664", "100755", "100700", "120000", "120777", "160000", "644", "0", "10644",
    ] {
        let mut data = format!("{mode} a\0").into_bytes();
        data.extend(blob.as_bytes());
        let file = dir.path().join("tree");
        std::fs::write(&file, &data).unwrap();
        let tree = git(
            dir.path(),
            &[
                "hash-object",
                "-w",
                "--literally",
                "-t",
                "tree",
                file.to_str().unwrap(),
            ],
        );
        let tree_id = git2::Oid::from_str(&tree).unwrap();
        let files = super::files(
            &repo.odb().unwrap(),
            tree_id,
            &Default::default(),
            &Job::unattended(),
        )
        .unwrap();
        let ours = format!("{:06o}", files[0].mode);
        git(dir.path(), &["read-tree", &tree]);
        assert_eq!(
            ours,
            git(dir.path(), &["ls-files", "--stage"])[..6],
            "{mode}"
        );
    }
}

/// What is at each path: a mode, and what is in it.
type Files = BTreeMap<String, (&'static str, u8)>;

/// Any files of few names, so that they get into each other's way.
fn files() -> impl Strategy<Value = Files> {
    let name = prop::sample::select(vec!["a", "b", "a.b", "ü"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let mode = prop::sample::select(vec!["100644", "100644", "100755", "120000", "160000"]);
    prop::collection::btree_map(path, (mode, 0..3u8), 0..12).prop_map(|mut files| {
        let paths: Vec<String> = files.keys().cloned().collect();
        files.retain(|path, _| {
            !paths
                .iter()
                .any(|other| other.starts_with(&format!("{path}/")))
        });
        files
    })
}

struct Place {
    dir: tempfile::TempDir,
    repo: Repository,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet"]);
        git(dir.path(), &["config", "core.quotePath", "false"]);
        let repo = Repository::open(dir.path()).unwrap();
        Place { dir, repo }
    }

    fn work(&self) -> &Path {
        self.dir.path()
    }

    fn tree(&self, files: &Files) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, (mode, content)) in files {
            let id = self.repo.blob(&[b'0' + content]).unwrap();
            let entry = git2::IndexEntry {
                ctime: git2::IndexTime::new(0, 0),
                mtime: git2::IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: u32::from_str_radix(mode, 8).unwrap(),
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.as_bytes().to_vec(),
            };
            index.add(&entry).unwrap();
        }
        index.write_tree_to(&self.repo).unwrap()
    }

    fn check_out(&self, tree: Oid) {
        check_out(
            &self.repo,
            self.work(),
            tree,
            &Default::default(),
            &Job::unattended(),
        )
        .unwrap();
    }

    fn advance(&self, old: Oid, new: Oid) -> bool {
        advance(
            &self.repo,
            self.work(),
            old,
            new,
            &Default::default(),
            &Job::unattended(),
        )
        .unwrap()
        .is_some()
    }

    /// Holds index and files against the tree, by Git.
    fn assert_is(&self, tree: Oid, files: &Files) {
        let tree = tree.to_string();
        let ask = |args: &[&str]| git(self.work(), args);
        let listed = ask(&[
            "ls-tree",
            "-r",
            "--format=%(objectmode) %(objectname) 0\t%(path)",
            &tree,
        ]);
        assert_eq!(ask(&["ls-files", "--stage"]), listed);
        // By the stats alone: nothing is refreshed.
        assert_eq!(ask(&["diff-files"]), "");
        assert_eq!(ask(&["ls-files", "--others", "--directory"]), "");
        assert!(
            is_clean(
                &self.repo,
                self.work(),
                Oid::from_str(&tree).unwrap(),
                &Default::default(),
                &Job::unattended()
            )
            .unwrap()
        );
        let mut wanted = BTreeSet::new();
        for (path, (mode, _)) in files {
            let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            wanted.extend(parents);
            wanted.extend((*mode == "160000").then(|| path.clone()));
        }
        assert_eq!(directories(self.work()), wanted);
    }
}

fn directories(work: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![work.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() && entry.file_name() != ".git" {
                found.insert(
                    entry
                        .path()
                        .strip_prefix(work)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
                open.push(entry.path());
            }
        }
    }
    found
}

/// Of each file that both have: what tells whether somebody was there.
fn untouched(work: &Path, one: &Files, other: &Files) -> Vec<(u64, i64, i64)> {
    let both = one
        .iter()
        .filter(|(path, what)| other.get(*path) == Some(what));
    both.map(|(path, _)| {
        let found = std::fs::symlink_metadata(work.join(path)).unwrap();
        (found.ino(), found.ctime(), found.ctime_nsec())
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn an_update_writes_what_differs_and_nothing_else(old in files(), new in files()) {
        let place = Place::new();
        let (was, is) = (place.tree(&old), place.tree(&new));
        place.check_out(was);
        place.assert_is(was, &old);
        let before = untouched(place.work(), &old, &new);
        prop_assert!(place.advance(was, is));
        prop_assert_eq!(untouched(place.work(), &old, &new), before);
        place.assert_is(is, &new);
    }

    /// Somebody was there between the check and the move.
    #[test]
    fn what_is_not_as_it_was_is_put_right_by_a_walk(
        old in files(),
        new in files(),
        at in any::<prop::sample::Index>(),
        kind in 0..3,
    ) {
        prop_assume!(!old.is_empty());
        let place = Place::new();
        let (was, is) = (place.tree(&old), place.tree(&new));
        place.check_out(was);
        let (path, (mode, _)) = old.iter().nth(at.index(old.len())).unwrap();
        let file = place.work().join(path);
        if *mode == "160000" {
            std::fs::remove_dir(&file).unwrap();
        } else {
            std::fs::remove_file(&file).unwrap();
        }
        match kind {
            0 => {}
            1 => std::fs::create_dir_all(file.join("b/mine")).unwrap(),
            _ => symlink("/", &file).unwrap(),
        }
        if !place.advance(was, is) || old.get(path) == new.get(path) {
            place.check_out(is);
        }
        place.assert_is(is, &new);
    }
}

#[test]
fn an_index_is_read_as_git_writes_it() {
    let place = Place::new();
    for n in 0..40 {
        std::fs::create_dir_all(place.work().join(format!("d{n}"))).unwrap();
        std::fs::write(place.work().join(format!("d{n}/a file")), "x").unwrap();
    }
    for version in ["2", "3", "4"] {
        git(place.work(), &["update-index", "--index-version", version]);
        git(place.work(), &["add", "--all"]);
        let index = index::read(place.repo.path()).unwrap();
        let listed = git(place.work(), &["ls-files", "--stage"]);
        let ours: Vec<String> = index
            .entries
            .iter()
            .map(|entry| {
                format!(
                    "{:06o} {} 0\t{}",
                    entry.mode,
                    entry.id,
                    String::from_utf8_lossy(&entry.path)
                )
            })
            .collect();
        assert_eq!(ours.join("\n"), listed, "version {version}");
        assert!(!index.is_special);
        for flag in ["--assume-unchanged", "--skip-worktree"] {
            let back = flag.replace("--", "--no-");
            git(place.work(), &["update-index", flag, "d7/a file"]);
            let index = index::read(place.repo.path()).unwrap();
            let left_out = index.entries.iter().filter(|entry| entry.skip);
            let left_out: Vec<&[u8]> = left_out.map(|entry| &entry.path[..]).collect();
            match flag {
                "--skip-worktree" => assert_eq!(left_out, [b"d7/a file"]),
                _ => assert!(index.is_special && left_out.is_empty()),
            }
            // As Git reads what was written here.
            index::write(place.repo.path(), &index.entries, (0, 0)).unwrap();
            let flagged = git(place.work(), &["ls-files", "-t", "--", "d6", "d7", "d8"]);
            let expected = ["H d6/a file", "S d7/a file", "H d8/a file"].join("\n");
            assert_eq!(flagged == expected, flag == "--skip-worktree", "{flagged}");
            assert_eq!(git(place.work(), &["ls-files", "--stage"]), listed);
            git(place.work(), &["update-index", &back, "d7/a file"]);
        }
        std::fs::write(place.work().join("new"), "").unwrap();
        git(place.work(), &["add", "--intent-to-add", "new"]);
        assert!(
            index::read(place.repo.path()).unwrap().is_special,
            "version {version}"
        );
        git(place.work(), &["rm", "--quiet", "--force", "new"]);
    }
    git(place.work(), &["update-index", "--split-index"]);
    assert!(index::read(place.repo.path()).is_none_or(|index| index.is_special));
}

#[test]
fn a_damaged_index_is_none() {
    let place = Place::new();
    let files = Files::from([
        ("a".to_owned(), ("100644", 1)),
        ("b/c".to_owned(), ("100755", 2)),
    ]);
    place.check_out(place.tree(&files));
    let file = place.repo.path().join("index");
    let whole = std::fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        std::fs::write(&file, &flipped).unwrap();
        assert!(index::read(place.repo.path()).is_none(), "a flip at {at}");
        std::fs::write(&file, &whole[..at]).unwrap();
        assert!(index::read(place.repo.path()).is_none(), "cut at {at}");
    }
}

/// What was written within one tick of the file system's clock is not believed by its times: the
/// index comes a tick later.
#[test]
fn an_index_is_newer_than_what_it_tells_of() {
    let place = Place::new();
    for n in 0..20 {
        let files = Files::from([("a".to_owned(), ("100644", n % 3))]);
        place.check_out(place.tree(&files));
        let changed = std::fs::metadata(place.work().join("a")).unwrap();
        let index = std::fs::metadata(place.repo.path().join("index")).unwrap();
        let (changed, index) = (
            (changed.mtime(), changed.mtime_nsec()),
            (index.mtime(), index.mtime_nsec()),
        );
        assert!(index > changed || index.1 == 0, "{index:?} {changed:?}");
    }
}

/// Of a repository that some other tool filled nobody has looked at the trees before.
#[test]
fn trees_that_name_each_other_without_end_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path()).unwrap();
    let odb = repo.odb().unwrap();
    let tree = |below: Oid| {
        let mut bytes = Vec::new();
        for name in ["a", "b"] {
            bytes.extend(format!("40000 {name}\0").bytes());
            bytes.extend(below.as_bytes());
        }
        odb.write(git2::ObjectType::Tree, &bytes).unwrap()
    };
    let file = repo.blob(b"x").unwrap();
    let empty = odb.write(git2::ObjectType::Tree, b"").unwrap();
    let mut with_file = b"100644 f\0".to_vec();
    with_file.extend(file.as_bytes());
    let mut pair = [
        empty,
        odb.write(git2::ObjectType::Tree, &with_file).unwrap(),
    ];
    for _ in 0..40 {
        pair = pair.map(tree);
    }
    let job = Job::unattended();
    let found = [
        super::files(&odb, pair[0], &Default::default(), &job).map(drop),
        tree_files::changes(&odb, empty, pair[0], &job, usize::MAX, |_| true, |_| true).map(drop),
        tree_files::changes(&odb, pair[0], pair[1], &job, usize::MAX, |_| true, |_| true).map(drop),
    ];
    for found in found {
        assert_eq!(found.map_err(|error| error.kind), Err(Kind::TooLarge));
    }
}
