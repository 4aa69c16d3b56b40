use super::*;
use crate::error::Key;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

fn repository() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("repo");
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::create_dir_all(root.join("deploy/nested")).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(root.join(".git/config"), "token").unwrap();
    fs::write(root.join("deploy/app.yaml"), "app").unwrap();
    fs::write(root.join("deploy/nested/deep.yaml"), "deep").unwrap();
    outside
}

fn text(root: &Root, path: &str) -> Result<String> {
    let mut text = String::new();
    root.file(Path::new(path))?
        .read_to_string(&mut text)
        .unwrap();
    Ok(text)
}

#[test]
fn files_inside_open_however_they_are_written() {
    let outside = repository();
    let path = outside.path().join("repo");
    symlink("deploy/app.yaml", path.join("link.yaml")).unwrap();
    symlink("../deploy", path.join("deploy/again")).unwrap();
    let root = Root::open(&path).unwrap();
    for name in [
        "deploy/app.yaml",
        "./deploy//app.yaml",
        "deploy/./app.yaml",
        "link.yaml",
        "deploy/again/again/app.yaml",
    ] {
        assert_eq!(text(&root, name).unwrap(), "app", "{name}");
    }
    assert!(root.dir(Path::new("")).is_ok());
    assert!(root.dir(Path::new("deploy/")).is_ok());
}

#[test]
fn what_leads_out_or_into_git_is_refused_and_what_is_not_there_is_not_found() {
    let outside = repository();
    let path = outside.path().join("repo");
    symlink("../secret", path.join("out")).unwrap();
    symlink("..", path.join("up")).unwrap();
    symlink(outside.path().join("secret"), path.join("absolute")).unwrap();
    symlink(".git/config", path.join("config.yaml")).unwrap();
    symlink(".git", path.join("git")).unwrap();
    symlink("loop", path.join("loop")).unwrap();
    symlink("gone", path.join("dangling")).unwrap();
    let root = Root::open(&path).unwrap();
    for name in [
        "../secret",
        "deploy/../../secret",
        "deploy/../deploy/app.yaml",
        "/etc/hosts",
        "out",
        "up/secret",
        "up/repo/deploy/app.yaml",
        "absolute",
        "config.yaml",
        "git/config",
        ".git/config",
        ".GIT/config",
        "deploy/../.git/config",
        "loop",
        "deploy/\0app",
    ] {
        assert_eq!(
            text(&root, name).unwrap_err().kind,
            Kind::UnsafePath,
            "{name:?}"
        );
    }
    for name in [
        "gone",
        "deploy",
        "",
        "deploy/app.yaml/x",
        "dangling",
        "deploy/gone/app.yaml",
    ] {
        assert_eq!(
            text(&root, name).unwrap_err().kind,
            Kind::PathNotFound,
            "{name:?}"
        );
    }
}

#[test]
fn git_is_refused_under_any_other_name_it_may_have() {
    let outside = repository();
    let path = outside.path().join("repo");
    // As a file system that ignores some characters would have it: another name, the same
    // directory.
    let root = Root::open(&path).unwrap();
    let real = Root {
        git: fs::metadata(path.join("deploy"))
            .ok()
            .map(|m| (m.dev(), m.ino())),
        ..root
    };
    assert_eq!(
        text(&real, "deploy/app.yaml").unwrap_err().kind,
        Kind::UnsafePath
    );
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_writer() {
    let outside = repository();
    let path = outside.path().join("repo");
    let made = std::process::Command::new("mkfifo")
        .arg(path.join("pipe.yaml"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(
        text(&Root::open(&path).unwrap(), "pipe.yaml")
            .unwrap_err()
            .kind,
        Kind::PathNotFound
    );
}

/// A name that is a directory one moment and a link out of the repository the next.
#[test]
fn a_link_swapped_in_between_never_opens_what_is_outside() {
    let outside = repository();
    let path = outside.path().join("repo");
    let trap = outside.path().join("trap");
    fs::create_dir(&trap).unwrap();
    fs::write(trap.join("app.yaml"), "secret").unwrap();
    fs::create_dir(path.join("real")).unwrap();
    fs::write(path.join("real/app.yaml"), "app").unwrap();
    symlink(&trap, path.join("fake")).unwrap();
    let swapping = AtomicBool::new(true);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while swapping.load(Ordering::Relaxed) {
                for name in ["real", "fake"] {
                    fs::rename(path.join(name), path.join("deploying")).unwrap();
                    fs::rename(path.join("deploying"), path.join(name)).unwrap();
                }
            }
        });
        let root = Root::open(&path).unwrap();
        // Until both were met, so that the test has seen the race; bounded, since one of them may
        // never win here.
        for _ in 0..200_000 {
            match text(&root, "deploying/app.yaml") {
                Ok(content) => {
                    assert_eq!(content, "app");
                    opened += 1;
                }
                Err(error) => {
                    assert!(
                        matches!(error.kind, Kind::UnsafePath | Kind::PathNotFound),
                        "{error}"
                    );
                    refused += i32::from(error.kind == Kind::UnsafePath);
                }
            }
            if opened > 50 && refused > 50 {
                break;
            }
        }
        swapping.store(false, Ordering::Relaxed);
    });
    assert!(
        opened > 0 && refused > 0,
        "the race was not met: {opened} opened, {refused} refused"
    );
}

fn step() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "b", "c", ".", "..", ".git", ".Git", "config", "x y", "ü",
    ])
    .prop_map(String::from)
}

fn path() -> impl Strategy<Value = String> {
    (
        prop::bool::weighted(0.1),
        prop::collection::vec(step(), 0..6),
        prop::bool::ANY,
    )
        .prop_map(|(absolute, steps, slash)| {
            format!(
                "{}{}{}",
                if absolute { "/" } else { "" },
                steps.join("/"),
                if slash { "/" } else { "" }
            )
        })
}

#[derive(Debug, Clone)]
enum Node {
    File,
    Dir(Vec<(String, Node)>),
    Link(String),
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![Just(Node::File), path().prop_map(Node::Link)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::vec((step(), inner), 0..4).prop_map(Node::Dir)
    })
}

fn make(at: &Path, node: &Node) {
    match node {
        Node::File => drop(fs::write(at, at.as_os_str().as_bytes())),
        Node::Link(target) => drop(symlink(target, at)),
        Node::Dir(children) => {
            let _ = fs::create_dir(at);
            for (name, child) in children {
                if name != "." && name != ".." && !at.join(name).exists() {
                    make(&at.join(name), child);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the tree and the path: what opens is a regular file that the system, asked for its
    /// real place, finds inside and not below a `.git`.
    #[test]
    fn what_opens_is_inside(
        tree in prop::collection::vec((step(), node()), 1..6),
        wanted in path(),
    ) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("repo");
        for name in ["a", "b", "config"] {
            fs::write(outside.path().join(name), "outside").unwrap();
        }
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join(".git/config"), "token").unwrap();
        make(&root, &Node::Dir(tree));
        let opened = Root::open(&root).unwrap().file(Path::new(&wanted));
        if let Ok(file) = opened {
            // Linux tells what a descriptor is of; elsewhere the name is resolved again.
            let of_fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            let real = fs::read_link(of_fd).or_else(|_| root.join(&wanted).canonicalize()).unwrap();
            let relative = real.strip_prefix(root.canonicalize().unwrap());
            prop_assert!(relative.is_ok(), "{wanted} opened {}", real.display());
            let in_git = relative
                .unwrap()
                .components()
                .any(|c| c.as_os_str().as_bytes().eq_ignore_ascii_case(b".git"));
            prop_assert!(!in_git, "{wanted} opened {}", real.display());
            let (a, b) = (file.metadata().unwrap(), fs::metadata(&real).unwrap());
            prop_assert_eq!((a.dev(), a.ino()), (b.dev(), b.ino()));
            prop_assert!(a.is_file());
        }
    }
}

#[test]
fn links_that_go_to_and_fro_without_end_are_given_up() {
    let outside = repository();
    let path = outside.path().join("repo");
    let mut target = "deploy/../".repeat(400);
    target.push_str("deploy/app.yaml");
    for n in 0..2_000 {
        symlink(&target, path.join(format!("{n:04}"))).unwrap();
    }
    let root = Root::open(&path).unwrap();
    let all: Result<Vec<String>> = (0..2_000)
        .map(|n| text(&root, &format!("{n:04}")))
        .collect();
    let error = all.unwrap_err();
    assert_eq!(
        (error.kind, error.detail[&Key::Limit].as_u64()),
        (Kind::TooLarge, Some(MAX_STEPS as u64))
    );
    // As many as that are no reason to.
    assert_eq!(text(&Root::open(&path).unwrap(), "0000").unwrap(), "app");
}
