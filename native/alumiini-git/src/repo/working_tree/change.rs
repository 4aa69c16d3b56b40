//! From one commit's working tree to another's by what differs between them: the cost of an update
//! is that of its changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{Oid, Repository};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::content::{Keeps, refuse};
use super::descent::{Descent, split};
use super::index::{self, Entry, Recorded};
use super::moved::Moved;
use super::{GITLINK, KIND, MAX_FILES, apart, write};
use crate::error::Result;
use crate::repo::{raw_object, tree_files};
use crate::selection::scope::Filter;
use crate::task::job::Job;
use crate::task::progress::Phase;

/// Makes a working tree that is as `old` says equal `new`, both as far as `filter` takes them.
/// `None` where something was found not to be as it says: then a walk over all of it has to put it
/// right.
pub(crate) fn advance(
    repo: &Repository,
    work: &Path,
    old: Oid,
    new: Oid,
    filter: &Filter,
    job: &Job,
) -> Result<Option<Moved>> {
    let Some(index) = index::read(repo.path()).filter(|index| !index.is_special) else {
        return Ok(None);
    };
    let odb = raw_object::odb(repo)?;
    let changes = tree_files::changes(&odb, old, new, job, usize::MAX, |_| true, |_| true)?;
    let Some(mut change) = Change::new(index.entries, changes, filter, job) else {
        return Ok(None);
    };
    let keeps = Keeps::of(repo);
    let before = keeps.get();
    job.progress(Phase::Checkout, 0, change.entries.len() as u64, 0);
    let Ok(mut descent) = Descent::new(work) else {
        return Ok(None);
    };
    if change.clear(&mut descent)?.is_none() || change.make_directories(&mut descent)?.is_none() {
        return Ok(None);
    }
    write::files(
        repo.path(),
        work,
        &keeps,
        &mut change.entries,
        &change.missing,
        job,
    )?;
    if keeps.get() != before {
        keeps.record(repo)?;
    }
    let newest = newest(&mut descent, &change.touched);
    let written = index::write(repo.path(), &change.entries, newest)?;
    job.reach("index-written");
    let (entries, _) = apart(change.entries);
    Ok(Some(Moved::new(entries, change.touched, written)))
}

struct Change<'a> {
    job: &'a Job,
    /// What is to be there.
    entries: Vec<Entry>,
    /// What goes, with what it was: by path.
    gone: Vec<Entry>,
    /// What is to be written, by its place in `entries`; links to other repositories are
    /// directories, and made at once.
    missing: Vec<usize>,
    gitlinks: Vec<usize>,
    touched: BTreeSet<Vec<u8>>,
}

impl<'a> Change<'a> {
    /// Merges the changes into the entries of the index. `None` where those do not fit.
    fn new(
        old: Vec<Entry>,
        changes: Vec<tree_files::Change>,
        filter: &Filter,
        job: &'a Job,
    ) -> Option<Change<'a>> {
        let mut change = Change {
            job,
            entries: Vec::with_capacity(old.len() + changes.len()),
            gone: Vec::new(),
            missing: Vec::new(),
            gitlinks: Vec::new(),
            touched: BTreeSet::new(),
        };
        let mut changes = changes.into_iter().peekable();
        for entry in old {
            while let Some(other) = changes.next_if(|other| other.path < entry.path) {
                // Something that the index did not have.
                let new = other.new.filter(|_| other.old.is_none())?;
                change.add(Entry::unseen(other.path, new), filter);
            }
            match changes.next_if(|other| other.path == entry.path) {
                None => change.entries.push(entry),
                Some(other) => {
                    if !entry.skip {
                        change.gone.push(entry);
                    }
                    if let Some(new) = other.new {
                        change.add(Entry::unseen(other.path, new), filter);
                    }
                }
            }
        }
        for other in changes {
            let new = other.new.filter(|_| other.old.is_none())?;
            change.add(Entry::unseen(other.path, new), filter);
        }
        (change.entries.len() as u64 <= MAX_FILES).then_some(change)
    }

    fn add(&mut self, mut entry: Entry, filter: &Filter) {
        let place = self.entries.len();
        entry.skip = !filter.has(&entry.path);
        if entry.skip {
            // Nothing of it is in the working tree.
        } else if entry.mode & KIND == GITLINK {
            self.gitlinks.push(place);
        } else {
            self.missing.push(place);
        }
        self.entries.push(entry);
    }

    /// Whether anything is to be below the directory `path`.
    fn has_below(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        let place = self.entries.partition_point(|entry| entry.path < below);
        let mut inside = self.entries[place..]
            .iter()
            .take_while(|entry| entry.path.starts_with(&below));
        inside.any(|entry| !entry.skip)
    }

    /// Removes what goes, and directories that are left with nothing.
    fn clear(&mut self, descent: &mut Descent) -> Result<Option<()>> {
        let gone = std::mem::take(&mut self.gone);
        // What is deeper comes later in the order of paths.
        for (place, entry) in gone.iter().enumerate().rev() {
            self.job.check()?;
            let flags = match entry.mode & KIND {
                GITLINK => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            if !self.unlink(descent, &entry.path, flags) {
                return Ok(None);
            }
            let (mut dir, _) = split(&entry.path);
            while !dir.is_empty() && !self.has_below(dir) && !is_last_below(&gone[..place], dir) {
                match self.unlink(descent, dir, AtFlags::REMOVEDIR) {
                    true => dir = split(dir).0,
                    false => return Ok(None),
                }
            }
        }
        Ok(Some(()))
    }

    fn unlink(&mut self, descent: &mut Descent, path: &[u8], flags: AtFlags) -> bool {
        let (parent, name) = split(path);
        let removed = descent
            .to(parent)
            .and_then(|dir| rustix::fs::unlinkat(dir, OsStr::from_bytes(name), flags));
        self.touched.insert(parent.to_vec());
        removed.is_ok()
    }

    /// Makes the directories of what is to be written.
    fn make_directories(&mut self, descent: &mut Descent) -> Result<Option<()>> {
        let places: Vec<usize> = self.missing.iter().chain(&self.gitlinks).copied().collect();
        for place in places {
            self.job.check()?;
            let path = self.entries[place].path.clone();
            for name in path.split(|byte| *byte == b'/') {
                refuse(name, &path)?;
            }
            let (parent, _) = split(&path);
            self.touched.insert(parent.to_vec());
            let dir = match self.entries[place].mode & KIND {
                GITLINK => &path[..],
                _ => parent,
            };
            if !self.make(descent, dir) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Makes the directory `path`, and those above it, where they are not there.
    fn make(&mut self, descent: &mut Descent, path: &[u8]) -> bool {
        match descent.to(path) {
            Ok(_) => return true,
            Err(Errno::NOENT) => {}
            Err(_) => return false,
        }
        let (parent, name) = split(path);
        if name.is_empty() || !self.make(descent, parent) {
            return false;
        }
        self.touched.insert(parent.to_vec());
        let made = descent.to(parent).and_then(|dir| {
            rustix::fs::mkdirat(dir, OsStr::from_bytes(name), Mode::from_raw_mode(0o777))
        });
        made.is_ok()
    }
}

/// Whether the last of `entries`, which are sorted by path, is below `dir`.
fn is_last_below(entries: &[Entry], dir: &[u8]) -> bool {
    let below = [dir, b"/"].concat();
    entries
        .last()
        .is_some_and(|entry| entry.path.starts_with(&below))
}

/// When one of these directories was last changed.
fn newest(descent: &mut Descent, dirs: &BTreeSet<Vec<u8>>) -> (u32, u32) {
    let changed = dirs.iter().filter_map(|dir| {
        let stat = rustix::fs::fstat(descent.to(dir).ok()?).ok()?;
        Some(Recorded::of(&stat).ctime)
    });
    changed.max().unwrap_or_default()
}
