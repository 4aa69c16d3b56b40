//! What was read of repositories without a working tree, for as long as they are at the commit that
//! it was read of.
//!
//! What a commit says of a file never changes. So what was read once is given again while the files
//! that say which commit HEAD is at are the same: a few stats, instead of a change of threads, an
//! open repository and a walk through its trees. Used by `CachedReads`, on Linux.

#![cfg_attr(not(target_os = "linux"), allow(unused))]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of files that may be remembered, of all repositories together. With more, all is read
/// again.
const MAX_BYTES: usize = 16 << 20;
/// What one costs beside its content, about.
const EACH: usize = 200;

/// A `.git` that changed less than this ago may change again without showing it, on local file
/// systems that tell fractions of seconds.
#[cfg(target_os = "linux")]
pub(super) const FINE: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(super) struct RecentReads(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    repositories: HashMap<PathBuf, OfOne>,
    bytes: usize,
}

struct OfOne {
    at: At,
    files: HashMap<PathBuf, Arc<[u8]>>,
}

/// What says which commit a repository is at: the branch that HEAD names, and the stats of HEAD, of
/// the branch, of the packed refs, and of the config, which goes with the repository.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At {
    /// Its full name. None where HEAD is detached.
    branch: Option<String>,
    stats: [Option<Stat>; 4],
}

/// Device and number, size, times.
type Stat = ((u32, u32, u64), u64, [(i64, u32); 2]);

impl RecentReads {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a file of the repository at `root`, which was at `at` before it was read.
    pub(super) fn keep(&self, root: &Path, at: At, file: &Path, content: &[u8]) {
        let mut memory = self.lock();
        let cost = content.len() + file.as_os_str().len() + EACH;
        if memory.bytes + cost > MAX_BYTES {
            *memory = Memory::default();
        }
        if memory
            .repositories
            .get(root)
            .is_some_and(|one| one.at != at)
            && let Some(old) = memory.repositories.remove(root)
        {
            let cost = |(file, content): (&PathBuf, &Arc<[u8]>)| {
                content.len() + file.as_os_str().len() + EACH
            };
            memory.bytes -= old.files.iter().map(cost).sum::<usize>();
        }
        let one = memory
            .repositories
            .entry(root.to_owned())
            .or_insert_with(|| OfOne {
                at,
                files: HashMap::new(),
            });
        if one.files.insert(file.to_owned(), content.into()).is_none() {
            memory.bytes += cost;
        }
    }
}

impl At {
    /// The file systems that it is on.
    pub(super) fn devices(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.stats
            .iter()
            .flatten()
            .map(|((major, minor, _), _, _)| (*major, *minor))
    }
}

#[cfg(not(target_os = "linux"))]
impl At {
    pub(super) fn of(_root: &Path, _tick: Duration) -> Option<At> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
    use rustix::io::Errno;

    use super::{At, FINE, RecentReads, Stat};
    use crate::reference::Branch;

    use crate::repo::{git_dir_check, open, raw_object};

    /// Bytes that a ref may have: a name in it is as long as a path at most.
    const MAX_REF: u64 = 8_192;
    const INSIDE: ResolveFlags = ResolveFlags::BENEATH
        .union(ResolveFlags::NO_XDEV)
        .union(ResolveFlags::NO_SYMLINKS);

    /// `Ok(None)` where it is not there.
    fn stat(git: impl AsFd, name: &str, resolve: ResolveFlags) -> Result<Option<Stat>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat2(git, name, flags, Mode::empty(), resolve) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", flags, StatxFlags::BASIC_STATS)?;
        let times = [stat.stx_mtime, stat.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec));
        let identity = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        Ok(Some((identity, stat.stx_size, times)))
    }

    fn stats(
        git: impl AsFd,
        branch: Option<&str>,
        resolve: ResolveFlags,
    ) -> Result<[Option<Stat>; 4], Errno> {
        let of = |name: &str| stat(&git, name, resolve);
        Ok([
            of("config")?,
            of("HEAD")?,
            of("packed-refs")?,
            branch.map(of).transpose()?.flatten(),
        ])
    }

    impl At {
        /// What the repository at `root` is at. None where that may change without being seen,
        /// within `tick` or less of the clock of its file system, or is said in another way.
        pub(in crate::repo) fn of(root: &Path, tick: Duration) -> Option<At> {
            let git_dir = open::git_dir(root);
            let head = String::from_utf8(git_dir_check::read(&git_dir.join("HEAD"), MAX_REF).ok()?)
                .ok()?;
            let branch = match head.strip_prefix("ref: ") {
                Some(name) => {
                    let name = name.trim_end();
                    Branch::of_local(name.as_bytes())?;
                    Some(name.to_owned())
                }
                None => raw_object::id(head.trim_end().as_bytes()).map(|_| None)?,
            };
            // A ref may name another one.
            if let Some(name) = &branch
                && let Ok(content) = git_dir_check::read(&git_dir.join(name), MAX_REF)
            {
                raw_object::id(content.trim_ascii_end())?;
            }
            let git = fs::File::open(&git_dir).ok()?;
            let stats = stats(&git, branch.as_deref(), INSIDE).ok()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            let mut times = stats.iter().flatten().flat_map(|(_, _, times)| times);
            let tick = if times.clone().all(|(_, nanos)| *nanos != 0) {
                tick.min(FINE)
            } else {
                tick
            };
            let old = now.checked_sub(tick)?;
            let is_old =
                |(seconds, nanos): &(i64, u32)| Duration::new(*seconds as u64, *nanos) < old;
            times.all(is_old).then_some(At { branch, stats })
        }
    }

    impl RecentReads {
        /// The content of a file of the repository at `root`, whose `.git` is `git`, as long as it
        /// is where it was when that was read. Waits for nothing, where to open what is `inside` of
        /// `git` so does not.
        pub(in crate::repo) fn get(
            &self,
            git: impl AsFd,
            inside: ResolveFlags,
            root: &Path,
            file: &Path,
        ) -> Option<Arc<[u8]>> {
            let (content, at) = {
                let memory = self.lock();
                let one = memory.repositories.get(root)?;
                (one.files.get(file)?.clone(), one.at.clone())
            };
            let now = stats(git, at.branch.as_deref(), inside).ok()?;
            (now == at.stats).then_some(content)
        }
    }
}
