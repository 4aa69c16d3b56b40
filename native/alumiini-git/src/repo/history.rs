//! The commits that lead to one, in the order in which `git log` shows them.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::ControlFlow;

use git2::{Odb, Oid};

use crate::error::{Error, Key, Kind, Result};
use crate::repo::raw_object::{self, RawCommit};
use crate::repo::tree_files::KIND;
use crate::task::job::Job;

/// Commits that one walk looks at; what it remembers of them is some 100 MiB.
const MAX_COMMITS: usize = 1_000_000;
/// What a tree has a directory's mode as, without permissions.
const DIRECTORY: u32 = 0o040_000;
/// Trees whose entry at the path is remembered.
const MAX_TREES: usize = 1 << 16;

/// A walk over history.
pub(crate) struct History<'a> {
    odb: &'a Odb<'a>,
    /// Commits whose parents are not here.
    shallow: &'a HashSet<Oid>,
    /// Only commits that change what is there.
    path: Option<&'a [u8]>,
    job: &'a Job,
    /// What trees have at the path.
    at_path: HashMap<Oid, Entry>,
}

/// A mode and an id, where there is something.
type Entry = Option<(u32, Oid)>;

impl<'a> History<'a> {
    pub(crate) fn new(
        odb: &'a Odb<'a>,
        shallow: &'a HashSet<Oid>,
        path: Option<&'a [u8]>,
        job: &'a Job,
    ) -> History<'a> {
        History {
            odb,
            shallow,
            path,
            job,
            at_path: HashMap::new(),
        }
    }

    /// Calls `each` with `from` and the commits that lead to it, until it breaks: of those whose
    /// children were all seen or not yet known, the one with the newest date. With a path, history
    /// is simplified as git-log(1) says: a commit that has there what a parent has is left out,
    /// and of its parents only that one is followed.
    pub(crate) fn walk(
        &mut self,
        from: Oid,
        mut each: impl FnMut(Oid, &RawCommit) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut queue = BinaryHeap::new();
        let mut seen = HashSet::from([from]);
        let mut count = 0;
        let raw = self.read(from)?;
        queue.push(Waiting {
            date: raw.date,
            place: Reverse(count),
            id: from,
            raw,
        });
        while let Some(Waiting { id, raw, .. }) = queue.pop() {
            self.job.check()?;
            let mut parents = Vec::with_capacity(raw.parents.len());
            for parent in &raw.parents {
                self.job.check()?;
                // What it has at the path is asked of each.
                if self.path.is_none() && seen.contains(parent) {
                    continue;
                }
                parents.push((*parent, self.read(*parent)?));
            }
            let is_shown = match self.path {
                None => true,
                Some(path) => self.simplify(path, &raw, &mut parents)?,
            };
            if is_shown && each(id, &raw)?.is_break() {
                return Ok(());
            }
            for (parent, raw) in parents {
                if !seen.insert(parent) {
                    continue;
                }
                if seen.len() > MAX_COMMITS {
                    let message = format!(
                        "more than {MAX_COMMITS} commits would have to be looked at; ask from a \
                         later one, or for fewer"
                    );
                    let limit = MAX_COMMITS as u64;
                    return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, limit));
                }
                count += 1;
                queue.push(Waiting {
                    date: raw.date,
                    place: Reverse(count),
                    id: parent,
                    raw,
                });
            }
        }
        Ok(())
    }

    fn read(&self, id: Oid) -> Result<RawCommit> {
        let mut raw = raw_object::read_commit(self.odb, id)?;
        if self.shallow.contains(&id) {
            raw.parents.clear();
        }
        Ok(raw)
    }

    /// Whether the commit changes the path. Leaves only the parent that has there what it has, if
    /// there is one.
    fn simplify(
        &mut self,
        path: &[u8],
        raw: &RawCommit,
        parents: &mut Vec<(Oid, RawCommit)>,
    ) -> Result<bool> {
        let here = self.entry(path, raw.tree)?;
        if parents.is_empty() {
            return Ok(here.is_some());
        }
        for place in 0..parents.len() {
            if self.entry(path, parents[place].1.tree)? == here {
                let same = parents.swap_remove(place);
                *parents = vec![same];
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, path: &[u8], tree: Oid) -> Result<Entry> {
        if let Some(known) = self.at_path.get(&tree) {
            return Ok(*known);
        }
        let mut found: Entry = Some((0, tree));
        for step in path.split(|byte| *byte == b'/') {
            let Some((mode, dir)) = found else { break };
            let is_dir = mode == 0 || mode & KIND == DIRECTORY;
            found = match is_dir {
                true => raw_object::find(self.odb, dir, step, |entry| (entry.mode, entry.id))?.0,
                false => None,
            };
        }
        if self.at_path.len() >= MAX_TREES {
            self.at_path.clear();
        }
        self.at_path.insert(tree, found);
        Ok(found)
    }
}

/// A commit that waits for its turn: the newest first, and of those of one date the one that was
/// met first.
struct Waiting {
    date: i64,
    place: Reverse<u64>,
    id: Oid,
    raw: RawCommit,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (self.date, self.place).cmp(&(other.date, other.place))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
