use super::*;

use std::fs;
use std::os::unix::fs::symlink;

use git2::Repository;
use proptest::prelude::*;

use crate::repo::safe_path::Root;
use crate::repo::test_git::git;
use crate::repo::{open, refs};

/// A working tree, and the commit of all that is in it.
fn committed() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    git(path, &["init", "-q", "."]);
    fs::create_dir_all(path.join("deploy/nested")).unwrap();
    fs::create_dir_all(path.join(OsStr::from_bytes(b"caf\xe9"))).unwrap();
    for (name, content) in [
        (&b"top.yaml"[..], "top"),
        (b"empty.yaml", ""),
        (b"run.sh", "run"),
        (b"deploy/app.yaml", "app"),
        (b"deploy/nested/deep.yml", "deep"),
        (b"deploy/.hidden.yaml", "hidden"),
        (b"caf\xe9/a b.yaml", "odd"),
        (b"dir.yaml/inside.yaml", "inside"),
    ] {
        let file = path.join(OsStr::from_bytes(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    for (target, name) in [
        ("deploy/app.yaml", "link.yaml"),
        ("../deploy", "deploy/again"),
        ("./deploy/../top.yaml", "round.yaml"),
        ("..", "up"),
        ("../..", "deploy/out"),
        ("../outside.yaml", "out.yaml"),
        ("/etc/hostname", "absolute.yaml"),
        (".git/config", "config.yaml"),
        (".git", "git"),
        (".GIT/config", "case.yaml"),
        ("loop.yaml", "loop.yaml"),
        ("gone.yaml", "dangling.yaml"),
        ("top.yaml/", "slash.yaml"),
        ("top.yaml/..", "through.yaml"),
        ("deploy", "folder.yaml"),
        (".", "here"),
    ] {
        symlink(target, path.join(name)).unwrap();
    }
    git(path, &["add", "-A"]);
    let nothing = "1".repeat(40);
    git(
        path,
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{nothing},module"),
        ],
    );
    fs::create_dir(path.join("module")).unwrap();
    git(path, &["update-index", "--chmod=+x", "run.sh"]);
    git(path, &["commit", "-q", "-m", "all"]);
    let repo = open::any(path).unwrap();
    (dir, repo)
}

fn reader<'a>(repo: &'a Repository, path: &Path, below: &Path) -> Result<TreeReader<'a>> {
    let head = refs::head(repo)?.unwrap();
    let tree = raw_object::tree_of(repo, head.commit)?;
    TreeReader::at(raw_object::odb(repo)?, tree, path, below, None)
}

type Answer<T> = Result<T, (Kind, String)>;

fn plain<T>(result: Result<T>) -> Answer<T> {
    result.map_err(|error| (error.kind, error.message))
}

/// What a file of the working tree and one of the commit come to; and whether a directory is there.
fn both(path: &Path, repo: &Repository, name: &Path) -> [Answer<Vec<u8>>; 2] {
    let root = Root::open(path).unwrap();
    let tree = reader(repo, path, Path::new("")).unwrap();
    let on_disk = root.file(name).map(|mut file| {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut content).unwrap();
        content
    });
    let committed = tree.file(name).and_then(|file| {
        let content = tree.content(file)?;
        assert_eq!(tree.size(file)?, content.len() as u64);
        Ok(content)
    });
    let dirs = [
        plain(root.dir(name).map(drop)),
        plain(tree.dir(name).map(drop)),
    ];
    assert_eq!(dirs[0], dirs[1], "{}", name.display());
    [plain(on_disk), plain(committed)]
}

const STEPS: &[&[u8]] = &[
    b"deploy",
    b"nested",
    b"app.yaml",
    b"deep.yml",
    b"top.yaml",
    b"empty.yaml",
    b"run.sh",
    b"caf\xe9",
    b"a b.yaml",
    b"dir.yaml",
    b"module",
    b"link.yaml",
    b"again",
    b"round.yaml",
    b"up",
    b"out",
    b"out.yaml",
    b"absolute.yaml",
    b"config.yaml",
    b"git",
    b"case.yaml",
    b"loop.yaml",
    b"dangling.yaml",
    b"slash.yaml",
    b"through.yaml",
    b"folder.yaml",
    b"here",
    b".git",
    b".",
    b"..",
    b"",
    b"absent",
    b"nul\0",
];

#[test]
fn each_name_is_what_it_is_in_a_working_tree() {
    let (dir, repo) = committed();
    let (mut found, mut refused, mut missing) = (0, 0, 0);
    for step in STEPS {
        let [on_disk, committed] = both(dir.path(), &repo, Path::new(OsStr::from_bytes(step)));
        assert_eq!(on_disk, committed);
        match committed {
            Ok(_) => found += 1,
            Err((Kind::UnsafePath, _)) => refused += 1,
            Err((Kind::PathNotFound, _)) => missing += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(
        found >= 6 && refused >= 9 && missing >= 9,
        "{found} {refused} {missing}"
    );
}

#[test]
fn what_a_directory_of_the_tree_is_asked_stays_inside_of_it() {
    let (dir, repo) = committed();
    for (below, name) in [
        ("deploy", "app.yaml"),
        ("deploy", "again/app.yaml"),
        ("deploy", "out"),
        ("deploy/nested", "deep.yml"),
        ("deploy/nested", "../app.yaml"),
    ] {
        let (below, name) = (Path::new(below), Path::new(name));
        let on_disk = Root::open(&dir.path().join(below))
            .unwrap()
            .file(name)
            .map(drop);
        let committed = reader(&repo, dir.path(), below)
            .unwrap()
            .file(name)
            .map(drop);
        assert_eq!(
            plain(on_disk),
            plain(committed),
            "{} {}",
            below.display(),
            name.display()
        );
    }
    for (below, kind) in [
        ("absent", Kind::PathNotFound),
        ("top.yaml", Kind::PathNotFound),
        (".git", Kind::UnsafePath),
    ] {
        let refused = reader(&repo, dir.path(), Path::new(below))
            .map(drop)
            .unwrap_err();
        assert_eq!(refused.kind, kind, "{below}");
    }
}

#[test]
fn names_are_those_of_files_and_of_links_to_files_inside() {
    let (dir, repo) = committed();
    let tree = reader(&repo, dir.path(), Path::new("")).unwrap();
    let names = |path: &str| {
        let mut names = tree
            .names(Path::new(path), |name| name.ends_with(b".yaml"))
            .unwrap();
        names.sort();
        names
    };
    let top: [&[u8]; 5] = [
        b"empty.yaml",
        b"link.yaml",
        b"round.yaml",
        b"slash.yaml",
        b"top.yaml",
    ];
    assert_eq!(names(""), top);
    assert_eq!(names("deploy/again"), [&b".hidden.yaml"[..], b"app.yaml"]);
    assert!(names("module").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn paths_of_many_steps_are_what_they_are_in_a_working_tree(
        paths in prop::collection::vec(
            prop::collection::vec(prop::sample::select(STEPS), 1..5),
            200,
        ),
    ) {
        let (dir, repo) = committed();
        for steps in paths {
            let name = steps.join(&b'/');
            let [on_disk, committed] = both(dir.path(), &repo, Path::new(OsStr::from_bytes(&name)));
            prop_assert_eq!(on_disk, committed, "{:?}", String::from_utf8_lossy(&name));
        }
    }
}

#[test]
fn links_through_many_names_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path()).unwrap();
    let odb = repo.odb().unwrap();
    let link = repo.blob(b"zz").unwrap();
    let file = repo.blob(b"x").unwrap();
    let mut bytes = Vec::new();
    for (mode, name, id) in (0..20_000)
        .map(|n| ("120000", format!("{n:05}.yaml"), link))
        .chain([("100644", "zz".to_owned(), file)])
    {
        bytes.extend(format!("{mode} {name}\0").bytes());
        bytes.extend(id.as_bytes());
    }
    let tree = odb.write(ObjectType::Tree, &bytes).unwrap();
    let reader =
        || TreeReader::at(repo.odb().unwrap(), tree, dir.path(), Path::new(""), None).unwrap();
    let error = reader().names(Path::new(""), |_| true).unwrap_err();
    assert_eq!(
        (error.kind, error.detail[&Key::Limit].as_u64()),
        (Kind::TooLarge, Some(MAX_LOOKED_THROUGH))
    );
    let few = reader()
        .names(Path::new(""), |name| name.starts_with(b"000"))
        .unwrap();
    assert_eq!(few.len(), 100);
}
