//! The names and stats of all that is below a directory, to be held against what is there later.
//!
//! A stat takes about a microsecond and there are thousands, so telling whether something has
//! changed is made as cheap as it can be: directories are not read again where the file system says
//! that they hold what they held, and threads that have nothing else to do help.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, fstat, openat, statat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::repo::local_fs::is_local;
use crate::repo::open_flags::{DIR, DIR_ITSELF};
use crate::repo::working_tree::Moved;
use crate::task::all_of::all_of;

/// Directories that are one in the other, each of them open.
const MAX_DEEP: usize = 64;
/// A directory of no more files than this is not opened to look at them.
const FEW: usize = 2;
/// How an entry of `Folder::names` begins.
const FOLDER: u8 = b'/';
const FILE: u8 = b' ';

/// What a tree looked like.
#[derive(Debug)]
pub(super) struct Fingerprint {
    folders: Vec<Arc<Folder>>,
    /// Whether directories that show the same times hold the same names. POSIX wants that, and
    /// local file systems hold to it.
    tells: bool,
    pub(super) files: usize,
}

/// One of its directories.
#[derive(Debug)]
struct Folder {
    /// From the root.
    path: CString,
    own: FileStat,
    /// Of each entry its type, its name and a zero, as it was read.
    names: Box<[u8]>,
    files: usize,
    /// Of the stats of its files, in that order.
    digest: u64,
}

/// What a stat says: which file, what is in it, when it was last touched.
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

    /// In one piece, since a hash of many small ones costs more than the stat.
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
    /// Looks at all below `root`, but for `without`, a name at the top. Looks with other `keys`
    /// cannot be compared with it.
    ///
    /// `tick`: what changed less than so long ago is too young to be known again by its stat,
    /// unless the file system is known to be quicker. `None` where something is, where something
    /// cannot be looked at, or when `cancelled`.
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
        let mut looking = Looking {
            keys,
            old: now.saturating_sub(tick.min(tick_of(&root)?)),
            without,
            cancelled,
            device: FileStat::of(&fstat(&root).ok()?).identity.0,
            look: Fingerprint {
                folders: vec![],
                tells: is_local(&root),
                files: 0,
            },
        };
        looking.add(&root, b".", MAX_DEEP)?;
        Some(looking.look)
    }

    /// The same of what may be of just now: names are read again each time, and times alone tell
    /// nothing of what was written within one tick.
    pub(super) fn at_once(root: &Path, keys: &RandomState) -> Option<Fingerprint> {
        let look = Fingerprint::at(root, None, keys, Duration::ZERO, &CancellationToken::new())?;
        Some(Fingerprint {
            tells: false,
            ..look
        })
    }

    pub(super) fn folders(&self) -> usize {
        self.folders.len()
    }

    /// How much memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let of = |folder: &Arc<Folder>| {
            size_of::<Folder>() + folder.path.count_bytes() + folder.names.len()
        };
        self.folders.iter().map(of).sum()
    }

    /// Whether what is below `root` still looks like this. So many threads of the runtime help, if
    /// they are free.
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
        let (look, keys, cancelled) = (self.clone(), keys.clone(), cancelled.clone());
        let what = if self.tells { what } else { What::All };
        let is_same = move |place: usize| {
            let folder: &Folder = &look.folders[place];
            let same = || match what {
                What::All => look.is_folder_still(folder, &root, &keys),
                What::Names => has_same_stat(folder, &root),
            };
            !cancelled.is_cancelled() && same() == Some(true)
        };
        all_of(self.folders.len(), helpers, is_same)
    }

    /// The same after a move of the working tree at `root`: looks at what that touched only. `None`
    /// where what is there is not what the move has put there.
    pub(super) fn after(
        &self,
        moved: &Moved,
        root: &Path,
        without: &CStr,
        keys: &RandomState,
    ) -> Option<Fingerprint> {
        let root = rustix::fs::open(root, DIR, Mode::empty()).ok()?;
        let mut folders: HashMap<&[u8], Option<Arc<Folder>>> = HashMap::new();
        for folder in &self.folders {
            let is_touched = moved.touched.contains(below_root(&folder.path));
            folders.insert(
                folder.path.to_bytes(),
                (!is_touched).then(|| folder.clone()),
            );
        }
        let mut look = Fingerprint {
            folders: folders.values().flatten().cloned().collect(),
            tells: is_local(&root),
            files: 0,
        };
        let device = FileStat::of(&fstat(&root).ok()?).identity.0;
        let mut next: Vec<Vec<u8>> = moved.touched.iter().cloned().collect();
        while let Some(path) = next.pop() {
            let full = CString::new(if path.is_empty() {
                b".".to_vec()
            } else {
                [b"./", &path[..]].concat()
            })
            .ok()?;
            let dir = match openat(&root, &full, DIR_ITSELF, Mode::empty()) {
                Ok(dir) => dir,
                // It went with the last that was in it.
                Err(Errno::NOENT) => continue,
                Err(_) => return None,
            };
            let stat = fstat(&dir).ok()?;
            let names = read(&dir)?;
            let (mut files, mut directories) = moved.names(&path);
            for name in entries(&names, FOLDER).filter(|name| !path.is_empty() || *name != without)
            {
                if !directories.remove(name.to_bytes()) {
                    return None;
                }
                let inner = match path.is_empty() {
                    true => name.to_bytes().to_vec(),
                    false => [&path[..], b"/", name.to_bytes()].concat(),
                };
                let is_known = folders.contains_key(&[b"./", &inner[..]].concat()[..]);
                if !is_known && !moved.touched.contains(&inner) {
                    next.push(inner);
                }
            }
            let mut digest = keys.build_hasher();
            for name in entries(&names, FILE) {
                let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let file = match path.is_empty() {
                    true => name.to_bytes().to_vec(),
                    false => [&path[..], b"/", name.to_bytes()].concat(),
                };
                if !files.remove(name.to_bytes()) || !moved.is_as_written(&file, &stat) {
                    return None;
                }
                digest.write(&FileStat::of(&stat).bytes());
            }
            if !files.is_empty()
                || !directories.is_empty()
                || FileStat::of(&stat).identity.0 != device
            {
                return None;
            }
            look.tells &= moved.is_believed(&stat);
            look.folders.push(Arc::new(Folder {
                path: full,
                own: FileStat::of(&stat),
                files: entries(&names, FILE).count(),
                names,
                digest: digest.finish(),
            }));
        }
        look.files = look.folders.iter().map(|folder| folder.files).sum();
        Some(look)
    }

    /// Of a working tree of which nothing is known yet.
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

/// Without opening the directory, which takes longer than to walk to a few files in it. What stands
/// on the way is no other: the directories above are held against what they were, too.
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

/// What is held against a look.
#[derive(Clone, Copy)]
pub(super) enum What {
    All,
    /// Whether no name came, went or became another's, which the directories tell; where they do
    /// not, all.
    Names,
}

/// A look that is being taken.
struct Looking<'a> {
    keys: &'a RandomState,
    old: Duration,
    without: Option<&'a CStr>,
    cancelled: &'a CancellationToken,
    device: u64,
    look: Fingerprint,
}

impl Looking<'_> {
    fn add(&mut self, dir: &OwnedFd, path: &[u8], depth: usize) -> Option<()> {
        if depth == 0 || self.cancelled.is_cancelled() {
            return None;
        }
        let is_old = |seen: &FileStat| seen.changed < self.old;
        let own = FileStat::of(&fstat(dir).ok()?);
        let names = read(dir)?;
        let digest = digest(dir.as_fd(), &names, self.keys, &is_old)?;
        // Else it is another file system that is mounted there; or another name may come within the
        // same tick of the clock.
        self.look.tells &= own.identity.0 == self.device && is_old(&own);
        let files = entries(&names, FILE).count();
        self.look.files += files;
        let without = self.without.filter(|_| path == b".");
        for name in entries(&names, FOLDER).filter(|name| Some(*name) != without) {
            let sub = openat(dir, name, DIR_ITSELF, Mode::empty()).ok()?;
            self.add(&sub, &[path, b"/", name.to_bytes()].concat(), depth - 1)?;
        }
        self.look.folders.push(Arc::new(Folder {
            path: CString::new(path).ok()?,
            own,
            names,
            files,
            digest,
        }));
        Some(())
    }
}

/// The path of a folder, without what it begins with.
fn below_root(path: &CStr) -> &[u8] {
    let path = path.to_bytes();
    path.strip_prefix(b"./").unwrap_or_default()
}

/// What changed less than this ago, by the clock of the file system of `dir`, may change again
/// without showing it. Linux's file systems tell times by ticks of at most 10 ms; where there are
/// no fractions of seconds, or nothing is known, they may tell every second one only.
fn tick_of(dir: &OwnedFd) -> Option<Duration> {
    let is_fine = is_local(dir) && fstat(dir).ok()?.st_ctime_nsec != 0;
    Some(Duration::from_millis(if is_fine { 20 } else { 3_000 }))
}

/// What `dir` holds, as `Folder::names` has it.
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

/// One number for the stats of all files that are named. `None` where one cannot be had, or
/// `is_enough` says no to one.
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
        // A file system may tell only here that it is a directory.
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
