//! The refs of a repository, read from its files (gitrepository-layout, "refs" and "packed-refs").
//!
//! Only what is asked for is looked at, and names are bytes: libgit2 takes names in UTF-8 alone,
//! and its list ends at the first ref that is broken.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::error::{Error, Key, Kind, Name, Result};
use crate::reference::is_valid_name;
use crate::repo::raw_object::id;

/// Symbolic refs of symbolic refs that are followed, as in Git.
const MAX_SYMBOLIC: usize = 5;
/// The most refs that are listed.
const MAX_REFS: usize = 1_000_000;
/// Bytes of a line or a file of one ref: a name is a path, and a path is shorter than this.
const MAX_LINE: u64 = 16 << 10;
/// What each working tree of a repository has for itself.
const PER_WORK_TREE: [&[u8]; 3] = [b"refs/bisect/", b"refs/rewritten/", b"refs/worktree/"];

/// What a ref holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RefValue {
    Id(Oid),
    /// The ref that it stands for.
    Symbolic(Vec<u8>),
}

pub(crate) struct RefFiles {
    git_dir: PathBuf,
    /// The same as `git_dir` but for linked working trees.
    common_dir: PathBuf,
}

impl RefFiles {
    pub(crate) fn new(git_dir: &Path, common_dir: &Path) -> RefFiles {
        RefFiles {
            git_dir: git_dir.to_owned(),
            common_dir: common_dir.to_owned(),
        }
    }

    /// What `name` stands for in the end. A symbolic ref to one that is not there is not there.
    pub(crate) fn resolve(&self, name: &[u8]) -> Result<Option<Oid>> {
        let mut name = name.to_vec();
        for _ in 0..=MAX_SYMBOLIC {
            match self.read(&name)? {
                Some(RefValue::Id(id)) => return Ok(Some(id)),
                Some(RefValue::Symbolic(target)) => name = target,
                None => return Ok(None),
            }
        }
        Err(damaged(&name))
    }

    /// What `name` itself holds.
    pub(crate) fn read(&self, name: &[u8]) -> Result<Option<RefValue>> {
        if !is_valid_name(name) {
            return Ok(None);
        }
        match self.read_loose(name)? {
            Some(found) => Ok(Some(found)),
            None => {
                let mut found = None;
                self.packed(|other, id| {
                    if other == name {
                        found = Some(RefValue::Id(id));
                    }
                    found.is_none()
                })?;
                Ok(found)
            }
        }
    }

    /// All refs that are whole and whose names begin with one of `prefixes` (all of them where that
    /// is empty), by name.
    pub(crate) fn list<P: AsRef<[u8]>>(&self, prefixes: &[P]) -> Result<Vec<(Vec<u8>, RefValue)>> {
        let begins = |name: &[u8]| {
            prefixes.is_empty() || prefixes.iter().any(|p| name.starts_with(p.as_ref()))
        };
        let leads =
            |dir: &[u8]| begins(dir) || prefixes.iter().any(|p| p.as_ref().starts_with(dir));
        let mut found: BTreeMap<Vec<u8>, Option<RefValue>> = BTreeMap::new();
        if begins(b"HEAD")
            && let Ok(Some(head)) = self.read(b"HEAD")
        {
            found.insert(b"HEAD".to_vec(), Some(head));
        }
        let mut dirs = vec![b"refs/".to_vec()];
        while let Some(dir) = dirs.pop() {
            for (name, is_dir) in self.entries(&dir)? {
                if is_dir && leads(&name) {
                    dirs.push(name);
                } else if !is_dir && begins(&name) && is_valid_name(&name) {
                    // One that is broken hides what is packed under its name, as in Git.
                    let value = self.read_loose(&name).unwrap_or_default();
                    found.insert(name, value);
                    bounded(found.len())?;
                }
            }
        }
        let mut count = found.len();
        self.packed(|name, id| {
            if begins(name) && is_valid_name(name) {
                found.entry(name.to_vec()).or_insert(Some(RefValue::Id(id)));
                count = found.len();
            }
            count <= MAX_REFS
        })?;
        bounded(count)?;
        Ok(found
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }

    /// The directory below which `name` lies.
    fn dir_of(&self, name: &[u8]) -> &Path {
        let shared = name.starts_with(b"refs/")
            && !PER_WORK_TREE.iter().any(|prefix| name.starts_with(prefix));
        if shared {
            &self.common_dir
        } else {
            &self.git_dir
        }
    }

    fn read_loose(&self, name: &[u8]) -> Result<Option<RefValue>> {
        let file = self.dir_of(name).join(OsStr::from_bytes(name));
        let Some(file) = open(&file)? else {
            return Ok(None);
        };
        let mut text = Vec::new();
        file.take(MAX_LINE)
            .read_to_end(&mut text)
            .map_err(|error| failed(name, &error))?;
        let text = text.trim_ascii_end();
        if let Some(target) = text.strip_prefix(b"ref:") {
            let target = target.trim_ascii_start();
            return match is_valid_name(target) {
                true => Ok(Some(RefValue::Symbolic(target.to_vec()))),
                false => Err(damaged(name)),
            };
        }
        let hex = text
            .split(u8::is_ascii_whitespace)
            .next()
            .unwrap_or_default();
        id(hex)
            .map(|id| Some(RefValue::Id(id)))
            .ok_or_else(|| damaged(name))
    }

    /// What lies in `dir` (`refs/…/`): full names, those of directories with a slash at the end.
    fn entries(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let mut found = Vec::new();
        let mut roots = vec![&self.common_dir];
        if self.git_dir != self.common_dir {
            roots.push(&self.git_dir);
        }
        for root in roots {
            let entries = match fs::read_dir(root.join(OsStr::from_bytes(dir))) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(failed(dir, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed(dir, &error))?;
                let mut name = [dir, entry.file_name().as_bytes()].concat();
                let Ok(kind) = fs::metadata(entry.path()) else {
                    continue;
                };
                if kind.is_dir() {
                    name.push(b'/');
                }
                // A link to a directory above it has an end, too.
                if (name.len() as u64) < MAX_LINE && (kind.is_dir() || self.dir_of(&name) == root) {
                    found.push((name, kind.is_dir()));
                }
                bounded(found.len())?;
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Calls `each` with what `packed-refs` holds until it says no.
    fn packed(&self, mut each: impl FnMut(&[u8], Oid) -> bool) -> Result<()> {
        let Some(file) = open(&self.common_dir.join("packed-refs"))? else {
            return Ok(());
        };
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut file).take(MAX_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| failed(b"packed-refs", &error))? == 0 {
                return Ok(());
            }
            // Comments, and what the tag of the line before is peeled to, have no such form.
            if let (Some(id), Some(b' ')) = (line.get(..40).and_then(id), line.get(40))
                && !each(line[41..].trim_ascii_end(), id)
            {
                return Ok(());
            }
        }
    }
}

/// Opens a regular file; none where there is no such file.
fn open(path: &Path) -> Result<Option<File>> {
    // A pipe would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(path.as_os_str().as_bytes(), &error)),
    };
    let kind = file
        .metadata()
        .map_err(|error| failed(path.as_os_str().as_bytes(), &error))?;
    Ok(Some(file).filter(|_| kind.is_file()))
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

fn bounded(count: usize) -> Result<()> {
    if count <= MAX_REFS {
        return Ok(());
    }
    let message = format!("the repository has more than {MAX_REFS} refs");
    Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_REFS as u64))
}

fn damaged(name: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(name).escape_debug().to_string();
    Error::new(Kind::Corrupt, format!("the ref `{shown}` is damaged"))
}

fn failed(name: &[u8], error: &io::Error) -> Error {
    let shown = String::from_utf8_lossy(name).escape_debug().to_string();
    Error::new(Kind::Io, format!("cannot read {shown}: {error}")).with(Key::Path, Name::new(name))
}

#[cfg(test)]
#[path = "ref_files_tests.rs"]
mod tests;
