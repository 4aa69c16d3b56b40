//! The files of a tree, in the order of Git's index, and those in which two trees differ.

use git2::{ObjectType, Odb, Oid};

use super::index::{Entry, Recorded};
use super::{FILE, GITLINK, KIND, LINK, MAX_FILES};
use crate::error::{Error, Key, Kind, Result};
use crate::repo::raw_object;
use crate::repo::tree_check::{LONGEST_PATH, MAX_PATH_BYTES};
use crate::task::job::Job;

/// The modes that Git knows: older tools wrote others, such as 100664, which Git takes as these.
/// One of no kind is a submodule to Git.
pub(super) fn canonical(mode: u32) -> u32 {
    match mode & KIND {
        LINK => LINK,
        FILE if mode & 0o100 != 0 => 0o100755,
        FILE => 0o100644,
        _ => GITLINK,
    }
}

/// One entry of a tree.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    name: Vec<u8>,
    /// As an index has it; none for a directory.
    mode: Option<u32>,
    id: Oid,
}

impl Item {
    /// Trees are sorted as if the names of directories ended so.
    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        let slash = self.mode.is_none().then_some(b'/');
        self.name.iter().copied().chain(slash)
    }
}

fn items(odb: &Odb<'_>, tree: Oid) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    raw_object::read_tree(odb, tree, |entry| {
        items.push(Item {
            name: entry.name.to_vec(),
            mode: (entry.kind != ObjectType::Tree).then(|| canonical(entry.mode)),
            id: entry.id,
        });
        Ok(())
    })?;
    // Older tools sorted otherwise.
    if !items.is_sorted_by(|one, next| one.key().le(next.key())) {
        items.sort_by(|one, other| one.key().cmp(other.key()));
    }
    Ok(items)
}

/// What a walk of one or two trees has come to: who sent them decides how often they name each
/// other.
struct Come {
    trees: u64,
    entries: u64,
    bytes: u64,
}

impl Come {
    fn of(trees: u64) -> Come {
        Come {
            trees,
            entries: 0,
            bytes: 0,
        }
    }

    fn to(&mut self, path: &[u8]) -> Result<()> {
        let length = path.len() as u64;
        self.entries += 1;
        self.bytes += length;
        for (is, what, limit) in [
            (
                self.entries,
                "files and directories",
                MAX_FILES * self.trees,
            ),
            (
                self.bytes,
                "bytes in its paths",
                MAX_PATH_BYTES * self.trees,
            ),
            (length, "bytes in one path", LONGEST_PATH),
        ] {
            if is > limit {
                let message = format!(
                    "the commit has more than {limit} {what}; a working tree here has at most that"
                );
                return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, limit));
            }
        }
        Ok(())
    }
}

/// All files of `tree`, by path. Not one has a stat.
pub(super) fn files(odb: &Odb<'_>, tree: Oid, job: &Job) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    below(
        odb,
        &[],
        tree,
        job,
        &mut Come::of(1),
        &mut |path, mode, id| files.push(entry(path, mode, id)),
    )?;
    Ok(files)
}

fn entry(path: Vec<u8>, mode: u32, id: Oid) -> Entry {
    Entry {
        path,
        id,
        mode,
        stat: Recorded::default(),
    }
}

/// Calls `each` for all files below the directory `prefix`, which ends with a slash or is empty.
fn below(
    odb: &Odb<'_>,
    prefix: &[u8],
    tree: Oid,
    job: &Job,
    come: &mut Come,
    each: &mut impl FnMut(Vec<u8>, u32, Oid),
) -> Result<()> {
    // A stack of its own: who sent the tree decides how deep it is.
    let mut open = vec![(prefix.to_vec(), items(odb, tree)?.into_iter())];
    while let Some((prefix, rest)) = open.last_mut() {
        let Some(item) = rest.next() else {
            open.pop();
            continue;
        };
        let path = [&prefix[..], &item.name].concat();
        come.to(&path)?;
        match item.mode {
            Some(mode) => each(path, mode, item.id),
            None => {
                job.check()?;
                let inner = items(odb, item.id)?.into_iter();
                open.push(([&path[..], b"/"].concat(), inner));
            }
        }
    }
    Ok(())
}

/// In what a tree differs from another, by path.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files that are in the old one only.
    pub(super) gone: Vec<Vec<u8>>,
    /// Files that the old one lacks, or has otherwise.
    pub(super) written: Vec<Entry>,
}

/// What changes from the tree `old` to the tree `new`. Looks into directories that differ only.
pub(super) fn changes(odb: &Odb<'_>, old: Oid, new: Oid, job: &Job) -> Result<Changes> {
    let mut changes = Changes::default();
    if old == new {
        return Ok(changes);
    }
    let mut come = Come::of(2);
    let mut pairs = vec![(Vec::new(), old, new)];
    while let Some((prefix, old, new)) = pairs.pop() {
        job.check()?;
        let (old, new) = (items(odb, old)?, items(odb, new)?);
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            // By name alone a file and a directory that takes its place could miss each other; by
            // key they are two.
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(new.key()),
            };
            let (was, is) = match order {
                std::cmp::Ordering::Less => (old.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (old.next(), new.next()),
            };
            if was == is {
                continue;
            }
            let Some(name) = was.as_ref().or(is.as_ref()).map(|item| &item.name) else {
                continue;
            };
            let path = [&prefix[..], name].concat();
            come.to(&path)?;
            let inner = [&path[..], b"/"].concat();
            match (was, is) {
                (
                    Some(Item {
                        mode: None,
                        id: was,
                        ..
                    }),
                    Some(Item {
                        mode: None, id: is, ..
                    }),
                ) => {
                    pairs.push((inner, was, is));
                }
                (was, is) => {
                    match was {
                        Some(Item { mode: None, id, .. }) => {
                            let each = &mut |path, _, _| changes.gone.push(path);
                            below(odb, &inner, id, job, &mut come, each)?;
                        }
                        // What takes its place is written over it.
                        Some(_) if is.is_some() => {}
                        Some(_) => changes.gone.push(path.clone()),
                        None => {}
                    }
                    match is {
                        Some(Item { mode: None, id, .. }) => {
                            let each =
                                &mut |path, mode, id| changes.written.push(entry(path, mode, id));
                            below(odb, &inner, id, job, &mut come, each)?;
                        }
                        Some(Item {
                            mode: Some(mode),
                            id,
                            ..
                        }) => changes.written.push(entry(path, mode, id)),
                        None => {}
                    }
                }
            }
        }
    }
    changes.gone.sort_unstable();
    changes
        .written
        .sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}
