//! Whether a commit's tree may be checked out at all, asked before anything of a repository moves.
//!
//! A remote can send trees that no git client makes: entries named `.git` or `..`, one name twice
//! (a link and a directory, to be written through), directories nested so deep that a recursive
//! walk overflows the stack, or a few kilobytes that unfold to billions of files because each tree
//! holds the next one twice. Walking such a tree is the harm, so this walk keeps its own stack and
//! looks into each tree once, ever, as long as it can be remembered.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{ObjectType, Oid, Repository};

use crate::error::{Error, Key, Kind, Result};
use crate::repo::{DISCARDED, OLD_GIT, raw_object};
use crate::task::job::Job;

/// A bound on what one commit may make us write and remember.
const MAX_FILES: u64 = 1_000_000;
/// Levels of directories. Walks of the working tree keep one directory open for each; a path of
/// twice this many is longer than systems take.
const MAX_LEVELS: u32 = 512;

/// Directories that are remembered: some 8 MiB.
const MAX_REMEMBERED: usize = 1 << 17;
/// All paths of one commit together: they are in memory, in the index and in what is remembered of
/// the working tree.
pub(super) const MAX_PATH_BYTES: u64 = 128 << 20;
/// Systems take no longer path.
pub(super) const LONGEST_PATH: u64 = 4_096;

/// What is below a tree, itself included.
#[derive(Clone, Copy)]
struct Extent {
    levels: u32,
    /// And directories: they are walked, too.
    files: u64,
    /// Of all their paths, from the tree on, and of the longest.
    bytes: u64,
    longest: u64,
}

impl Extent {
    fn add(&mut self, name: &[u8], below: &Extent) {
        let prefix = name.len() as u64 + 1;
        self.levels = self.levels.max(below.levels + 1);
        self.files = self.files.saturating_add(below.files).saturating_add(1);
        let added = prefix.saturating_mul(below.files.saturating_add(1));
        self.bytes = self.bytes.saturating_add(below.bytes).saturating_add(added);
        self.longest = self.longest.max(prefix + below.longest);
    }

    fn check(&self) -> Result<()> {
        if self.files > MAX_FILES {
            return Err(too_large("files and directories", MAX_FILES));
        }
        if self.levels > MAX_LEVELS {
            return Err(too_large("levels of directories", u64::from(MAX_LEVELS)));
        }
        if self.longest > LONGEST_PATH {
            return Err(too_large("bytes in one path", LONGEST_PATH));
        }
        if self.bytes > MAX_PATH_BYTES {
            return Err(too_large("bytes in its paths", MAX_PATH_BYTES));
        }
        Ok(())
    }
}

/// A tree whose entries are being looked into.
struct Open {
    id: Oid,
    name: Vec<u8>,
    below: Vec<(Oid, Vec<u8>)>,
    next: usize,
    extent: Extent,
}

/// Directories that may be checked out, of all repositories of this process: the id of a tree says
/// all that is below it.
#[derive(Default)]
pub(crate) struct CheckedTrees(Mutex<HashMap<Oid, Extent>>);

impl CheckedTrees {
    /// `unsafe_path` or `too_large` where `tree` may not become a working tree. Looks only into
    /// what is not known, so that an update costs what it changes.
    pub(crate) fn check(&self, repo: &Repository, tree: Oid, job: &Job) -> Result<()> {
        let found = walk(repo, tree, job, |id| self.lock().get(id).copied())?;
        let mut known = self.lock();
        if known.len() + found.len() > MAX_REMEMBERED {
            known.clear();
        }
        known.extend(found.into_iter().take(MAX_REMEMBERED));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Oid, Extent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers all directories below `tree` into which it had to look. Not `tree` itself: less is
/// allowed in a root than below one.
fn walk(
    repo: &Repository,
    tree: Oid,
    job: &Job,
    remembered: impl Fn(&Oid) -> Option<Extent>,
) -> Result<HashMap<Oid, Extent>> {
    let mut known: HashMap<Oid, Extent> = HashMap::new();
    let mut open = vec![look(repo, tree, Vec::new(), &[])?];
    while let Some(top) = open.last_mut() {
        job.check()?;
        let Some((id, name)) = top.below.get(top.next).cloned() else {
            let done = open.pop().map(|done| (done.id, done.extent));
            if let Some((id, extent)) = done.filter(|_| !open.is_empty()) {
                known.insert(id, extent);
            }
            continue;
        };
        match known.get(&id).copied().or_else(|| remembered(&id)) {
            Some(below) => {
                top.next += 1;
                top.extent.add(&name, &below);
                top.extent.check()?;
            }
            None if open.len() as u32 >= MAX_LEVELS => {
                return Err(too_large("levels of directories", u64::from(MAX_LEVELS)));
            }
            None => {
                let below = look(repo, id, name, &open)?;
                open.push(below);
            }
        }
    }
    Ok(known)
}

/// Bytes of a tree from which on one is looked at after the other, by all threads: it takes as many
/// again to remember its names.
const LARGE: usize = 4 << 20;
static LARGE_ONE: Mutex<()> = Mutex::new(());

fn look(repo: &Repository, id: Oid, name: Vec<u8>, above: &[Open]) -> Result<Open> {
    let odb = raw_object::odb(repo)?;
    let (size, _) = odb.read_header(id).map_err(raw_object::unreadable(id))?;
    let _turn = (size > LARGE).then(|| LARGE_ONE.lock().unwrap_or_else(PoisonError::into_inner));
    let mut names = Names::default();
    let mut below = Vec::new();
    let mut extent = Extent {
        levels: 1,
        files: 0,
        bytes: 0,
        longest: 0,
    };
    raw_object::read_tree(&odb, id, |entry| {
        let entry_name = entry.name;
        let refused = |why: &str| {
            let path = shown(above, &name, entry_name);
            Error::new(
                Kind::UnsafePath,
                format!("the commit holds the path `{path}`, which {why}; it is not checked out"),
            )
        };
        if !is_allowed(entry_name) {
            return Err(refused("no working tree may have"));
        }
        if above.is_empty()
            && [OLD_GIT, DISCARDED]
                .iter()
                .any(|ours| entry_name == ours.as_bytes())
        {
            return Err(refused("is where a sync puts a .git that it replaces"));
        }
        if !names.add(entry_name) {
            return Err(refused("is there twice"));
        }
        match entry.kind {
            ObjectType::Tree if below.len() as u64 >= MAX_FILES => {
                return Err(too_large("files and directories", MAX_FILES));
            }
            ObjectType::Tree => below.push((entry.id, entry_name.to_vec())),
            _ => {
                let length = entry_name.len() as u64;
                extent.files += 1;
                extent.bytes += length;
                extent.longest = extent.longest.max(length);
                extent.check()?;
            }
        }
        Ok(())
    })?;
    extent.check()?;
    Ok(Open {
        id,
        name,
        below,
        next: 0,
        extent,
    })
}

/// The names of a tree: what each is, in few bytes, since there may be a million of them. That two
/// of these come to the same by chance is as good as impossible.
#[derive(Default)]
struct Names {
    seen: HashSet<u128>,
    keys: (RandomState, RandomState),
}

impl Names {
    /// Whether it is a new one.
    fn add(&mut self, name: &[u8]) -> bool {
        let (one, other) = (self.keys.0.hash_one(name), self.keys.1.hash_one(name));
        self.seen.insert(u128::from(one) << 64 | u128::from(other))
    }
}

fn shown(above: &[Open], name: &[u8], last: &[u8]) -> String {
    let names = above.iter().map(|open| &open.name[..]).chain([name, last]);
    let path: Vec<&[u8]> = names.filter(|name| !name.is_empty()).collect();
    String::from_utf8_lossy(&path.join(&b'/'))
        .escape_debug()
        .to_string()
}

fn too_large(what: &str, limit: u64) -> Error {
    let message = format!("the commit has more than {limit} {what}, which is not checked out");
    Error::new(Kind::TooLarge, message).with(Key::Limit, limit)
}

/// Refuses what Git itself never checks out: no name, a name with a slash, `.`, `..`, and `.git`
/// under any of the names by which a file system may know it. Working trees are on volumes of all
/// kinds, so it is asked for all of them everywhere.
fn is_allowed(name: &[u8]) -> bool {
    !(name.is_empty() || name.contains(&b'/') || name == b"." || name == b".." || is_dot_git(name))
}

/// Whether each step of `path` is one that a working tree may have.
pub(crate) fn is_path(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(is_allowed)
}

/// Whether some file system may take `name` for `.git`.
pub(super) fn is_dot_git(name: &[u8]) -> bool {
    let lower = without_ignorable(name).to_ascii_lowercase();
    // NTFS drops spaces and dots at the end, takes what follows a colon for a stream, and a
    // backslash for a slash.
    [&b".git"[..], b"git~1"].into_iter().any(|git| {
        lower.strip_prefix(git).is_some_and(|rest| {
            let end = rest.iter().position(|byte| !matches!(byte, b' ' | b'.'));
            end.is_none_or(|end| matches!(rest[end], b':' | b'\\'))
        })
    })
}

/// Without the characters that HFS+ ignores in names: U+200C to U+200F, U+202A to U+202E, U+206A to
/// U+206F and U+FEFF.
fn without_ignorable(name: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = match rest {
            [0xE2, 0x80, 0x8C..=0x8F | 0xAA..=0xAE, after @ ..] => after,
            [0xE2, 0x81, 0xAA..=0xAF, after @ ..] => after,
            [0xEF, 0xBB, 0xBF, after @ ..] => after,
            _ => {
                kept.push(*byte);
                after
            }
        };
    }
    kept
}

#[cfg(test)]
#[path = "tree_check_tests.rs"]
mod tests;
