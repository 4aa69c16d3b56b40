//! `files`: the YAML files of a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::{self, Seen};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::safe_path::Root;
use crate::worker::Worker;

/// The names of one answer.
const MAX_BYTES: usize = 16 << 20;

/// The names of the files ending in `.yaml` or `.yml` directly in `subpath`, not hidden, sorted by bytes. A link counts where it leads
/// to a file inside the repository.
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
        let names = stable_read::read_now(worker, &self.path, |seen| list(seen, &self.subpath))?;
        Some(names.map(Answer::Names))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let subpath = self.subpath;
        let names = stable_read::read(context.worker, self.path, move |seen| list(seen, &subpath)).await?;
        Ok((Answer::Names(names), None))
    }
}

fn list(seen: &Seen<'_>, subpath: &Path) -> Result<Vec<Name>> {
    let mut names = match seen {
        Seen::Files(path) => listed(path, subpath)?,
        Seen::Commit { worker, root, below } => {
            let names = Seen::of_tree(worker, root, below, |tree| tree.names(subpath, is_manifest))?;
            names.into_iter().map(Name).collect()
        }
    };
    bounded(&names)?;
    names.sort();
    Ok(names)
}

fn bounded(names: &[Name]) -> Result<()> {
    if names.iter().map(|name| name.0.len()).sum::<usize>() <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the names of the files have more than {MAX_BYTES} bytes together");
    Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_BYTES as u64))
}

fn listed(path: &Path, subpath: &Path) -> Result<Vec<Name>> {
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
        if !is_manifest(name) {
            continue;
        }
        let is_file = match entry.file_type() {
            FileType::RegularFile => true,
            FileType::Symlink | FileType::Unknown => match root.file(&subpath.join(OsStr::from_bytes(name))) {
                Err(error) if error.kind == Kind::TooLarge => return Err(error),
                found => found.is_ok(),
            },
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
        let mut names = vec![Name(vec![b'a'; 255]); MAX_BYTES / 255];
        assert_eq!(bounded(&names), Ok(()));
        names.push(Name(vec![b'a'; 255]));
        assert_eq!(bounded(&names).unwrap_err().kind, Kind::TooLarge);
    }
}
