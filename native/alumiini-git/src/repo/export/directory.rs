//! A directory that is filled with the files of a commit. Each step is relative to an open
//! directory and follows no link.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;

use super::Sink;
use crate::error::{Error, Result};
use crate::repo::open_flags::DIR_ITSELF;

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub(crate) struct Directory {
    root: OwnedFd,
    /// The directories on the way to the last file: files come in the order of their paths.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// For messages.
    shown: PathBuf,
}

impl Directory {
    /// Of a directory that is empty.
    pub(super) fn open(path: &Path, shown: &Path) -> Result<Directory> {
        let root = rustix::fs::open(path, DIR_ITSELF, Mode::empty())
            .map_err(|errno| Error::io("open", shown, &errno.into()))?;
        Ok(Directory {
            root,
            open: Vec::new(),
            shown: shown.to_owned(),
        })
    }

    fn fail(&self, path: &[u8], errno: Errno) -> Error {
        let path = self.shown.join(OsStr::from_bytes(path));
        Error::io("write", &path, &errno.into())
    }

    /// The directory that `path` is in, made where it is not there, and the name there.
    fn enter<'a>(&mut self, path: &'a [u8]) -> Result<(BorrowedFd<'_>, &'a OsStr)> {
        let steps: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let (name, above) = steps.split_last().unwrap_or((&path, &[]));
        let same = self
            .open
            .iter()
            .zip(above)
            .take_while(|((open, _), step)| open == *step)
            .count();
        self.open.truncate(same);
        for step in &above[same..] {
            let here = self.open.last().map_or(&self.root, |(_, dir)| dir);
            let os = OsStr::from_bytes(step);
            let made = match mkdirat(here, os, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => openat(here, os, DIR_ITSELF, Mode::empty()),
                Err(errno) => Err(errno),
            };
            let made = made.map_err(|errno| self.fail(path, errno))?;
            self.open.push((step.to_vec(), made));
        }
        let here = self.open.last().map_or(&self.root, |(_, dir)| dir);
        Ok((here.as_fd(), OsStr::from_bytes(name)))
    }
}

impl Sink for Directory {
    fn file(&mut self, path: &[u8], is_executable: bool, content: &[u8]) -> Result<()> {
        let mode = Mode::from_raw_mode(if is_executable { 0o777 } else { 0o666 });
        let (dir, name) = self.enter(path)?;
        let made = openat(dir, name, CREATE, mode);
        let file = made.map_err(|errno| self.fail(path, errno))?;
        let written = std::fs::File::from(file).write_all(content);
        written
            .map_err(|error| Error::io("write", &self.shown.join(OsStr::from_bytes(path)), &error))
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let (dir, name) = self.enter(path)?;
        let made = symlinkat(OsStr::from_bytes(target), dir, name);
        made.map_err(|errno| self.fail(path, errno))
    }

    fn submodule(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.enter(path)?;
        let made = mkdirat(dir, name, Mode::from_raw_mode(0o777));
        made.map_err(|errno| self.fail(path, errno))
    }
}
