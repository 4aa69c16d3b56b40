//! In what a working tree differs from a commit's tree, without touching it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{Oid, Repository};
use rustix::fs::{AtFlags, Dir, FileType, Mode, openat, statat};
use rustix::io::Errno;

use super::content::{Content, Keeps};
use super::index::{self, Entry};
use super::{apart, files, take_stats};
use crate::error::{Error, Key, Kind, Result};
use crate::repo::open_flags::{DIR, DIR_ITSELF};
use crate::repo::tree_files::{FILE, GITLINK, KIND, LINK};
use crate::repo::{BUILD_PREFIX, raw_object};
use crate::selection::scope::Filter;
use crate::task::job::Job;

/// What differs; with more, the answer is that.
const MAX_DRIFT: usize = 1_000_000;

/// How a path is not as the commit has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drift {
    Deleted,
    Modified,
    /// A file where a link is to be, or the other way round.
    TypeChanged,
    /// The commit does not have it. A directory of such is told as one, with a slash at its end.
    Untracked,
}

/// What differs in the working tree `work` from what `filter` takes of `tree`, by path. As far as
/// the index tells by a file's stat that it is as it was written, it is not read.
pub(crate) fn drift(
    repo: &Repository,
    work: &Path,
    tree: Oid,
    filter: &Filter,
    job: &Job,
) -> Result<Vec<(Vec<u8>, Drift)>> {
    let odb = raw_object::odb(repo)?;
    let (mut wanted, _) = apart(files(&odb, tree, filter, job)?);
    let old = index::read(repo.path()).unwrap_or_default();
    take_stats(&mut wanted, &old);
    let keeps = Keeps::of(repo);
    let mut search = Search {
        content: Content::new(&odb, work, &keeps, job),
        wanted: &wanted,
        written: old.written,
        found: Vec::new(),
    };
    let root = rustix::fs::open(work, DIR, Mode::empty())
        .map_err(|errno| Error::io("open", work, &errno.into()))?;
    search.directory(root.as_fd(), 0, 0..wanted.len())?;
    let mut found = search.found;
    found.sort_unstable();
    Ok(found)
}

struct Search<'a> {
    content: Content<'a>,
    wanted: &'a [Entry],
    /// When the index was written that the stats are of.
    written: (i64, i64),
    found: Vec<(Vec<u8>, Drift)>,
}

impl Search<'_> {
    fn add(&mut self, path: Vec<u8>, drift: Drift) -> Result<()> {
        if self.found.len() >= MAX_DRIFT {
            return Err(self.too_large());
        }
        self.found.push((path, drift));
        Ok(())
    }

    fn too_large(&self) -> Error {
        let message = format!(
            "more than {MAX_DRIFT} files of {} are not as the commit has them; sync it",
            self.content.work.display()
        );
        Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_DRIFT as u64)
    }

    /// One directory: `range` are the wanted entries below it, whose first `prefix` bytes of path
    /// are its own name.
    fn directory(&mut self, dir: BorrowedFd<'_>, prefix: usize, range: Range<usize>) -> Result<()> {
        let above = self
            .wanted
            .get(range.start)
            .map(|entry| entry.path[..prefix].to_vec());
        let above = above.unwrap_or_default();
        let mut present = self.list(dir, &above)?;
        let mut place = range.start;
        while place < range.end {
            self.content.job.check()?;
            let path = &self.wanted[place].path;
            let rest = &path[prefix..];
            let slash = rest.iter().position(|byte| *byte == b'/');
            let name = &rest[..slash.unwrap_or(rest.len())];
            let kind = present.get(name).copied();
            place = match slash {
                None => {
                    if self.leaf(dir, name, kind, place)? {
                        present.remove(name);
                    }
                    place + 1
                }
                Some(slash) => {
                    let inner = prefix + slash + 1;
                    let below = &path[..inner];
                    let end = place
                        + self.wanted[place..range.end]
                            .partition_point(|entry| entry.path.starts_with(below));
                    match self.enter(dir, name, kind)? {
                        Some(sub) => {
                            present.remove(name);
                            self.directory(sub.as_fd(), inner, place..end)?;
                        }
                        None => {
                            for gone in place..end {
                                self.add(self.wanted[gone].path.clone(), Drift::Deleted)?;
                            }
                        }
                    }
                    end
                }
            };
        }
        for (name, kind) in present {
            let slash = (kind == FileType::Directory).then_some(b'/');
            let path = above.iter().chain(&name).copied().chain(slash);
            self.add(path.collect(), Drift::Untracked)?;
        }
        Ok(())
    }

    /// What is in a directory, without what is Git's or a sync's.
    fn list(&self, dir: BorrowedFd<'_>, above: &[u8]) -> Result<HashMap<Vec<u8>, FileType>> {
        let shown = self.content.work.join(OsStr::from_bytes(above));
        let fail = |errno: Errno| Error::io("list", &shown, &errno.into());
        let mut names = HashMap::new();
        for entry in Dir::read_from(dir).map_err(fail)? {
            self.content.job.check()?;
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            let is_ours =
                above.is_empty() && (name == b".git" || name.starts_with(BUILD_PREFIX.as_bytes()));
            if name == b"." || name == b".." || is_ours {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    }),
                kind => kind,
            };
            names.insert(name.to_vec(), kind);
            if names.len() > 2 * MAX_DRIFT {
                return Err(self.too_large());
            }
        }
        Ok(names)
    }

    fn enter(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Option<FileType>,
    ) -> Result<Option<OwnedFd>> {
        if kind != Some(FileType::Directory) {
            return Ok(None);
        }
        match openat(dir, OsStr::from_bytes(name), DIR_ITSELF, Mode::empty()) {
            Ok(sub) => Ok(Some(sub)),
            // Changed since it was listed.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK | Errno::NOENT) => Ok(None),
            Err(errno) => {
                let path = self.content.work.join(OsStr::from_bytes(name));
                Err(Error::io("open", &path, &errno.into()))
            }
        }
    }

    /// Whether what is there has been told, or is as it is to be.
    fn leaf(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Option<FileType>,
        place: usize,
    ) -> Result<bool> {
        let entry = &self.wanted[place];
        let path = entry.path.clone();
        if entry.mode & KIND == GITLINK {
            // A submodule that is not checked out is an empty directory.
            return match self.enter(dir, name, kind)? {
                Some(sub) => {
                    let is_empty = self
                        .list(sub.as_fd(), &[&path[..], b"/"].concat())?
                        .is_empty();
                    if !is_empty {
                        self.add(path, Drift::Modified)?;
                    }
                    Ok(true)
                }
                None => {
                    self.add(path, Drift::Deleted)?;
                    Ok(false)
                }
            };
        }
        if matches!(kind, None | Some(FileType::Directory)) {
            self.add(path, Drift::Deleted)?;
            return Ok(false);
        }
        let os = OsStr::from_bytes(name);
        let stat = match statat(dir, os, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.add(path, Drift::Deleted)?;
                return Ok(true);
            }
            Err(errno) => {
                let path = self.content.work.join(OsStr::from_bytes(&path));
                return Err(Error::io("look at", &path, &errno.into()));
            }
        };
        if self.content.is_as_recorded(entry, &stat, self.written)
            || self.content.is_unchanged(dir, os, entry, &stat)?
        {
            return Ok(true);
        }
        let drift = match (entry.mode & KIND, FileType::from_raw_mode(stat.st_mode)) {
            (FILE, FileType::RegularFile) | (LINK, FileType::Symlink) => Drift::Modified,
            _ => Drift::TypeChanged,
        };
        self.add(path, drift)?;
        Ok(true)
    }
}
