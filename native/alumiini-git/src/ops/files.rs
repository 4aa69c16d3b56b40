//! `files`: the YAML files of a directory.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::sized::{self, Sized};
use crate::ops::stable_read::{self, Seen};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::safe_path::Root;
use crate::task::share::FREE;
use crate::worker::Worker;

/// The names of one answer.
const MAX_BYTES: usize = 16 << 20;
/// What a name takes in memory, its own copy in the frame included, beside its bytes.
const OVERHEAD: u64 = 100;

/// The names of the files ending in `.yaml` or `.yml` directly in `subpath`, not hidden, sorted by
/// bytes. A link counts where it leads to a file inside the repository.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) path: PathBuf,
    subpath: PathBuf,
}

impl Operation for Files {
    const IS_LOCAL_READ: bool = true;

    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Files {
            path: fields.path("path")?,
            subpath: fields.path_or_empty("subpath")?,
        })
    }

    fn describe(&self) -> String {
        format!("files of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
        let names =
            stable_read::read_now(worker, &self.path, |seen| list(seen, &self.subpath, FREE))?;
        names
            .map(Sized::whole)
            .transpose()
            .map(|names| names.map(Answer::Names))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let subpath = self.subpath;
        let names = sized::read(context, self.path, move |seen, allowance| {
            list(seen, &subpath, allowance)
        });
        Ok((Answer::Names(names.await?), None))
    }
}

fn list(seen: &Seen<'_>, subpath: &Path, allowance: u64) -> Result<Sized<Vec<Name>>> {
    let (bytes, needed) = (Cell::new(0), Cell::new(0));
    // Those beyond the allowance are counted only.
    let wanted = |name: &[u8]| {
        is_manifest(name) && {
            bytes.set(bytes.get() + name.len());
            needed.set(needed.get() + name.len() as u64 + OVERHEAD);
            needed.get() <= allowance
        }
    };
    let mut names = match seen {
        Seen::Files(path) => listed(path, subpath, wanted)?,
        Seen::Commit {
            worker,
            root,
            below,
        } => {
            let names = Seen::of_tree(worker, root, below, |tree| tree.names(subpath, wanted))?;
            names.into_iter().map(Name).collect()
        }
    };
    bounded(bytes.get())?;
    if needed.get() > allowance {
        return Ok(Sized::Larger(needed.get()));
    }
    names.sort();
    Ok(Sized::Whole(names))
}

fn bounded(bytes: usize) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the names of the files have more than {MAX_BYTES} bytes together");
    Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_BYTES as u64))
}

fn listed(path: &Path, subpath: &Path, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Name>> {
    let root = Root::open(path)?;
    let dir = root.dir(subpath)?;
    let fail = |errno: rustix::io::Errno| {
        let cause = std::io::Error::from(errno);
        Error::new(
            Kind::Io,
            format!("cannot list {}: {cause}", path.join(subpath).display()),
        )
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if !wanted(name) {
            continue;
        }
        let is_file = match entry.file_type() {
            FileType::RegularFile => true,
            FileType::Symlink | FileType::Unknown => {
                match root.file(&subpath.join(OsStr::from_bytes(name))) {
                    Err(error) if error.kind == Kind::TooLarge => return Err(error),
                    found => found.is_ok(),
                }
            }
            _ => false,
        };
        if is_file {
            names.push(Name(name.to_vec()));
        }
    }
    Ok(names)
}

fn is_manifest(name: &[u8]) -> bool {
    !name.starts_with(b".") && (name.ends_with(b".yaml") || name.ends_with(b".yml"))
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
