//! The walk over all of a working tree, which holds it against a list of files.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode as FileMode};
use rustix::io::Errno;

use super::content::{Content, refuse};
use super::index::{Entry, Recorded};
use super::{GITLINK, KIND};
use crate::error::{Error, Result};
use crate::repo::BUILD_PREFIX;
use crate::repo::open_flags::{DIR, DIR_ITSELF};

/// What a walk does with what is not as wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// It ends there.
    Check,
    /// It is made so.
    Apply,
}

pub(super) struct Walk<'a> {
    content: Content<'a>,
    wanted: &'a mut [Entry],
    /// When the index was written that the stats are of.
    written: (i64, i64),
    /// Make room for what differs, and remove what is not wanted, rather than stop at it.
    mode: Mode,
    /// Files that are to be written, by their place in `wanted`.
    pub(super) missing: Vec<usize>,
    /// A stat was found to be another, and what it is of to be the same.
    pub(super) is_fresh: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        content: Content<'a>,
        wanted: &'a mut [Entry],
        written: (i64, i64),
        mode: Mode,
    ) -> Walk<'a> {
        Walk {
            content,
            wanted,
            written,
            mode,
            missing: Vec::new(),
            is_fresh: false,
        }
    }

    /// False where something differs and nothing is to be changed. Makes all directories.
    pub(super) fn run(&mut self) -> Result<bool> {
        let work = self.content.work;
        let root = rustix::fs::open(work, DIR, FileMode::empty())
            .map_err(|errno| Error::io("open", work, &errno.into()))?;
        self.directory(root.as_fd(), 0, 0..self.wanted.len())
    }

    /// One directory: `range` are the wanted entries below it, whose first `prefix` bytes of path
    /// are its own name.
    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        prefix: usize,
        range: Range<usize>,
    ) -> Result<bool> {
        let mut present = self.list(dir, prefix, range.start)?;
        if prefix == 0 {
            let wanted = self.names(prefix, range.clone());
            let is_build =
                |name: &[u8]| name.starts_with(BUILD_PREFIX.as_bytes()) && !wanted.contains(name);
            present.retain(|name, _| name != b".git" && !is_build(name));
        }
        if self.mode == Mode::Apply {
            // Before anything is written, so that what goes makes room for what comes.
            let wanted = self.names(prefix, range.clone());
            for name in present
                .keys()
                .filter(|name| !wanted.contains(name.as_slice()))
            {
                self.content.remove(dir, name)?;
            }
            present.retain(|name, _| wanted.contains(name.as_slice()));
        }
        let mut place = range.start;
        while place < range.end {
            self.content.job.check()?;
            let path = &self.wanted[place].path;
            let rest = &path[prefix..];
            let slash = rest.iter().position(|byte| *byte == b'/');
            let name = rest[..slash.unwrap_or(rest.len())].to_vec();
            refuse(&name, path)?;
            let kind = present.remove(&name);
            let next = match slash {
                None => {
                    if !self.leaf(dir, &name, kind, place)? {
                        return Ok(false);
                    }
                    place + 1
                }
                Some(slash) => {
                    let inner = prefix + slash + 1;
                    let below = &path[..inner];
                    let end = place
                        + self.wanted[place..range.end]
                            .partition_point(|entry| entry.path.starts_with(below));
                    let Some(sub) = self.enter(dir, &name, kind)? else {
                        return Ok(false);
                    };
                    if !self.directory(sub.as_fd(), inner, place..end)? {
                        return Ok(false);
                    }
                    end
                }
            };
            place = next;
        }
        Ok(present.is_empty())
    }

    /// The names that the wanted entries `range` have in their directory.
    fn names(&self, prefix: usize, range: Range<usize>) -> HashSet<&[u8]> {
        let mut names = HashSet::new();
        let mut place = range.start;
        while place < range.end {
            let path = &self.wanted[place].path;
            let length = path[prefix..].iter().position(|byte| *byte == b'/');
            place += match length {
                None => 1,
                Some(length) => {
                    let below = &path[..=prefix + length];
                    self.wanted[place..range.end]
                        .partition_point(|entry| entry.path.starts_with(below))
                }
            };
            names.insert(&path[prefix..length.map_or(path.len(), |length| prefix + length)]);
        }
        names
    }

    fn list(
        &self,
        dir: BorrowedFd<'_>,
        prefix: usize,
        place: usize,
    ) -> Result<HashMap<Vec<u8>, FileType>> {
        let shown = || match self.wanted.get(place) {
            Some(entry) => self
                .content
                .work
                .join(OsStr::from_bytes(&entry.path[..prefix])),
            None => self.content.work.to_owned(),
        };
        let fail = |errno: Errno| Error::io("list", &shown(), &errno.into());
        let mut names = HashMap::new();
        for entry in Dir::read_from(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.insert(name.to_vec(), entry.file_type());
            }
        }
        Ok(names)
    }

    /// Opens the wanted directory `name`, made anew where something else has its place.
    fn enter(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Option<FileType>,
    ) -> Result<Option<OwnedFd>> {
        let os = OsStr::from_bytes(name);
        let shown = || self.content.work.join(os);
        if kind.is_some() {
            match rustix::fs::openat(dir, os, DIR_ITSELF, FileMode::empty()) {
                Ok(sub) => return Ok(Some(sub)),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK | Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("open", &shown(), &errno.into())),
            }
        }
        if self.mode == Mode::Check {
            return Ok(None);
        }
        if kind.is_some() {
            self.content.remove(dir, name)?;
        }
        let fail = |errno: Errno| Error::io("make", &shown(), &errno.into());
        rustix::fs::mkdirat(dir, os, FileMode::from_raw_mode(0o777)).map_err(fail)?;
        rustix::fs::openat(dir, os, DIR_ITSELF, FileMode::empty())
            .map(Some)
            .map_err(fail)
    }

    fn leaf(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Option<FileType>,
        place: usize,
    ) -> Result<bool> {
        let os = OsStr::from_bytes(name);
        if self.wanted[place].mode & KIND == GITLINK {
            // A submodule that is not checked out is an empty directory.
            let Some(sub) = self.enter(dir, name, kind)? else {
                return Ok(false);
            };
            return self.directory(sub.as_fd(), self.wanted[place].path.len(), place..place);
        }
        if kind.is_some() {
            match rustix::fs::statat(dir, os, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let entry = &self.wanted[place];
                    if self.content.is_as_recorded(entry, &stat, self.written) {
                        return Ok(true);
                    }
                    if self.content.is_unchanged(dir, os, entry, &stat)? {
                        self.wanted[place].stat = Recorded::of(&stat);
                        self.is_fresh = true;
                        return Ok(true);
                    }
                    if self.mode == Mode::Apply {
                        self.content.remove(dir, name)?;
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(Error::io(
                        "look at",
                        &self.content.work.join(os),
                        &errno.into(),
                    ));
                }
            }
        }
        if self.mode == Mode::Apply {
            self.missing.push(place);
        }
        Ok(self.mode == Mode::Apply)
    }
}
