//! Opens what a path names inside a directory, and nothing outside it.
//!
//! Each step is opened without following a link, relative to the directory opened before it; links
//! are read and walked the same way. Nothing is checked first and opened later, so swapping a link
//! in between changes which file inside is opened, never whether it is inside. `.git` is refused by
//! name and, against file systems that have several names for it (case, ignorable characters), by
//! identity.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::Name;
use crate::error::{Error, Key, Kind, Result};
use crate::repo::held_dir::replaced;
use crate::repo::no_links::{self, identity};
use crate::repo::open_flags::{DIR, FILE};

/// As many links as Linux follows in one path.
pub(super) const MAX_LINKS: usize = 40;
/// The steps of all paths that are walked from one directory, those of the links in them included.
const MAX_STEPS: usize = 1_000_000;
/// An open directory together with its name, for messages.
pub(crate) struct Root {
    dir: OwnedFd,
    git: Option<(u64, u64)>,
    path: PathBuf,
    steps: Cell<usize>,
}

impl Root {
    /// Opens `path`, in which there is no link.
    pub(crate) fn open(path: &Path) -> Result<Root> {
        let dir = no_links::open(path, DIR).map_err(|errno| match errno {
            Errno::LOOP => replaced(path),
            Errno::NOENT => not_found(format!(
                "{} does not exist; sync the repository first",
                path.display()
            )),
            Errno::NOTDIR => not_found(format!("{} is not a directory", path.display())),
            _ => io_error(path, errno),
        });
        let dir = dir.map_err(|error| error.with(Key::Path, Name::of(path)))?;
        let git = statat(&dir, ".git", AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|stat| identity(&stat));
        Ok(Root {
            dir,
            git,
            path: path.to_owned(),
            steps: Cell::new(0),
        })
    }

    /// Opens the directory `path`, relative to this one; an empty path is this one.
    pub(crate) fn dir(&self, path: &Path) -> Result<OwnedFd> {
        self.walk(path, DIR)
    }

    /// Opens the regular file `path`, relative to this directory.
    pub(crate) fn file(&self, path: &Path) -> Result<File> {
        let file = self.walk(path, FILE)?;
        let stat = fstat(&file).map_err(|errno| self.failed(path, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => Err(self.no(path, "is a directory, not a file")),
            _ => Err(self.no(path, "is not a regular file")),
        }
    }

    fn walk(&self, path: &Path, last: OFlags) -> Result<OwnedFd> {
        let mut steps = steps(&self.path, path)?;
        steps.reverse();
        let mut links = 0;
        let mut trail: Vec<OwnedFd> = Vec::new();
        // A file must have a name: the walk of an empty path ends at the directory itself.
        while let Some(step) = steps.pop() {
            self.steps.set(self.steps.get() + 1);
            if self.steps.get() > MAX_STEPS {
                let message = format!(
                    "links in {} lead through more than {MAX_STEPS} steps",
                    self.path.display()
                );
                let error = Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_STEPS as u64);
                return Err(error.with(Key::Path, Name::of(&self.path)));
            }
            if step == b".." {
                // Only links bring us here: the caller's own `..` was refused above.
                if trail.pop().is_none() {
                    return Err(self.refused(path, "a link in it leads out of the repository"));
                }
                continue;
            }
            if step.eq_ignore_ascii_case(b".git") {
                return Err(self.refused(path, "it leads into .git"));
            }
            let here = trail.last().map_or(self.dir.as_fd(), AsFd::as_fd);
            let flags = if steps.is_empty() { last } else { DIR };
            match openat(
                here,
                OsStr::from_bytes(&step),
                flags | OFlags::NOFOLLOW,
                Mode::empty(),
            ) {
                Ok(opened) => {
                    if self.git.is_some()
                        && fstat(&opened).ok().map(|stat| identity(&stat)) == self.git
                    {
                        return Err(self.refused(path, "it leads into .git"));
                    }
                    trail.push(opened);
                }
                // A link; with O_DIRECTORY some systems say so by ENOTDIR.
                Err(errno @ (Errno::LOOP | Errno::NOTDIR | Errno::MLINK)) => {
                    let target = self.link(here, &step, path, errno)?;
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(self.refused(path, "it goes through too many links"));
                    }
                    for component in target.components().rev() {
                        match component {
                            Component::Normal(name) => steps.push(name.as_bytes().to_vec()),
                            Component::ParentDir => steps.push(b"..".to_vec()),
                            Component::CurDir => {}
                            Component::RootDir | Component::Prefix(_) => {
                                return Err(
                                    self.refused(path, "a link in it leads out of the repository")
                                );
                            }
                        }
                    }
                }
                Err(errno) => return Err(self.failed(path, errno)),
            }
        }
        match trail.pop() {
            Some(opened) => Ok(opened),
            None => openat(&self.dir, ".", last, Mode::empty())
                .map_err(|errno| self.failed(path, errno)),
        }
    }

    fn link(&self, here: BorrowedFd<'_>, step: &[u8], path: &Path, why: Errno) -> Result<PathBuf> {
        match readlinkat(here, OsStr::from_bytes(step), Vec::new()) {
            Ok(target) => Ok(PathBuf::from(std::ffi::OsString::from_vec(
                target.into_bytes(),
            ))),
            // Not a link after all: a file where a directory was expected.
            Err(Errno::INVAL) if why == Errno::NOTDIR => {
                Err(self.no(path, "is not a directory, or goes through a file"))
            }
            Err(errno) => Err(self.failed(path, errno)),
        }
    }

    fn refused(&self, path: &Path, why: &str) -> Error {
        refused(&self.path, path, why)
    }

    fn no(&self, path: &Path, why: &str) -> Error {
        missing(&self.path, path, why)
    }

    fn failed(&self, path: &Path, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => self.no(path, "does not exist"),
            // Opening a socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => self.no(path, "is not a regular file"),
            _ => io_error(&self.path.join(path), errno).with(Key::Path, Name::of(path)),
        }
    }
}

/// The names that `path` is made of, which is to be walked from `root`.
pub(super) fn steps(root: &Path, path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut steps = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => steps.push(name.as_bytes().to_vec()),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused(root, path, "`..` is not allowed in it")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused(root, path, "it must be relative to the repository"));
            }
        }
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(refused(root, path, "it holds a NUL byte"));
    }
    Ok(steps)
}

pub(super) fn refused(root: &Path, path: &Path, why: &str) -> Error {
    let message = format!(
        "the path `{}` in {} is refused: {why}",
        path.display(),
        root.display()
    );
    Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(path))
}

pub(super) fn missing(root: &Path, path: &Path, why: &str) -> Error {
    not_found(format!("`{}` in {} {why}", path.display(), root.display()))
        .with(Key::Path, Name::of(path))
}

fn not_found(message: String) -> Error {
    Error::new(Kind::PathNotFound, message)
}

fn io_error(path: &Path, errno: Errno) -> Error {
    let cause = std::io::Error::from(errno);
    Error::new(Kind::Io, format!("cannot open {}: {cause}", path.display()))
}

#[cfg(test)]
#[path = "safe_path_tests.rs"]
mod tests;
