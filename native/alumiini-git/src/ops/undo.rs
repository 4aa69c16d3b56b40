//! Back to what was there, where the disk is full or fails in the middle of a move.

use std::fs;
use std::io;
use std::path::Path;

use git2::Oid;

use crate::answer::Name;
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::ops::sync::finish;
use crate::repo::marker::{self, Target};
use crate::repo::open;
use crate::repo::state::State;

/// Where `state` is at, as something to go back to.
pub(crate) fn target(state: &State) -> Option<Target> {
    let commit: Oid = state.head?;
    let branch = match &state.branch {
        Some(full) => Some(full.strip_prefix("refs/heads/")?.to_owned()),
        None => None,
    };
    Some(Target { commit, branch })
}

/// Takes an update back. Where that cannot be done either, the marker stays, which the next sync or read finishes.
pub(crate) fn go_back(path: &Path, before: &Target, job: &Job) {
    let git_dir = open::git_dir(path);
    if marker::is_set(&git_dir) && marker::set(&git_dir, before).is_ok() {
        let _ = finish(path, job);
    }
}

/// Takes away a clone that has its name already and whose checkout did not end. Nothing was there before it.
pub(crate) fn clone(path: &Path) -> Result<()> {
    if !marker::is_set(&open::git_dir(path)) {
        return Ok(());
    }
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| {
        let message = format!("cannot empty {}: {error}", path.display());
        Error::new(Kind::Io, message).with("path", Name::of(path))
    })
}
