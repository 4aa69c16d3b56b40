//! Reads of a working tree see one whole commit, or nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::registry::Repo;
use crate::repo::lock::DirLock;
use crate::repo::tree_reader::TreeReader;
use crate::repo::{BUILD_PREFIX, cleanup, finish, marker, open, partial, place, raw_object, refs};
use crate::task::job::Job;
use crate::task::pool::Pool;
use crate::worker::Worker;

/// The directory that a read looks at.
pub(crate) enum Source<'a> {
    /// A directory of the file system: a working tree, or any other.
    Directory(&'a Path),
    /// A repository without a working tree, and the directory in it that the request names.
    Commit {
        worker: &'a Worker,
        root: &'a Path,
        below: &'a Path,
    },
}

impl Source<'_> {
    /// Runs `read` on the tree of the commit at HEAD.
    pub(crate) fn of_tree<T>(
        worker: &Worker,
        root: &Path,
        below: &Path,
        read: impl Fn(&TreeReader<'_>) -> Result<T>,
    ) -> Result<T> {
        worker.trees.read(root, |repo| {
            let head = refs::head(repo)?
                .ok_or_else(|| Error::new(Kind::Corrupt, "HEAD leads to no commit"))?;
            let tree = raw_object::tree_of(repo, head.commit)?;
            let within = partial::within(root, repo.path(), true)?;
            read(&TreeReader::at(
                raw_object::odb(repo)?,
                tree,
                root,
                below,
                within,
            )?)
        })
    }
}

/// The outcome of an attempt to read.
enum Attempt<T> {
    Read(T),
    /// Another request of this process is moving the working tree.
    Moving(Arc<Repo>),
    /// A checkout was interrupted, or another process is running one.
    Unfinished(Arc<Repo>),
    /// The working tree changed during the read.
    Moved,
}

/// How often a read is tried again when another process moves the working tree under it.
pub(super) const ATTEMPTS: usize = 8;

/// Runs `read` on the working tree at `path` while nobody moves it. An interrupted checkout is
/// finished first, where nobody else is at it; otherwise the answer is `incomplete`.
pub(crate) async fn read<T, F>(worker: &Arc<Worker>, path: PathBuf, read: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&Source<'_>) -> Result<T> + Send + Sync + 'static,
{
    let read = Arc::new(read);
    for _ in 0..ATTEMPTS {
        let attempt = {
            let (worker, path, read) = (worker.clone(), path.clone(), read.clone());
            let pool: &Pool = &worker.clone().reads;
            pool.run(move || try_read(&worker, &path, read.as_ref()))
                .await?
        };
        match attempt {
            Attempt::Read(answer) => return Ok(answer),
            Attempt::Moving(repo) => drop(repo.tree.clone().read_owned().await),
            Attempt::Unfinished(repo) => finish_checkout(worker, repo).await?,
            Attempt::Moved => {}
        }
    }
    Err(incomplete(&path, "another process keeps changing it"))
}

/// The same, if it waits for nothing but the disk. `None` if it would have to wait for something
/// else.
pub(crate) fn read_now<T>(
    worker: &Worker,
    path: &Path,
    read: impl Fn(&Source<'_>) -> Result<T>,
) -> Option<Result<T>> {
    match try_read(worker, path, read) {
        Ok(Attempt::Read(answer)) => Some(Ok(answer)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

fn try_read<T>(
    worker: &Worker,
    path: &Path,
    read: impl Fn(&Source<'_>) -> Result<T>,
) -> Result<Attempt<T>> {
    let place = worker.repo_at(path)?;
    let root = worker.allowed.now().root.clone();
    // If the path is a directory in a working tree, the whole working tree counts.
    let repo = match enclosing(&place.path, root.as_deref()) {
        Some(root) if root != place.path => worker.repos.at(root.to_owned()),
        Some(_) => place.clone(),
        None => {
            refuse_unborn(&place.path)?;
            place.clone()
        }
    };
    let Ok(_reading) = repo.tree.clone().try_read_owned() else {
        return Ok(Attempt::Moving(repo));
    };
    // A move may have put a link on the way until now; from here on none can.
    if place::find(path, root.as_deref())? != place.path {
        return Ok(Attempt::Moved);
    }
    let git_dir = open::git_dir(&repo.path);
    let before = Generation::of(&git_dir);
    if before == Generation::Unfinished {
        return Ok(Attempt::Unfinished(repo));
    }
    let below = place.path.strip_prefix(&repo.path).unwrap_or(Path::new(""));
    let bare = worker.trees.is_bare(&repo.path);
    let answer = if bare {
        read(&Source::Commit {
            worker,
            root: &repo.path,
            below,
        })
    } else {
        read(&Source::Directory(&place.path))
    };
    // Our own lock keeps requests of this process away. Another process is noticed only by its
    // changes.
    if Generation::of(&git_dir) != before || worker.trees.is_bare(&repo.path) != bare {
        return Ok(Attempt::Moved);
    }
    match answer {
        Err(error) if bare && error.kind == Kind::Corrupt => {
            // A sync compares a working tree, but not all objects. So this read alone can report
            // damage.
            worker.trees.is_damaged(&repo.path);
            worker.status_cache.forget(&repo.path);
            Err(error)
        }
        answer => answer.map(Attempt::Read),
    }
}

/// What a checkout changes: each one replaces the index while the marker is there.
#[derive(PartialEq)]
enum Generation {
    Unfinished,
    /// The identity of the index: its inode, and the time when it was written.
    Index(u64, i64, i64),
    NoIndex,
}

impl Generation {
    fn of(git_dir: &Path) -> Generation {
        if marker::is_set(git_dir) {
            return Generation::Unfinished;
        }
        match fs::metadata(git_dir.join("index")) {
            Ok(index) => Generation::Index(index.ino(), index.mtime(), index.mtime_nsec()),
            Err(_) => Generation::NoIndex,
        }
    }
}

/// The working tree that `path` is in, if it is in one; a server with a root looks at nothing that
/// is not below it.
pub(super) fn enclosing<'p>(path: &'p Path, root: Option<&Path>) -> Option<&'p Path> {
    let root = root.and_then(|root| root.canonicalize().ok());
    path.ancestors()
        .take_while(|dir| Some(*dir) != root.as_deref())
        .find(|dir| fs::symlink_metadata(open::git_dir(dir)).is_ok())
}

/// An interrupted clone must not look like a directory without manifests: a controller would delete
/// what is deployed.
pub(super) fn refuse_unborn(path: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(());
    };
    let mut empty = true;
    for entry in entries.flatten() {
        empty = false;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(BUILD_PREFIX.as_bytes())
        {
            return Err(incomplete(
                path,
                "its first clone is under way or was interrupted",
            ));
        }
    }
    if empty {
        Err(incomplete(path, "the directory is empty"))
    } else {
        Ok(())
    }
}

/// How long a read waits for a request of ours that was cancelled but still holds the directory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Finishes an interrupted checkout, or takes it back; it needs no network.
async fn finish_checkout(worker: &Arc<Worker>, repo: Arc<Repo>) -> Result<()> {
    let began = Instant::now();
    let mut others = 0;
    loop {
        let moving = repo.tree.clone().write_owned().await;
        let place = repo.clone();
        let work = move || {
            let _moving = moving;
            resume(&place.path)
        };
        if worker.disk.run(work).await? {
            return Ok(());
        }
        // A request of ours may have let go of it just now. If the lock is held at both attempts,
        // another process holds it.
        let is_ours = repo.turn.try_lock().is_err();
        others = if is_ours { 0 } else { others + 1 };
        if others > 1 || began.elapsed() > PATIENCE {
            return Err(incomplete(&repo.path, "another sync is at work on it"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether no move is left to be finished. `false` if another process holds the directory's lock.
fn resume(path: &Path) -> Result<bool> {
    let git_dir = open::git_dir(path);
    if !marker::is_set(&git_dir) {
        return Ok(true);
    }
    let Some(lock) = DirLock::try_take(path)? else {
        return Ok(false);
    };
    let dir = lock.dir();
    dir.check()?;
    let git_dir = open::git_dir(dir.at());
    if open::is_managed(&git_dir) {
        cleanup::locks_of(&git_dir);
    }
    // Readers that wait share the result, so the cancel of one must not stop it.
    finish::resume(dir.at(), &Job::unattended())
        .map(|()| true)
        .map_err(|error| dir.named(error))
        .map_err(|error| {
            let why = format!("an interrupted checkout cannot be finished ({error})");
            incomplete(path, &why)
        })
}

fn incomplete(path: &Path, why: &str) -> Error {
    let message = format!(
        "{} does not hold a whole commit: {why}; sync it and read again",
        path.display()
    );
    Error::new(Kind::Incomplete, message).with(Key::Path, Name::of(path))
}
