//! Sparse checkouts: what the owner's `git sparse-checkout` leaves out of the working tree stays
//! out.
//!
//! libgit2 knows nothing of them. It is told which paths to check out; the index entries of the
//! others are written here, with the flag by which Git knows them (git-sparse-checkout(1),
//! "INTERNALS").

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{IndexEntry, IndexTime, ObjectType, Oid, Repository, Tree};

use super::SKIP_WORKTREE;
use crate::error::{Error, Kind, Result};
use crate::repo::git_failure;
use crate::selection::Patterns;

/// What a sparse checkout is to hold, and what its index says it leaves out.
pub(super) struct Sparse {
    patterns: Option<Patterns>,
    left_out: HashSet<Vec<u8>>,
    inside: HashSet<Vec<u8>>,
}

impl Sparse {
    /// None where everything is checked out.
    pub(super) fn of(repo: &Repository, path: &Path) -> Result<Option<Sparse>> {
        let config = repo
            .config()
            .map_err(git_failure("read the repository's config"))?;
        let is_on = config.get_bool("core.sparseCheckout").unwrap_or(false);
        let index = super::index(repo, path)?;
        let (left_out, inside): (Vec<_>, Vec<_>) = index
            .iter()
            .partition(|entry| entry.flags_extended & SKIP_WORKTREE != 0);
        if !is_on && left_out.is_empty() {
            return Ok(None);
        }
        let names =
            |entries: Vec<IndexEntry>| entries.into_iter().map(|entry| entry.path).collect();
        Ok(Some(Sparse {
            patterns: if is_on { patterns(repo)? } else { None },
            left_out: names(left_out),
            inside: names(inside),
        }))
    }

    /// Whether the file `name` is not to be in the working tree. What is in the index is as it is
    /// there; a new file is where its patterns put it.
    pub(super) fn leaves_out(&self, name: &[u8]) -> bool {
        if self.inside.contains(name) {
            return false;
        }
        self.left_out.contains(name)
            || self
                .patterns
                .as_ref()
                .is_some_and(|patterns| !patterns.take(name))
    }

    /// Brings the index entries of what is left out to what `to` has.
    pub(super) fn record(
        repo: &Repository,
        path: &Path,
        to: &Tree<'_>,
        left_out: &[Vec<u8>],
    ) -> Result<()> {
        if left_out.is_empty() {
            return Ok(());
        }
        let mut index = super::index(repo, path)?;
        let fail = git_failure("write the index");
        // A tree there means that the file became a directory: its files have names of their own.
        // What goes makes room first.
        let found = |name: &[u8]| {
            let found = to.get_path(Path::new(OsStr::from_bytes(name))).ok();
            found.filter(|found| found.kind() != Some(ObjectType::Tree))
        };
        for name in left_out.iter().filter(|name| found(name).is_none()) {
            index
                .remove(Path::new(OsStr::from_bytes(name)), 0)
                .map_err(&fail)?;
        }
        for name in left_out {
            if let Some(found) = found(name) {
                let entry = bare_entry(name, found.id(), found.filemode() as u32, SKIP_WORKTREE);
                index.add(&entry).map_err(&fail)?;
            }
        }
        index.write().map_err(&fail)
    }
}

/// An index entry without a stat.
pub(super) fn bare_entry(name: &[u8], id: Oid, mode: u32, flags_extended: u16) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended,
        path: name.to_vec(),
    }
}

/// The patterns of `.git/info/sparse-checkout`; none where there is no such file, which leaves
/// nothing out.
fn patterns(repo: &Repository) -> Result<Option<Patterns>> {
    let file = repo.path().join("info/sparse-checkout");
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::io("read", &file, &error));
        }
    };
    let patterns = Patterns::of(&text).map_err(|error| {
        let message = format!("cannot read the sparse checkout's patterns: {error}");
        Error::new(Kind::Io, message)
    })?;
    Ok(Some(patterns))
}
