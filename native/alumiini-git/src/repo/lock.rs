//! One sync of a directory at a time on the whole machine: a second server, or the worker of a BEAM
//! that died, waits.
//!
//! The lock is `flock(2)` on the directory itself, so nothing lies in the working tree, it goes
//! with the process that held it, and it outlives the exchange of `.git` below it.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Name;
use crate::error::{Error, Key, Kind, Result};
use crate::repo::held_dir::{HeldDir, replaced};
use crate::repo::no_links::{self, Made};
use crate::repo::place;

/// The lock on a directory; dropping it, or the end of the process, lets go.
pub(crate) struct DirLock {
    dir: HeldDir,
}

impl DirLock {
    /// `None` where another process, or another request of this one, holds it.
    /// `path` is as [`place::find`] gives it, and has to be so still.
    pub(crate) fn try_take(path: &Path) -> Result<Option<DirLock>> {
        let dir = HeldDir::open(path).map_err(|errno| failed(path, errno))?;
        match flock(dir.descriptor(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed(path, errno)),
        }
        // Who held the lock before us may have removed the directory, and somebody may have made it
        // anew.
        Ok(dir.is_in_place().then_some(DirLock { dir }))
    }

    /// The directory that is locked, for all that is done there.
    pub(crate) fn dir(&self) -> &HeldDir {
        &self.dir
    }

    /// Waits for the lock. The wait is a poll, since a blocking `flock` could not be cancelled;
    /// `attempt` runs the try where blocking is allowed.
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

fn failed(path: &Path, errno: Errno) -> Error {
    // Else it is a link to nowhere, which is what was found.
    if errno == Errno::LOOP && !place::find(path, None).is_ok_and(|found| found == path) {
        return replaced(path);
    }
    let message = format!(
        "cannot lock the directory {}: {}",
        path.display(),
        io::Error::from(errno)
    );
    Error::new(Kind::Io, message).with(Key::Path, Name::of(path))
}

/// Makes `path` and what is missing above it, and adds what it made to `made`, for [`remove_made`].
pub(crate) fn make_dir(path: &Path, made: &mut Vec<Made>) -> Result<()> {
    no_links::make(path, made).map_err(|errno| {
        no_links::remove(&std::mem::take(made));
        if errno == Errno::LOOP {
            return replaced(path);
        }
        let cause = io::Error::from(errno);
        let message = format!("cannot make the directory {}: {cause}", path.display());
        Error::new(Kind::Io, message).with(Key::Path, Name::of(path))
    })
}

/// Takes back what [`make_dir`] made, as far as it is empty.
pub(crate) fn remove_made(made: &[Made]) {
    no_links::remove(made);
}
