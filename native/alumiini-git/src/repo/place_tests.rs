use std::os::unix::fs::symlink;

use super::*;

struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Fixture {
    /// `repo` and `repo/nested` are working trees, `plain` is none.
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for dir in [
            "repo/.git",
            "repo/deploy/app",
            "repo/nested/.git",
            "repo/nested/deep",
            "plain/sub",
            "victim",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("plain/file"), "").unwrap();
        Fixture { _dir: dir, root }
    }

    fn link(&self, link: &str, target: impl AsRef<Path>) {
        symlink(target, self.root.join(link)).unwrap();
    }

    fn find(&self, path: &str) -> std::result::Result<PathBuf, Kind> {
        find(&self.root.join(path), None).map_err(|error| error.kind)
    }

    fn leads(&self, path: &str, to: &str) {
        assert_eq!(self.find(path), Ok(self.root.join(to)), "{path}");
    }

    fn is_refused(&self, path: &str) {
        assert_eq!(self.find(path), Err(Kind::UnsafePath), "{path}");
    }
}

#[test]
fn links_of_the_system_lead_anywhere() {
    let it = Fixture::new();
    it.link("to-repo", it.root.join("repo"));
    it.link("plain/up", "../victim");
    it.link("plain/again", "up");
    it.leads("to-repo/deploy", "repo/deploy");
    it.leads("plain/up/new/dir", "victim/new/dir");
    it.leads("plain/again", "victim");
    it.leads("plain/sub/../../victim", "victim");
    it.leads("plain/file", "plain/file");
    it.leads("missing/a/b", "missing/a/b");
    it.leads("repo", "repo");
    it.leads("to-repo", "repo");
}

#[test]
fn nothing_leads_out_of_a_working_tree() {
    let it = Fixture::new();
    it.link("to-repo", "repo/deploy");
    it.link("repo/out", it.root.join("victim"));
    it.link("repo/up", "../victim");
    it.link("repo/deploy/far", "../../victim");
    it.link("repo/deploy/inside", "../deploy/../deploy/app");
    it.link("repo/nested/out", "../deploy");
    it.link("repo/self", it.root.join("repo"));
    it.leads("repo/deploy/inside/x", "repo/deploy/app/x");
    it.leads("to-repo/app", "repo/deploy/app");
    it.leads("repo/nested/deep", "repo/nested/deep");
    for path in [
        "repo/out",
        "repo/out/v.yaml",
        "repo/up",
        "repo/deploy/far",
        "to-repo/far",
        "repo/self/deploy",
        // The tree that is nested is a tree of its own.
        "repo/nested/out",
        "repo/../victim",
        "repo/deploy/../../victim",
    ] {
        it.is_refused(path);
    }
}

#[test]
fn nothing_leads_into_a_git_directory_nor_makes_one() {
    let it = Fixture::new();
    it.link("repo/deploy/git", "../.git");
    it.link("plain/link", it.root.join("repo/.git"));
    for path in [
        "repo/.git",
        "repo/.git/config",
        "repo/.GIT/x",
        "repo/deploy/.git",
        "repo/deploy/git",
        "plain/link",
        "plain/.git",
        "missing/.git/x",
        "repo/missing/.Git",
    ] {
        it.is_refused(path);
    }
    it.leads("plain/app.git", "plain/app.git");
}

#[test]
fn a_link_to_nowhere_stays_one() {
    let it = Fixture::new();
    it.link("plain/gone", "nowhere/at/all");
    it.link("plain/through", "gone/x");
    it.link("repo/gone", "nowhere");
    it.leads("plain/gone", "plain/gone");
    it.leads("plain/gone/a/b", "plain/gone/a/b");
    it.leads("plain/through/a", "plain/through/a");
    it.leads("repo/gone/a", "repo/gone/a");
    // One that leads somewhere is followed to what is missing below it.
    it.link("plain/sub-too", "sub");
    it.leads("plain/sub-too/new", "plain/sub/new");
    it.is_refused("plain/gone/.git");
}

#[test]
fn links_that_never_end_are_refused() {
    let it = Fixture::new();
    it.link("plain/a", "b");
    it.link("plain/b", "a");
    it.is_refused("plain/a/x");
}

#[test]
fn with_a_root_nothing_leads_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    fs::create_dir_all(real.join("data/a/b")).unwrap();
    fs::create_dir_all(real.join("other/b")).unwrap();
    fs::create_dir_all(real.join("data-more")).unwrap();
    symlink("data", real.join("volume")).unwrap();
    symlink("../other", real.join("data/out")).unwrap();
    symlink(real.join("other"), real.join("data/out-by-root")).unwrap();
    symlink("a", real.join("data/in")).unwrap();
    symlink(real.join("data/a"), real.join("data/in-by-root")).unwrap();
    symlink("../../volume/a", real.join("data/a/out-and-in")).unwrap();
    for root in ["data", "volume"] {
        let root = real.join(root);
        let found = |path: PathBuf| find(&path, Some(&root)).map_err(|error| error.kind);
        for (path, to) in [
            ("a", "a"),
            ("a/b", "a/b"),
            ("a/../a/new/x", "a/new/x"),
            ("in/b", "a/b"),
            ("new", "new"),
        ] {
            assert_eq!(
                found(root.join(path)),
                Ok(real.join("data").join(to)),
                "{path}"
            );
        }
        assert_eq!(found(root.join("in-by-root/b")), Ok(real.join("data/a/b")));
        for path in [
            "",
            "..",
            "../other",
            "a/../..",
            "out",
            "out/b",
            "out/new",
            "out-by-root/b",
            "a/out-and-in",
            "a/../../data/a",
        ] {
            assert_eq!(found(root.join(path)), Err(Kind::UnsafePath), "{path}");
        }
        for path in ["other", "data-more", "data-more/x", "missing"] {
            assert_eq!(found(real.join(path)), Err(Kind::UnsafePath), "{path}");
        }
    }
    assert_eq!(
        find(&real.join("gone/a"), Some(&real.join("gone")))
            .unwrap_err()
            .kind,
        Kind::Io
    );
}
