//! Reads a file of a repository, if that takes no wait for a thread, a lock or the disk.
//!
//! The thread that reads requests must never wait, but handing a request to another thread takes
//! longer than copying a manifest that is in memory. So this file asks the system only for what is
//! in memory (`RESOLVE_CACHED` of openat2(2), `RWF_NOWAIT` of preadv2(2)), only on local file
//! systems, and only in the plain case. All other cases (a link, a move of the working tree, a path
//! of another form) are left to `ops::stable_read`. For a repository without a working tree, this
//! file returns what was read there lately (`recent_reads`).

#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::repo::recent_reads::{At, RecentReads};

/// The file systems that answer from memory without waiting for a network or another process.
pub(crate) struct CachedReads {
    /// The kind of each file system, and when it was learned.
    devices: Mutex<HashMap<(u32, u32), (Medium, Instant)>>,
    recent_reads: RecentReads,
    tick: Duration,
}

/// What a request to a file system may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Medium {
    /// Nothing: all of it is in memory.
    Memory,
    /// A disk, for what is not in memory.
    Disk,
    /// Anything, such as a network.
    Other,
}

impl Default for CachedReads {
    fn default() -> CachedReads {
        CachedReads {
            devices: Mutex::default(),
            recent_reads: RecentReads::default(),
            tick: TICK,
        }
    }
}

/// The most file systems in the cache. When it is full, it is emptied.
const MAX_DEVICES: usize = 64;
/// How long an entry is believed. After an unmount, another file system may get the number of the
/// device.
const BELIEVED: Duration = Duration::from_secs(60);
/// How coarse the clocks of other file systems may be. See `fingerprint::tick_of`.
const TICK: Duration = Duration::from_secs(3);

/// Whether `path` is absolute and in its normal form.
fn is_plain(path: &[u8]) -> bool {
    let mut steps = path.split(|byte| *byte == b'/');
    path.len() > 1
        && steps.next() == Some(b"")
        && steps.all(|step| !step.is_empty() && step != b"." && step != b"..")
}

/// Whether `file` is relative, and no step of it is `.git`, not even on file systems that ignore
/// case or some characters beyond ASCII.
fn is_harmless(file: &[u8]) -> bool {
    let mut steps = file.split(|byte| *byte == b'/');
    file.is_ascii()
        && steps.all(|step| {
            !step.is_empty() && step != b"." && step != b".." && !step.eq_ignore_ascii_case(b".git")
        })
}

impl CachedReads {
    /// The state of the repository without a working tree at `root`, for [`CachedReads::keep`]. Get
    /// it before the file is read.
    pub(crate) fn at(&self, root: &Path) -> Option<At> {
        At::of(root, self.tick)
    }

    /// Caches a file that was read there, if its file system is in the cache.
    pub(crate) fn keep(&self, root: &Path, at: At, file: &Path, content: &[u8]) {
        let is_good = |device| matches!(self.known(device), Some(Medium::Memory | Medium::Disk));
        if at.devices().all(is_good) {
            self.recent_reads.keep(root, at, file, content);
        }
    }

    fn known(&self, device: (u32, u32)) -> Option<Medium> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let (medium, learned) = devices.get(&device)?;
        (learned.elapsed() < BELIEVED).then_some(*medium)
    }
}

#[cfg(not(target_os = "linux"))]
impl CachedReads {
    pub(crate) fn learn(&self, _path: &Path) {}

    pub(crate) fn file(&self, _path: &Path, _file: &Path, _most: u64) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSliceMut;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::PoisonError;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use rustix::fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx,
    };
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use crate::repo::recent_reads::FINE;

    use super::{CachedReads, MAX_DEVICES, Medium, is_harmless, is_plain};
    use crate::repo::MARKER;
    use crate::repo::local_fs::{is_in_memory, is_local};
    use crate::repo::open_flags::FILE_ITSELF;

    const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    const CACHED: ResolveFlags = ResolveFlags::CACHED.union(ResolveFlags::NO_SYMLINKS);

    fn open(
        dir: impl AsFd,
        path: &[u8],
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        openat2(dir, path, flags, Mode::empty(), resolve)
    }

    impl Medium {
        /// How to open a path inside a directory without waiting. A file system in memory never
        /// waits, and does not cache names that do not exist.
        fn inside(self) -> Option<ResolveFlags> {
            let inside = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
            match self {
                Medium::Memory => Some(inside),
                Medium::Disk => Some(inside | ResolveFlags::CACHED),
                Medium::Other => None,
            }
        }

        fn read_flags(self) -> ReadWriteFlags {
            match self {
                Medium::Memory => ReadWriteFlags::empty(),
                _ => ReadWriteFlags::NOWAIT,
            }
        }
    }

    fn stat(fd: &OwnedFd) -> Option<Statx> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        statx(fd, c"", flags, StatxFlags::BASIC_STATS).ok()
    }

    fn device(stat: &Statx) -> (u32, u32) {
        (stat.stx_dev_major, stat.stx_dev_minor)
    }

    /// The times of a directory, which change when a name is added or removed.
    fn times(dir: &Statx) -> [(i64, u32); 2] {
        [dir.stx_mtime, dir.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec))
    }

    impl CachedReads {
        /// Learns the kind of the file system of `path`. Call it where waiting is allowed.
        pub(crate) fn learn(&self, path: &Path) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Some(device) = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
                .ok()
                .map(|stat| device(&stat))
            else {
                return;
            };
            if self.known(device).is_some() {
                return;
            }
            let Ok(dir) = rustix::fs::open(path, flags, Mode::empty()) else {
                return;
            };
            let medium = match is_local(&dir) {
                true if is_in_memory(&dir) => Medium::Memory,
                true => Medium::Disk,
                false => Medium::Other,
            };
            let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
            if devices.len() >= MAX_DEVICES {
                devices.clear();
            }
            devices.insert(device, (medium, Instant::now()));
        }

        /// The content of `file` in the repository at `path`, of at most `most` bytes. `None`
        /// does not mean that the file does not exist.
        pub(crate) fn file(&self, path: &Path, file: &Path, most: u64) -> Option<Vec<u8>> {
            let (root_path, file_path) = (path, file);
            let (path, file) = (path.as_os_str().as_bytes(), file.as_os_str().as_bytes());
            if !is_plain(path) || !is_harmless(file) {
                return None;
            }
            let root = open(CWD, path, PLACE | OFlags::DIRECTORY, CACHED).ok()?;
            let medium = self.known(device(&stat(&root)?))?;
            let inside = medium.inside()?;
            let git = open(&root, b".git", PLACE | OFlags::DIRECTORY, inside).ok()?;
            let before = stat(&git)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            let is_fine = times(&before).iter().all(|(_, nanos)| *nanos != 0);
            let old = now.checked_sub(if is_fine {
                self.tick.min(FINE)
            } else {
                self.tick
            })?;
            if times(&before)
                .iter()
                .any(|(seconds, nanos)| Duration::new(*seconds as u64, *nanos) > old)
            {
                return None;
            }
            // A checkout is under way, or was interrupted.
            if open(&git, MARKER.as_bytes(), PLACE, inside).err()? != Errno::NOENT {
                return None;
            }
            let content = match open(&git, b"index", PLACE, inside) {
                Ok(_) => content(
                    open(&root, file, FILE_ITSELF, inside).ok()?,
                    most,
                    medium.read_flags(),
                )?,
                // Without an index there is no working tree, and files at this place are not of the
                // commit.
                Err(Errno::NOENT) => self
                    .recent_reads
                    .get(&git, inside, root_path, file_path)?
                    .to_vec(),
                Err(_) => return None,
            };
            // A checkout that began meanwhile has set its marker. A new `.git` has renamed the old
            // one first. Both are noticed here.
            let is_same = times(&stat(&git)?) == times(&before);
            (is_same && content.len() as u64 <= most).then_some(content)
        }
    }

    fn content(opened: OwnedFd, most: u64, flags: ReadWriteFlags) -> Option<Vec<u8>> {
        let what = stat(&opened)?;
        if FileType::from_raw_mode(what.stx_mode.into()) != FileType::RegularFile
            || what.stx_size > most
        {
            return None;
        }
        let mut content = vec![0; what.stx_size as usize];
        if !content.is_empty() {
            let mut whole = [IoSliceMut::new(&mut content)];
            let read = preadv2(&opened, &mut whole, 0, flags).ok()?;
            if read < content.len() {
                return None;
            }
        }
        Some(content)
    }
}

#[cfg(test)]
#[path = "cached_read_tests.rs"]
mod tests;
