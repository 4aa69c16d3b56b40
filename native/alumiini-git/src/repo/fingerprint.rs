//! The names and stats of everything below a directory, to find out later whether anything has
//! changed.
//!
//! A stat takes about a microsecond, and there are thousands of files, so the comparison is made as
//! cheap as possible: a directory is not read again if its own times show that its names are the
//! same, and idle threads help.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

mod after_move;

use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, fstat, openat, statat};
use tokio_util::sync::CancellationToken;

use crate::repo::local_fs::is_local;
use crate::repo::open_flags::{DIR, DIR_ITSELF};
use crate::task::all_of::all_of;

/// Levels of directories. One directory is open for each.
const MAX_DEEP: usize = 64;
/// A directory with no more files than this is not opened to read their stats.
const FEW: usize = 2;
/// The first byte of an entry in `Folder::names`.
const FOLDER: u8 = b'/';
const FILE: u8 = b' ';

/// The state of a directory tree.
#[derive(Debug)]
pub(super) struct Fingerprint {
    folders: Vec<Arc<Folder>>,
    /// Whether a directory with the same times has the same names. POSIX says so, and local file
    /// systems comply.
    tells: bool,
    pub(super) files: usize,
}

/// One directory of the tree.
#[derive(Debug)]
struct Folder {
    /// Relative to the root.
    path: CString,
    own: FileStat,
    /// The type, the name and a zero byte for each entry, in the order in which they were read.
    names: Box<[u8]>,
    files: usize,
    /// A hash of the stats of its files, in the same order.
    digest: u64,
}

/// The fields of a stat that tell whether a file is the same and unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStat {
    identity: (u64, u64),
    what: (u32, i64),
    modified: (i64, i64),
    changed: Duration,
}

impl FileStat {
    fn of(stat: &Stat) -> FileStat {
        FileStat {
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            what: (stat.st_mode as u32, stat.st_size as i64),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: Duration::new(stat.st_ctime as u64, stat.st_ctime_nsec as u32),
        }
    }

    /// All fields in one piece: hashing many small pieces costs more than the stat.
    fn bytes(&self) -> [u8; 56] {
        let changed = (self.changed.as_secs(), self.changed.subsec_nanos());
        let words = [
            self.identity.0,
            self.identity.1,
            self.what.1 as u64,
            self.modified.0 as u64,
            self.modified.1 as u64,
            changed.0,
            u64::from(changed.1) << 32 | u64::from(self.what.0),
        ];
        let mut bytes = [0; 56];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

impl Fingerprint {
    /// The fingerprint of everything below `root`, except for the top-level name `without`. Only
    /// fingerprints with the same `keys` can be compared.
    ///
    /// `tick`: a file that changed less than this ago may change again without a change of its
    /// stat, unless the file system is known to have a finer clock. `None` if there is such a file,
    /// if anything cannot be read, or when `cancelled`.
    pub(super) fn at(
        root: &Path,
        without: Option<&CStr>,
        keys: &RandomState,
        tick: Duration,
        cancelled: &CancellationToken,
    ) -> Option<Fingerprint> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let root = rustix::fs::open(root, DIR, Mode::empty()).ok()?;
        let mut builder = Builder {
            keys,
            old: now.saturating_sub(tick.min(tick_of(&root)?)),
            without,
            cancelled,
            device: FileStat::of(&fstat(&root).ok()?).identity.0,
            made: Fingerprint {
                folders: vec![],
                tells: is_local(&root),
                files: 0,
            },
        };
        builder.add(&root, b".", MAX_DEEP)?;
        Some(builder.made)
    }

    /// The same for a tree that may have changed just now. Its directories are read again at each
    /// comparison, since writes within one tick leave the same times.
    pub(super) fn at_once(root: &Path, keys: &RandomState) -> Option<Fingerprint> {
        let made = Fingerprint::at(root, None, keys, Duration::ZERO, &CancellationToken::new())?;
        Some(Fingerprint {
            tells: false,
            ..made
        })
    }

    pub(super) fn folders(&self) -> usize {
        self.folders.len()
    }

    /// The memory that it takes, approximately.
    pub(super) fn bytes(&self) -> usize {
        let of = |folder: &Arc<Folder>| {
            size_of::<Folder>() + folder.path.count_bytes() + folder.names.len()
        };
        self.folders.iter().map(of).sum()
    }

    /// Whether the tree below `root` still has this fingerprint. Up to `helpers` idle threads of
    /// the runtime help.
    pub(super) fn is_still(
        self: &Arc<Fingerprint>,
        what: What,
        root: &Path,
        keys: &RandomState,
        cancelled: &CancellationToken,
        helpers: usize,
    ) -> bool {
        let Ok(root) = rustix::fs::open(root, DIR, Mode::empty()) else {
            return false;
        };
        let (this, keys, cancelled) = (self.clone(), keys.clone(), cancelled.clone());
        let what = if self.tells { what } else { What::All };
        let is_same = move |place: usize| {
            let folder: &Folder = &this.folders[place];
            let same = || match what {
                What::All => this.is_folder_still(folder, &root, &keys),
                What::Names => has_same_stat(folder, &root),
            };
            !cancelled.is_cancelled() && same() == Some(true)
        };
        all_of(self.folders.len(), helpers, is_same)
    }

    /// The fingerprint of a working tree of which nothing is known yet.
    pub(super) fn of_nothing() -> Fingerprint {
        Fingerprint {
            folders: Vec::new(),
            tells: false,
            files: 0,
        }
    }

    fn is_folder_still(&self, folder: &Folder, root: &OwnedFd, keys: &RandomState) -> Option<bool> {
        if self.tells && folder.files <= FEW {
            return is_still_from_afar(folder, root, keys);
        }
        let dir = openat(root, &folder.path, DIR_ITSELF, Mode::empty()).ok()?;
        let same = if self.tells {
            FileStat::of(&fstat(&dir).ok()?) == folder.own
        } else {
            read(&dir)? == folder.names
        };
        Some(same && digest(dir.as_fd(), &folder.names, keys, &|_| true)? == folder.digest)
    }
}

/// Compares a folder without opening it: for a few files, walking their whole paths is quicker. The
/// directories above are compared, too, so the paths lead to the same place.
fn is_still_from_afar(folder: &Folder, root: &OwnedFd, keys: &RandomState) -> Option<bool> {
    if !has_same_stat(folder, root)? {
        return Some(false);
    }
    let mut digest = keys.build_hasher();
    let mut path = folder.path.to_bytes().to_vec();
    path.push(b'/');
    let length = path.len();
    for name in entries(&folder.names, FILE) {
        path.truncate(length);
        path.extend(name.to_bytes_with_nul());
        let file = CStr::from_bytes_with_nul(&path).ok()?;
        digest.write(&FileStat::of(&statat(root, file, AtFlags::SYMLINK_NOFOLLOW).ok()?).bytes());
    }
    Some(digest.finish() == folder.digest)
}

fn has_same_stat(folder: &Folder, root: &OwnedFd) -> Option<bool> {
    let own = statat(root, &folder.path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileStat::of(&own) == folder.own)
}

/// What to compare.
#[derive(Clone, Copy)]
pub(super) enum What {
    All,
    /// Only whether names were added, removed or replaced, by the times of the directories. If
    /// these do not tell, everything is compared.
    Names,
}

/// A fingerprint while it is made.
struct Builder<'a> {
    keys: &'a RandomState,
    old: Duration,
    without: Option<&'a CStr>,
    cancelled: &'a CancellationToken,
    device: u64,
    made: Fingerprint,
}

impl Builder<'_> {
    fn add(&mut self, dir: &OwnedFd, path: &[u8], depth: usize) -> Option<()> {
        if depth == 0 || self.cancelled.is_cancelled() {
            return None;
        }
        let is_old = |seen: &FileStat| seen.changed < self.old;
        let own = FileStat::of(&fstat(dir).ok()?);
        let names = read(dir)?;
        let digest = digest(dir.as_fd(), &names, self.keys, &is_old)?;
        // Otherwise another file system is mounted there, or another name may be added within the
        // same tick of the clock.
        self.made.tells &= own.identity.0 == self.device && is_old(&own);
        let files = entries(&names, FILE).count();
        self.made.files += files;
        let without = self.without.filter(|_| path == b".");
        for name in entries(&names, FOLDER).filter(|name| Some(*name) != without) {
            let sub = openat(dir, name, DIR_ITSELF, Mode::empty()).ok()?;
            self.add(&sub, &[path, b"/", name.to_bytes()].concat(), depth - 1)?;
        }
        self.made.folders.push(Arc::new(Folder {
            path: CString::new(path).ok()?,
            own,
            names,
            files,
            digest,
        }));
        Some(())
    }
}

/// A file that changed less than this ago, by the clock of the file system of `dir`, may change
/// again without a change of its times. Linux's file systems have ticks of at most 10 ms. Those
/// without fractions of seconds, and those that are not known, may have ticks of two seconds.
fn tick_of(dir: &OwnedFd) -> Option<Duration> {
    let is_fine = is_local(dir) && fstat(dir).ok()?.st_ctime_nsec != 0;
    Some(Duration::from_millis(if is_fine { 20 } else { 3_000 }))
}

/// The entries of `dir`, in the form of `Folder::names`.
fn read(dir: &OwnedFd) -> Option<Box<[u8]>> {
    let mut names = vec![];
    let mut entries = Dir::read_from(dir).ok()?;
    while let Some(entry) = entries.read() {
        let entry = entry.ok()?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(if entry.file_type() == FileType::Directory {
                FOLDER
            } else {
                FILE
            });
            names.extend_from_slice(name.to_bytes_with_nul());
        }
    }
    Some(names.into())
}

fn entries(names: &[u8], kind: u8) -> impl Iterator<Item = &CStr> {
    names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(move |entry| CStr::from_bytes_with_nul(entry.strip_prefix(&[kind])?).ok())
}

/// A hash of the stats of all files in `names`. `None` if a stat fails, or `is_enough` is false for
/// one.
fn digest(
    dir: BorrowedFd,
    names: &[u8],
    keys: &RandomState,
    is_enough: &impl Fn(&FileStat) -> bool,
) -> Option<u64> {
    let mut digest = keys.build_hasher();
    for name in entries(names, FILE) {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let seen = FileStat::of(&stat);
        // With some file systems only the stat shows that an entry is a directory.
        if !is_enough(&seen) || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return None;
        }
        digest.write(&seen.bytes());
    }
    Some(digest.finish())
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
