use std::collections::hash_map::RandomState;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Fingerprint, What};

/// A tree with as many directories beside each other and one in the other as `wide` and `deep` say,
/// each with two files.
fn grow(dir: &Path, wide: usize, deep: usize) -> usize {
    fs::write(dir.join("a"), "").unwrap();
    fs::write(dir.join("b"), "").unwrap();
    let below = if deep == 0 { 0 } else { wide };
    let grown = (0..below).map(|n| {
        let sub = dir.join(n.to_string());
        fs::create_dir(&sub).unwrap();
        grow(&sub, wide, deep - 1)
    });
    2 + grown.sum::<usize>()
}

struct Eye {
    keys: RandomState,
    open: CancellationToken,
    runtime: tokio::runtime::Runtime,
}

impl Eye {
    fn new() -> Eye {
        Eye {
            keys: RandomState::new(),
            open: CancellationToken::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
        }
    }

    /// Of a tree that is taken for old.
    fn look(&self, root: &Path) -> Option<Arc<Fingerprint>> {
        Fingerprint::at(root, None, &self.keys, Duration::ZERO, &self.open).map(Arc::new)
    }

    fn is_still(&self, look: &Arc<Fingerprint>, root: &Path, helpers: usize) -> bool {
        let _runtime = self.runtime.enter();
        look.is_still(What::All, root, &self.keys, &self.open, helpers)
    }

    fn has_same_names(&self, look: &Arc<Fingerprint>, root: &Path) -> bool {
        look.is_still(What::Names, root, &self.keys, &self.open, 1)
    }
}

#[test]
fn tells_the_same_whoever_helps() {
    let work = tempfile::tempdir().unwrap();
    let files = grow(work.path(), 6, 3);
    let eye = Eye::new();
    let look = eye.look(work.path()).unwrap();
    assert_eq!(look.files, files);
    for round in 0..50 {
        assert!(eye.is_still(&look, work.path(), round % 4), "{round}");
    }
    fs::write(work.path().join("5/5/5/b"), "b").unwrap();
    for round in 0..50 {
        assert!(!eye.is_still(&look, work.path(), round % 4), "{round}");
    }
}

/// By the times of a directory, and by reading it again where those say nothing.
#[test]
fn sees_a_name_more_and_a_name_less() {
    for tells in [true, false] {
        let work = tempfile::tempdir().unwrap();
        grow(work.path(), 2, 2);
        let eye = Eye::new();
        let look = || {
            let mut look =
                Fingerprint::at(work.path(), None, &eye.keys, Duration::ZERO, &eye.open).unwrap();
            // The directory for temporary files is on a file system that does, here and elsewhere
            // on Linux.
            assert_eq!(look.tells, cfg!(target_os = "linux"));
            look.tells &= tells;
            Arc::new(look)
        };
        let before = look();
        assert!(eye.is_still(&before, work.path(), 0));
        assert!(eye.has_same_names(&before, work.path()));
        // What is written to keeps its name.
        fs::write(work.path().join("1/0/a"), "written").unwrap();
        assert!(!eye.is_still(&before, work.path(), 0));
        assert_eq!(eye.has_same_names(&before, work.path()), before.tells);
        let before = look();
        fs::write(work.path().join("1/0/new"), "").unwrap();
        assert!(!eye.is_still(&before, work.path(), 0));
        assert!(!eye.has_same_names(&before, work.path()));
        let before = look();
        fs::create_dir(work.path().join("1/new")).unwrap();
        assert!(!eye.is_still(&before, work.path(), 0));
        let before = look();
        fs::remove_file(work.path().join("0/a")).unwrap();
        assert!(!eye.is_still(&before, work.path(), 0));
        assert!(!eye.has_same_names(&before, work.path()));
        let before = look();
        fs::rename(work.path().join("0"), work.path().join("x")).unwrap();
        std::os::unix::fs::symlink("x", work.path().join("0")).unwrap();
        assert!(!eye.is_still(&before, work.path(), 0));
    }
}

#[test]
fn gives_up_on_what_is_young_or_too_deep_and_when_nobody_waits() {
    let work = tempfile::tempdir().unwrap();
    grow(work.path(), 2, 2);
    let mut eye = Eye::new();
    fs::write(work.path().join("a"), "a").unwrap();
    let began = Instant::now();
    let young = Fingerprint::at(
        work.path(),
        None,
        &eye.keys,
        Duration::from_secs(3),
        &eye.open,
    );
    assert!(young.is_none() || began.elapsed() > Duration::from_millis(5));
    let look = eye.look(work.path()).unwrap();
    let deep = (0..70).fold(work.path().join("0"), |dir, _| dir.join("d"));
    fs::create_dir_all(deep).unwrap();
    assert!(eye.look(work.path()).is_none());
    fs::remove_dir_all(work.path().join("0/d")).unwrap();
    eye.open.cancel();
    assert!(!eye.is_still(&look, work.path(), 2));
    eye.open = CancellationToken::new();
    // Its times are others now, though it holds what it held.
    assert!(!eye.is_still(&look, work.path(), 2) || !look.tells);
}
