//! One sync of a directory at a time on the whole machine: a second server, or the worker of a BEAM that died, waits.
//!
//! The lock is `flock(2)` on the directory itself, so nothing lies in the working tree, it goes with the process that held it,
//! and it outlives the exchange of `.git` below it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::place;

/// The lock on a directory; dropping it, or the end of the process, lets go.
pub(crate) struct DirLock {
    _dir: File,
}

impl DirLock {
    /// `None` where another process, or another request of this one, holds it.
    /// `path` is as [`place::find`] gives it, and has to be so still.
    pub(crate) fn try_take(path: &Path) -> Result<Option<DirLock>> {
        if place::find(path)? != path {
            let message = format!(
                "{} was replaced by a link; nothing was touched, call again",
                path.display()
            );
            return Err(Error::new(Kind::Locked, message).with(Key::Path, Name::of(path)));
        }
        // A pipe must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io("lock the directory", path, &errno.into()))?;
        let dir = File::from(dir);
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Error::io("lock the directory", path, &errno.into())),
        }
        // Who held the lock before us may have removed the directory, and somebody may have made it anew.
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (dir.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) if same(&ours, &there) => Ok(Some(DirLock { _dir: dir })),
            _ => Ok(None),
        }
    }

    /// Waits for the lock. The wait is a poll, since a blocking `flock` could not be cancelled; `attempt` runs the try
    /// where blocking is allowed.
    pub(crate) async fn take<F>(mut attempt: impl FnMut() -> F) -> Result<DirLock>
    where
        F: Future<Output = Result<Option<DirLock>>>,
    {
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(lock) = attempt().await? {
                return Ok(lock);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// Makes `path` and what is missing above it. Answers what it made, innermost first, for [`remove_made`].
pub(crate) fn make_dir(path: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut missing: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    while let Some(dir) = missing.pop() {
        match fs::create_dir(dir) {
            Ok(()) => made.insert(0, dir.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                remove_made(&made);
                let message = format!("cannot make the directory {}: {error}", dir.display());
                return Err(Error::new(Kind::Io, message).with(Key::Path, Name::of(path)));
            }
        }
    }
    Ok(made)
}

/// Takes back what [`make_dir`] made, as far as it is empty.
pub(crate) fn remove_made(made: &[PathBuf]) {
    for dir in made {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
