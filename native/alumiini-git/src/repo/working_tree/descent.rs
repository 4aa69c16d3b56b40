//! The way down to the directories of a working tree, one after another in their order: what two
//! have in common is opened once.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::repo::open_flags::{DIR, DIR_ITSELF};

pub(super) struct Descent {
    root: OwnedFd,
    open: Vec<(Vec<u8>, OwnedFd)>,
}

impl Descent {
    pub(super) fn new(work: &Path) -> Result<Descent, Errno> {
        let root = rustix::fs::open(work, DIR, Mode::empty())?;
        Ok(Descent {
            root,
            open: Vec::new(),
        })
    }

    /// Opens the directory of this path, which may be empty.
    pub(super) fn to(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        let mut names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        let mut depth = 0;
        let mut next = names.next();
        while let Some(name) =
            next.filter(|name| self.open.get(depth).is_some_and(|(open, _)| open == name))
        {
            let _ = name;
            depth += 1;
            next = names.next();
        }
        self.open.truncate(depth);
        while let Some(name) = next {
            let fd = rustix::fs::openat(
                self.last(),
                OsStr::from_bytes(name),
                DIR_ITSELF,
                Mode::empty(),
            )?;
            self.open.push((name.to_vec(), fd));
            next = names.next();
        }
        Ok(self.last())
    }

    fn last(&self) -> BorrowedFd<'_> {
        self.open
            .last()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }
}

/// The directory and the name of a path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}
