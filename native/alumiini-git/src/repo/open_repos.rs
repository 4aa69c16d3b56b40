//! Repositories whose objects are being read: kept open, so that a read costs no more than what it
//! reads.
//!
//! What HEAD is at is read anew each time, so nothing that moves is remembered. An open repository
//! is believed for as long as the `.git` at its path is the same one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use git2::{ObjectType, Oid, Repository};

use crate::error::{Error, Kind, Result};
use crate::repo::held_dir::HeldDir;
use crate::repo::{open, raw_object};

/// Repositories that are kept open, those used last; each may have open files.
const MAX_OPEN: usize = 64;
/// Of one, for reads at the same time.
const MAX_OF_ONE: usize = 4;
/// A pack that was removed takes room on the disk while it is open.
const KEPT: Duration = Duration::from_secs(60);
/// Configs that are remembered; with more, all are read again.
const MAX_KINDS: usize = 16_384;

#[derive(Default)]
pub(crate) struct OpenRepos(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Which repositories have no working tree, by what their config looked like.
    kinds: HashMap<PathBuf, (Stamp, bool)>,
    open: HashMap<PathBuf, Entry>,
    /// In which of them a read has met something that it could not read.
    damaged: HashSet<PathBuf>,
}

struct Entry {
    of: Stamp,
    idle: Vec<Open>,
    used: Instant,
}

/// A repository that is open, and the directory that it is in: libgit2 opens packs and refs as it
/// comes to need them.
struct Open {
    repo: Repository,
    dir: HeldDir,
}

/// Tells a file, or a directory, from the one that took its place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stamp {
    identity: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of_file(path: &Path) -> Option<Stamp> {
        let stat = fs::symlink_metadata(path).ok()?;
        Some(Stamp {
            identity: (stat.dev(), stat.ino()),
            size: stat.size(),
            changed: (stat.ctime(), stat.ctime_nsec()),
        })
    }

    /// Of a directory what is in it changes all the time; the config does not, and goes with it.
    fn of_repository(git_dir: &Path) -> Option<Stamp> {
        Stamp::of_file(&git_dir.join("config"))
    }
}

impl Open {
    fn read<T>(&self, read: impl Fn(&Repository) -> Result<T>) -> Result<T> {
        read(&self.repo).map_err(|error| self.dir.named(error))
    }
}

impl OpenRepos {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the repository at `path` is a managed one without a working tree.
    pub(crate) fn is_bare(&self, path: &Path) -> bool {
        let git_dir = open::git_dir(path);
        let Some(stamp) = Stamp::of_repository(&git_dir) else {
            return false;
        };
        if let Some((seen, bare)) = self.lock().kinds.get(path)
            && *seen == stamp
        {
            return *bare;
        }
        // `core.bare` is written in a file of another size than before, so the same stamp is the
        // same answer.
        let bare = open::is_bare(&git_dir);
        let mut memory = self.lock();
        if memory.kinds.len() >= MAX_KINDS {
            memory.kinds.clear();
        }
        memory.kinds.insert(path.to_owned(), (stamp, bare));
        bare
    }

    /// Runs `read` on the repository at `path`, whoever made it.
    pub(crate) fn read<T>(
        &self,
        path: &Path,
        read: impl Fn(&Repository) -> Result<T>,
    ) -> Result<T> {
        let git_dir = open::git_dir(path);
        let stamp = Stamp::of_repository(&git_dir);
        if let Some(open) = stamp.and_then(|stamp| self.take(path, stamp)) {
            match open.read(&read) {
                // It may be that a pack was put elsewhere since it was opened.
                Err(error) if error.kind == Kind::Corrupt => {}
                result => {
                    self.give_back(path, stamp, open);
                    return result;
                }
            }
        }
        let dir = open::dir(path)?;
        // The one that was looked at: else another has its place by now, which is for the next
        // read.
        let stamp =
            stamp.filter(|stamp| Stamp::of_repository(&open::git_dir(dir.at())) == Some(*stamp));
        let git_dir = open::git_dir(dir.at());
        let repo = match open::is_managed(&git_dir) {
            true => open::managed(&git_dir),
            false => open::any(dir.at()),
        };
        let repo = repo.map_err(|error| dir.named(error))?;
        let open = Open { repo, dir };
        let result = open.read(&read);
        if result
            .as_ref()
            .err()
            .is_none_or(|error| error.kind != Kind::Corrupt)
        {
            self.give_back(path, stamp, open);
        }
        result
    }

    fn take(&self, path: &Path, stamp: Stamp) -> Option<Open> {
        let mut memory = self.lock();
        let entry = memory.open.get_mut(path)?;
        if entry.of != stamp {
            memory.open.remove(path);
            return None;
        }
        entry.used = Instant::now();
        entry.idle.pop()
    }

    fn give_back(&self, path: &Path, stamp: Option<Stamp>, open: Open) {
        let Some(stamp) = stamp else { return };
        let mut memory = self.lock();
        let now = Instant::now();
        if !memory.open.contains_key(path) {
            memory.open.retain(|_, entry| now - entry.used < KEPT);
            if memory.open.len() >= MAX_OPEN {
                let oldest = memory.open.iter().min_by_key(|(_, entry)| entry.used);
                let oldest = oldest.map(|(path, _)| path.clone());
                oldest.map(|path| memory.open.remove(&path));
            }
        }
        let entry = memory.open.entry(path.to_owned()).or_insert_with(|| Entry {
            of: stamp,
            idle: Vec::new(),
            used: now,
        });
        if entry.of == stamp && entry.idle.len() < MAX_OF_ONE {
            entry.idle.push(open);
        }
    }

    /// A read has met damage: the next sync is to build the repository anew, which it would not
    /// look for by itself.
    pub(crate) fn is_damaged(&self, path: &Path) {
        let mut memory = self.lock();
        memory.open.remove(path);
        memory.damaged.insert(path.to_owned());
    }

    /// The repository at `path` is a new one.
    pub(crate) fn is_new(&self, path: &Path) {
        let mut memory = self.lock();
        memory.open.remove(path);
        memory.damaged.remove(path);
    }

    /// Whether `repo` at `path` is as a sync leaves one without a working tree that is at `head`,
    /// as far as that can be told at no cost; `corrupt` where it cannot be read.
    pub(crate) fn vouch(&self, path: &Path, repo: &Repository, head: Oid) -> Result<bool> {
        if self.lock().damaged.contains(path) {
            let message = format!("an object of {} could not be read", path.display());
            return Err(Error::new(Kind::Corrupt, message));
        }
        let tree = raw_object::tree_of(repo, head)?;
        match raw_object::odb(repo)?
            .read_header(tree)
            .map_err(raw_object::unreadable(tree))?
        {
            (_, ObjectType::Tree) => Ok(fs::symlink_metadata(repo.path().join("index")).is_err()),
            _ => Err(raw_object::damaged(tree, "it is not a tree")),
        }
    }
}
