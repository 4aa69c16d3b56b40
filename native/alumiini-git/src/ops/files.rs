//! `files`: the names of the files of a directory.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::fit::{self, Fit};
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::{self, Source};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::safe_path::Root;
use crate::repo::tree_files::{self, GITLINK, KIND, LINK, Part};
use crate::repo::tree_reader::TreeReader;
use crate::repo::{partial, revision};
use crate::selection::Selection;
use crate::task::job::Job;
use crate::task::share::FREE;
use crate::worker::Worker;

/// The most bytes of names in one reply.
const MAX_BYTES: usize = 16 << 20;
/// The most bytes of names of directories that wait to be listed.
const MAX_WAITING: usize = 64 << 20;
/// The memory that a name takes beside its bytes, with its copy in the frame.
const OVERHEAD: u64 = 100;

/// The names of the files of a directory, sorted by bytes: those ending in `.yaml` or `.yml` that
/// are not hidden, or those that match. A link counts where it leads to a file inside the
/// repository.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) path: PathBuf,
    subpath: PathBuf,
    /// With the directories below it; no link to one is followed.
    recursive: bool,
    selection: Selection,
    /// The commit to read. Without it, the working tree is read, or HEAD's commit if there is no
    /// working tree.
    at: Option<Vec<u8>>,
}

impl Operation for Files {
    const IS_LOCAL_READ: bool = true;

    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Files {
            path: fields.path("path")?,
            subpath: fields.path_or_empty("subpath")?,
            recursive: fields.flag("recursive")?,
            selection: Selection::new(fields.names_if("match")?, fields.names_if("ignore")?)?,
            at: revision::decode(fields.bytes_if("at")?)?,
        })
    }

    fn describe(&self) -> String {
        format!("files of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
        // A walk that may take long has to stop when the request is cancelled.
        if self.recursive || self.at.is_some() {
            return None;
        }
        let job = Job::unattended();
        let names = stable_read::read_now(worker, &self.path, |seen| list(seen, self, &job, FREE))?;
        names
            .map(Fit::whole)
            .transpose()
            .map(|names| names.map(Answer::Names))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let (path, job) = (self.path.clone(), context.job.clone());
        let names = match self.at.is_some() {
            true => {
                let of_commit = move |objects: &Objects<'_>, allowance| {
                    let commit = objects.commit(self.at.as_deref())?;
                    let reader = objects.reader(commit)?;
                    let mut names = Names::new(&self, objects.job, allowance);
                    names.of_tree(&reader)?;
                    names.end()
                };
                object_read::read(context, path, of_commit).await?
            }
            false => {
                let hold = job.hold();
                let list = move |seen: &Source<'_>, allowance| {
                    let _hold = &hold;
                    list(seen, &self, &job, allowance)
                };
                fit::read(context, path, list).await?
            }
        };
        Ok((Answer::Names(names), None))
    }
}

fn list(seen: &Source<'_>, ask: &Files, job: &Job, allowance: u64) -> Result<Fit<Vec<Name>>> {
    match seen {
        Source::Directory(path) => {
            let mut names = Names::new(ask, job, allowance);
            let listed = names.of_directory(path);
            listed.map_err(|error| partial::left_out(path, &ask.subpath, error))?;
            names.end()
        }
        Source::Commit {
            worker,
            root,
            below,
        } => Source::of_tree(worker, root, below, |tree| {
            let mut names = Names::new(ask, job, allowance);
            names.of_tree(tree)?;
            names.end()
        }),
    }
}

/// A list while it is made.
struct Names<'a> {
    ask: &'a Files,
    job: &'a Job,
    allowance: u64,
    found: Vec<Name>,
    bytes: usize,
    needed: u64,
    /// Bytes of memory for all directories that were found, listed or not.
    waiting: usize,
}

impl<'a> Names<'a> {
    fn new(ask: &'a Files, job: &'a Job, allowance: u64) -> Names<'a> {
        Names {
            ask,
            job,
            allowance,
            found: Vec::new(),
            bytes: 0,
            needed: 0,
            waiting: 0,
        }
    }

    /// Whether the file `name`, relative to the directory, is asked for.
    fn wants(&self, name: &[u8]) -> bool {
        let is_named = match self.ask.selection.is_matching() {
            true => true,
            false => {
                name.split(|byte| *byte == b'/')
                    .all(|step| !is_hidden(step))
                    && is_manifest(name)
            }
        };
        is_named && self.ask.selection.takes(name)
    }

    /// Whether there may be files in the directory `name` that are asked for.
    fn enters(&self, name: &[u8]) -> bool {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        (self.ask.selection.is_matching() || !is_hidden(last)) && self.ask.selection.enters(name)
    }

    /// Names beyond the allowance are only counted.
    fn add(&mut self, name: Vec<u8>) -> Result<()> {
        self.bytes += name.len();
        self.needed += name.len() as u64 + OVERHEAD;
        bounded(self.bytes)?;
        if self.needed <= self.allowance {
            self.found.push(Name(name));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Fit<Vec<Name>>> {
        if self.needed > self.allowance {
            return Ok(Fit::Needs(self.needed));
        }
        self.found.sort();
        Ok(Fit::Whole(self.found))
    }

    fn of_tree(&mut self, tree: &TreeReader<'_>) -> Result<()> {
        let subpath = &self.ask.subpath;
        if !self.ask.recursive {
            for name in tree.names(subpath, |name| self.wants(name))? {
                self.add(name)?;
            }
            return Ok(());
        }
        let (Some(dir), prefix) = tree.dir_at(subpath)? else {
            return Ok(());
        };
        let mut links = Vec::new();
        let enters = |dir: &[u8]| {
            self.enters(dir.strip_suffix(b"/").unwrap_or(dir)) && tree.enters(&prefix, dir)
        };
        let mut files = Vec::new();
        let part = Part::default();
        tree_files::visit(tree.odb(), dir, part, self.job, enters, |file| {
            self.job.check()?;
            if self.wants(&file.path) && tree.takes(&prefix, &file.path) {
                self.job.reach("object");
                match file.is.mode & KIND {
                    GITLINK => {}
                    LINK => links.push(file.path),
                    _ => files.push(file.path),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for link in links {
            match tree.file(&subpath.join(OsStr::from_bytes(&link))) {
                Ok(_) => files.push(link),
                // A link that leads nowhere, or out of the directory, is left out.
                Err(error) if matches!(error.kind, Kind::PathNotFound | Kind::UnsafePath) => {}
                Err(error) => return Err(error),
            }
        }
        files.into_iter().try_for_each(|name| self.add(name))
    }

    fn of_directory(&mut self, path: &Path) -> Result<()> {
        let root = Root::open(path)?;
        // Directories that are to be listed, by their names relative to the first, which is empty.
        let mut dirs: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(name) = dirs.pop() {
            let subpath = match &name[..] {
                // An error would show a slash at the end.
                [] => self.ask.subpath.clone(),
                name => self.ask.subpath.join(OsStr::from_bytes(name)),
            };
            let dir = match root.dir(&subpath) {
                // It was removed after it was listed.
                Err(error) if error.kind == Kind::PathNotFound && !name.is_empty() => continue,
                dir => dir?,
            };
            self.of_one(path, &root, &dir, &name, &subpath, &mut dirs)?;
        }
        Ok(())
    }

    fn of_one(
        &mut self,
        path: &Path,
        root: &Root,
        dir: &OwnedFd,
        above: &[u8],
        subpath: &Path,
        dirs: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let fail = |errno: rustix::io::Errno| Error::io("list", &path.join(subpath), &errno.into());
        for entry in Dir::read_from(dir).map_err(fail)? {
            self.job.check()?;
            let entry = entry.map_err(fail)?;
            let last = entry.file_name().to_bytes();
            if last == b"." || last == b".." || last.eq_ignore_ascii_case(b".git") {
                continue;
            }
            let name = match above {
                [] => last.to_vec(),
                above => [above, b"/", last].concat(),
            };
            let kind = match entry.file_type() {
                FileType::Unknown => statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    }),
                kind => kind,
            };
            match kind {
                FileType::Directory if self.ask.recursive && self.enters(&name) => {
                    self.waiting += name.len() + OVERHEAD as usize;
                    if self.waiting > MAX_WAITING {
                        return Err(too_many_directories(&path.join(subpath)));
                    }
                    dirs.push(name);
                }
                FileType::RegularFile if self.wants(&name) => {
                    self.job.reach("object");
                    self.add(name)?;
                }
                FileType::Symlink if self.wants(&name) => {
                    match root.file(&subpath.join(OsStr::from_bytes(last))) {
                        Ok(_) => self.add(name)?,
                        Err(error) if error.kind == Kind::TooLarge => return Err(error),
                        Err(_) => {}
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn bounded(bytes: usize) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "the names of the files have more than {MAX_BYTES} bytes together; ask for a directory \
         below, or for those that match"
    );
    Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_BYTES as u64))
}

fn too_many_directories(path: &Path) -> Error {
    let message = format!(
        "{} has more directories below it than are listed; ask for one of them",
        path.display()
    );
    Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_WAITING as u64)
}

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

fn is_manifest(name: &[u8]) -> bool {
    name.ends_with(b".yaml") || name.ends_with(b".yml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_names_are_answered_and_no_more() {
        assert_eq!(bounded(MAX_BYTES), Ok(()));
        assert_eq!(bounded(MAX_BYTES + 1).unwrap_err().kind, Kind::TooLarge);
    }
}
