//! One file of a working tree: what it holds, what it is to hold.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use git2::{ObjectType, Odb, Oid, Repository};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::index::{Entry, Recorded};
use super::{FILE, KIND, LINK};
use crate::error::{Error, Kind, Result};
use crate::repo::git_failure;
use crate::repo::open_flags::{DIR_ITSELF, FILE_ITSELF};
use crate::repo::tree_files::link_target;
use crate::task::job::Job;

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What a file system can keep of a mode, as `core.filemode` and `core.symlinks` have it.
#[derive(Debug)]
pub(super) struct Keeps {
    executable: AtomicBool,
    links: AtomicBool,
}

impl Keeps {
    pub(super) fn of(repo: &Repository) -> Keeps {
        let config = repo.config().and_then(|mut config| config.snapshot());
        let is = |key| {
            config
                .as_ref()
                .ok()
                .and_then(|config| config.get_bool(key).ok())
        };
        Keeps {
            executable: AtomicBool::new(is("core.filemode").unwrap_or(true)),
            links: AtomicBool::new(is("core.symlinks").unwrap_or(true)),
        }
    }

    /// Executable files, and links.
    pub(super) fn get(&self) -> (bool, bool) {
        (
            self.executable.load(Ordering::Relaxed),
            self.links.load(Ordering::Relaxed),
        )
    }

    /// Notes in the repository what was found out, which is for every `git` that comes here, too.
    pub(super) fn record(&self, repo: &Repository) -> Result<()> {
        let fail = git_failure("write the repository's config");
        let mut config = repo.config().map_err(&fail)?;
        let (executable, links) = self.get();
        for (key, value) in [("core.filemode", executable), ("core.symlinks", links)] {
            if !value {
                config.set_bool(key, false).map_err(&fail)?;
            }
        }
        Ok(())
    }
}

/// What reads and writes files of one working tree.
pub(super) struct Content<'a> {
    odb: &'a Odb<'a>,
    pub(super) work: &'a Path,
    keeps: &'a Keeps,
    pub(super) job: &'a Job,
}

impl<'a> Content<'a> {
    pub(super) fn new(
        odb: &'a Odb<'a>,
        work: &'a Path,
        keeps: &'a Keeps,
        job: &'a Job,
    ) -> Content<'a> {
        Content {
            odb,
            work,
            keeps,
            job,
        }
    }

    /// The stat is the one recorded, and old enough to be believed: an index was written later, at
    /// `written`.
    pub(super) fn is_as_recorded(&self, entry: &Entry, stat: &Stat, written: (i64, i64)) -> bool {
        let now = Recorded::of(stat);
        entry.stat.is_still(&now)
            && self.is_same_kind(entry.mode, stat)
            && (stat.st_mtime as i64, stat.st_mtime_nsec as i64) < written
    }

    /// Reads the file and compares it with the blob.
    pub(super) fn is_unchanged(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
        stat: &Stat,
    ) -> Result<bool> {
        if !self.is_same_kind(entry.mode, stat) {
            return Ok(false);
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let there = rustix::fs::readlinkat(dir, name, Vec::new());
            return Ok(there.is_ok_and(|there| {
                self.link(entry.id)
                    .is_ok_and(|wanted| wanted == there.as_bytes())
            }));
        }
        // Also a bound on what is read: never more than the blob has.
        let (size, _) = self
            .odb
            .read_header(entry.id)
            .map_err(git_failure("read a file's object"))?;
        if stat.st_size as u64 != size as u64 {
            return Ok(false);
        }
        let mut content = Vec::with_capacity(size);
        let Ok(file) = rustix::fs::openat(dir, name, FILE_ITSELF, Mode::empty()) else {
            return Ok(false);
        };
        std::fs::File::from(file)
            .take(size as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|error| Error::io("read", &self.work.join(name), &error))?;
        let id =
            Oid::hash_object(ObjectType::Blob, &content).map_err(git_failure("hash a file"))?;
        Ok(id == entry.id)
    }

    /// Writes a file that is not there. Returns its stat, and how many bytes that were.
    pub(super) fn write(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<(Stat, usize)> {
        let shown = || self.work.join(OsStr::from_bytes(&entry.path));
        let blob = self
            .odb
            .read(entry.id)
            .map_err(git_failure("read a file's object"))?;
        if blob.kind() != ObjectType::Blob {
            return Err(Error::new(
                Kind::Corrupt,
                format!("{} is a {} where a file is wanted", entry.id, blob.kind()),
            ));
        }
        let fail = |error: io::Error| Error::io("write", &shown(), &error);
        if entry.mode & KIND == LINK && self.keeps.links.load(Ordering::Relaxed) {
            match rustix::fs::symlinkat(OsStr::from_bytes(link_target(blob.data())), dir, name) {
                Ok(()) => {
                    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                    return stat
                        .map(|stat| (stat, blob.len()))
                        .map_err(|errno| fail(errno.into()));
                }
                // A file system without links: as Git, a file that holds where it leads.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.keeps.links.store(false, Ordering::Relaxed)
                }
                Err(errno) => return Err(fail(errno.into())),
            }
        }
        let mode = if entry.mode & 0o100 != 0 {
            0o777
        } else {
            0o666
        };
        let file = rustix::fs::openat(dir, name, CREATE, Mode::from_raw_mode(mode))
            .map_err(|errno| fail(errno.into()))?;
        let mut file = std::fs::File::from(file);
        if let Err(error) = file.write_all(blob.data()) {
            // On a full disk, room for going back to what was there.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            return Err(fail(error));
        }
        let stat = rustix::fs::fstat(&file).map_err(|errno| fail(errno.into()))?;
        // What was just asked for is not there: modes are fixed here.
        if (stat.st_mode & 0o100 != 0) != (mode & 0o100 != 0) {
            self.keeps.executable.store(false, Ordering::Relaxed);
        }
        Ok((stat, blob.len()))
    }

    /// Where the link in the blob `id` leads.
    fn link(&self, id: Oid) -> Result<Vec<u8>> {
        let fail = git_failure("read a file's object");
        let (size, _) = self.odb.read_header(id).map_err(&fail)?;
        // No system has longer ones.
        if size > 1 << 16 {
            return Ok(Vec::new());
        }
        Ok(link_target(self.odb.read(id).map_err(&fail)?.data()).to_vec())
    }

    fn is_same_kind(&self, mode: u32, stat: &Stat) -> bool {
        let (keeps_executable, keeps_links) = self.keeps.get();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if mode & KIND == LINK => !keeps_links,
            FileType::RegularFile => {
                let executable =
                    !keeps_executable || (mode & 0o100 != 0) == (stat.st_mode & 0o100 != 0);
                mode & KIND == FILE && executable
            }
            FileType::Symlink => mode & KIND == LINK,
            _ => false,
        }
    }

    /// Removes `name`, whatever it is, with everything below it.
    pub(super) fn remove(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        use std::os::fd::AsFd;
        let os = OsStr::from_bytes(name);
        let fail = |errno: Errno| Error::io("remove", &self.work.join(os), &errno.into());
        match rustix::fs::unlinkat(dir, os, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // A directory: EISDIR on Linux, EPERM elsewhere.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let sub = rustix::fs::openat(dir, os, DIR_ITSELF, Mode::empty()).map_err(fail)?;
        // Listed before the first removal: some systems skip entries of a directory that changes
        // while it is read.
        let names: Vec<Vec<u8>> = Dir::read_from(&sub)
            .map_err(fail)?
            .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
            .collect::<std::result::Result<_, _>>()
            .map_err(fail)?;
        for name in names.iter().filter(|name| *name != b"." && *name != b"..") {
            self.job.check()?;
            self.remove(sub.as_fd(), name)?;
        }
        rustix::fs::unlinkat(dir, os, AtFlags::REMOVEDIR).map_err(fail)
    }
}

/// What no path of a commit may have as one of its parts. A commit was asked before; this is where
/// a miss would do harm.
pub(super) fn refuse(name: &[u8], path: &[u8]) -> Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.eq_ignore_ascii_case(b".git") {
        let path = String::from_utf8_lossy(path);
        return Err(Error::new(
            Kind::UnsafePath,
            format!("the commit holds the path `{path}`, which may not be checked out"),
        ));
    }
    Ok(())
}
