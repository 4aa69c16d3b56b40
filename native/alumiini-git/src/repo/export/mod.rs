//! Files of a commit for other programs: a directory, or an archive.
//!
//! What is made is made in a directory beside its place, `.<name>.alumiini`, which is locked
//! meanwhile, and comes to its place by one rename. There, too, lies what was replaced until nobody
//! reads it any more, and which directories were made here: no other is ever replaced.

mod archive;
mod directory;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::held_dir::HeldDir;
use crate::repo::lock::{DirLock, make_dir};
use crate::repo::{place, touch};
use crate::task::job::Job;

pub(crate) use archive::{Archive, hex};
pub(crate) use directory::Directory;

/// In the directory beside: which directories were made here, by device and inode.
const MADE: &str = "made";

/// Takes the files of a commit, by path.
pub(crate) trait Sink {
    fn file(&mut self, path: &[u8], is_executable: bool, content: &[u8]) -> Result<()>;
    /// A symbolic link, and where it leads.
    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()>;
    /// The place of a submodule, which is empty.
    fn submodule(&mut self, path: &[u8]) -> Result<()>;
}

/// Where an export is to be.
#[derive(Debug, Clone)]
pub(crate) struct Dest {
    /// As it was asked for, for messages.
    shown: PathBuf,
    name: OsString,
    /// Without links.
    parent: PathBuf,
    beside: PathBuf,
}

impl Dest {
    /// Finds the place, which is below `root` where there is one. `invalid` where it names no
    /// directory, `unsafe_path` where it leads elsewhere.
    pub(crate) fn find(dest: &Path, root: Option<&Path>) -> Result<Dest> {
        let Some(name) = dest.file_name() else {
            let message = format!("{} is not the path of something new", dest.display());
            return Err(Error::invalid(message));
        };
        let beside = [&b"."[..], name.as_bytes(), b".alumiini"].concat();
        let beside = OsStr::from_bytes(&beside);
        let found = place::find(&dest.with_file_name(beside), root)?;
        match found.parent() {
            Some(parent) if found.file_name() == Some(beside) => Ok(Dest {
                shown: dest.to_owned(),
                name: name.to_owned(),
                parent: parent.to_owned(),
                beside: found,
            }),
            _ => Err(Error::new(
                Kind::UnsafePath,
                format!(
                    "a link has the place of {}, where an export keeps what it makes; remove it",
                    dest.with_file_name(beside).display()
                ),
            )),
        }
    }

    pub(crate) fn parent(&self) -> &Path {
        &self.parent
    }

    /// Makes the directory beside it, and locks that. None where another export holds it.
    pub(crate) fn try_lock(&self) -> Result<Option<DirLock>> {
        make_dir(&self.beside, &mut Vec::new())?;
        DirLock::try_take(&self.beside)
    }
}

/// An export under way, whose place is locked.
pub(crate) struct Export<'a> {
    dest: &'a Dest,
    beside: &'a HeldDir,
    parent: HeldDir,
    /// How long what was replaced stays.
    grace: Duration,
}

impl<'a> Export<'a> {
    pub(crate) fn new(dest: &'a Dest, lock: &'a DirLock, grace: Duration) -> Result<Export<'a>> {
        lock.dir().check()?;
        let parent = HeldDir::open(&dest.parent)
            .map_err(|errno| Error::io("open", &dest.parent, &errno.into()))?;
        Ok(Export {
            dest,
            beside: lock.dir(),
            parent,
            grace,
        })
    }

    fn io(&self, action: &str, error: &io::Error) -> Error {
        Error::io(action, &self.dest.shown, error)
    }

    /// A name that nothing has in the directory beside, and its path.
    fn free(&self, name: &str) -> (String, PathBuf) {
        let names = (0..).map(|n| format!("{name}-{n}"));
        let mut free = names
            .map(|name| (self.beside.at().join(&name), name))
            .filter(|(path, _)| fs::symlink_metadata(path).is_err());
        free.next()
            .map(|(path, name)| (name, path))
            .unwrap_or_default()
    }

    fn at(&self) -> PathBuf {
        self.parent.at().join(&self.dest.name)
    }

    /// What is there already; `occupied` where that is neither empty nor of an export.
    fn present(&self, is_archive: bool) -> Result<Present> {
        let at = self.at();
        let found = match fs::symlink_metadata(&at) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Present::Nothing),
            Err(error) => return Err(self.io("look at", &error)),
        };
        if is_archive && !found.is_dir() {
            return Ok(Present::Replaceable);
        }
        if found.is_symlink() {
            let target = fs::read_link(&at).map_err(|error| self.io("read", &error))?;
            let ours = self.dest.beside.file_name().map(Path::new);
            if target.parent() == ours {
                return Ok(Present::Link(target));
            }
        } else if found.is_dir() && !is_archive {
            let mut inside = fs::read_dir(&at).map_err(|error| self.io("list", &error))?;
            if inside.next().is_none() {
                return Ok(Present::Empty);
            }
            if self.made().contains(&id_of(&found)) {
                return Ok(Present::Directory);
            }
        }
        let message = format!(
            "{} is there and was not made by an export, and nothing there was touched; remove it, \
             or export to another place",
            self.dest.shown.display()
        );
        let name = Name::of(&self.dest.shown);
        Err(Error::new(Kind::Occupied, message).with(Key::Path, name))
    }

    fn made(&self) -> Vec<String> {
        let text = fs::read_to_string(self.beside.at().join(MADE)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Notes that the directory `new` was made here, and what is there now, too: a kill may come
    /// before or after they change places.
    fn note(&self, new: &Path) -> Result<()> {
        let fail = |error: io::Error| self.io("export to", &error);
        let known = self.made();
        let now = fs::symlink_metadata(self.at())
            .ok()
            .map(|found| id_of(&found));
        let kept = now.filter(|now| known.contains(now));
        let new = id_of(&fs::symlink_metadata(new).map_err(fail)?);
        let text: String = kept.into_iter().chain([new]).map(|id| id + "\n").collect();
        let (_, written) = self.free(MADE);
        fs::write(&written, text).map_err(fail)?;
        fs::rename(&written, self.beside.at().join(MADE)).map_err(fail)
    }

    /// Writes a directory by `write` and puts it in its place, or a link to it.
    pub(crate) fn directory<T>(
        &self,
        name: &str,
        is_link: bool,
        job: &Job,
        write: impl FnOnce(&mut Directory) -> Result<T>,
    ) -> Result<T> {
        self.present(false)?;
        self.sweep(job)?;
        let (name, made) = self.free(name);
        let written = self.write_directory(&made, write).and_then(|written| {
            job.reach("exported");
            // Whatever came meanwhile is not replaced.
            let present = self.present(false)?;
            match is_link {
                true => self.put_link(&name, &present)?,
                false => {
                    self.note(&made)?;
                    self.put(&made, &present)?;
                }
            }
            if let Present::Link(old) = &present {
                // From now on it is old.
                let _ = touch(&self.parent.at().join(old));
            }
            Ok(written)
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&made);
        }
        job.reach("replaced");
        // It is in its place: what cannot be removed is for the next one.
        let _ = touch(&made);
        let _ = self.sweep(job);
        written
    }

    fn write_directory<T>(
        &self,
        made: &Path,
        write: impl FnOnce(&mut Directory) -> Result<T>,
    ) -> Result<T> {
        fs::create_dir(made).map_err(|error| self.io("export to", &error))?;
        let mut directory = Directory::open(made, &self.dest.shown)?;
        write(&mut directory)
    }

    fn put(&self, made: &Path, present: &Present) -> Result<()> {
        let at = self.at();
        let renamed = match present {
            Present::Nothing | Present::Empty | Present::Replaceable => fs::rename(made, &at),
            Present::Directory | Present::Link(_) => self.exchange(made, &at),
        };
        renamed.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Error::new(
                Kind::Unsupported,
                format!(
                    "the file system of {} cannot put one directory in place of another at once; \
                     export a link (link: true), or to a place where nothing is",
                    self.dest.shown.display()
                ),
            ),
            _ => self.io("export to", &error),
        })
    }

    fn exchange(&self, made: &Path, at: &Path) -> io::Result<()> {
        renameat_with(CWD, made, CWD, at, RenameFlags::EXCHANGE)?;
        Ok(())
    }

    fn put_link(&self, name: &str, present: &Present) -> Result<()> {
        let (_, link) = self.free("link");
        let beside = self.dest.beside.file_name().unwrap_or_default();
        let put = std::os::unix::fs::symlink(Path::new(beside).join(name), &link)
            .map_err(|error| self.io("export to", &error))
            .and_then(|()| match present {
                Present::Directory => self.put(&link, present),
                Present::Empty => {
                    // Nothing is lost where somebody has put something there.
                    fs::remove_dir(self.at()).map_err(|error| self.io("export to", &error))?;
                    self.rename(&link)
                }
                _ => self.rename(&link),
            });
        if put.is_err() {
            let _ = fs::remove_file(&link);
        }
        put
    }

    fn rename(&self, made: &Path) -> Result<()> {
        fs::rename(made, self.at()).map_err(|error| self.io("export to", &error))
    }

    /// Writes a file by `write` and puts it in its place.
    pub(crate) fn file<T>(
        &self,
        name: &str,
        job: &Job,
        write: impl FnOnce(fs::File) -> Result<T>,
    ) -> Result<T> {
        self.present(true)?;
        self.sweep(job)?;
        let (_, made) = self.free(name);
        let fail = |error: io::Error| self.io("export to", &error);
        let written = fs::File::create_new(&made).map_err(fail).and_then(|file| {
            let kept = file.try_clone().map_err(fail)?;
            let written = write(file)?;
            kept.sync_all().map_err(fail)?;
            job.reach("exported");
            self.present(true)?;
            self.rename(&made)?;
            Ok(written)
        });
        if written.is_err() {
            let _ = fs::remove_file(&made);
        }
        job.reach("replaced");
        written
    }

    /// Removes what was replaced, or was left by one that was interrupted, `grace` ago.
    pub(crate) fn sweep(&self, job: &Job) -> Result<()> {
        let fail = |error: io::Error| self.io("clean up after an export to", &error);
        let current = fs::read_link(self.at()).ok();
        let current = current.as_deref().and_then(Path::file_name);
        let now = SystemTime::now();
        for entry in fs::read_dir(self.beside.at()).map_err(fail)? {
            job.check()?;
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if name == MADE || Some(&name[..]) == current {
                continue;
            }
            let Ok(found) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            // A clock that was set back makes nothing old.
            let age = found
                .modified()
                .ok()
                .and_then(|at| now.duration_since(at).ok());
            if age.is_none_or(|age| age < self.grace) {
                continue;
            }
            match found.is_dir() {
                true => fs::remove_dir_all(entry.path()).map_err(fail)?,
                false => fs::remove_file(entry.path()).map_err(fail)?,
            }
        }
        Ok(())
    }
}

/// What is where an export is to be.
enum Present {
    Nothing,
    /// A directory without anything in it.
    Empty,
    /// A directory of an export.
    Directory,
    /// A link of an export, and where it leads.
    Link(PathBuf),
    /// Where an archive is to be: a file, or a link.
    Replaceable,
}

fn id_of(found: &fs::Metadata) -> String {
    format!("{} {}", found.dev(), found.ino())
}

#[cfg(test)]
#[path = "../export_tests.rs"]
mod tests;
