//! Which files were renamed between two commits, as `git diff -M` finds them.
//!
//! First those whose content is the same, then those whose name is, then all the others by how much
//! of their content is the same, at least half. What is compared is bounded: beyond that, a file is
//! told as deleted and one as added.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use git2::{ErrorCode, Odb, Oid};

use crate::error::Result;
use crate::repo::raw_object;
use crate::repo::similarity::{common, pieces};
use crate::repo::tree_files::{Change, FILE, Is, KIND};
use crate::task::job::Job;

/// Git's own scale, and the least that is a rename (`-M50%`).
const MAX_SCORE: u64 = 60_000;
const MIN_SCORE: u64 = 30_000;
/// The least for two files that have a name for themselves.
const MIN_NAMESAKE_SCORE: u64 = 45_000;
/// Pairs that are compared by content, as `diff.renameLimit` has it by default: the square.
const MAX_PAIRS: usize = 1_000 * 1_000;
/// Of one file that is compared by content, and of all.
const MAX_BYTES: u64 = 16 << 20;
const MAX_BYTES_OF_ALL: u64 = 128 << 20;
/// Of one target, sources that are looked at again at the end.
const CANDIDATES: usize = 4;

/// What changed at a path, and where that was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<Is>,
    pub(crate) new: Option<Is>,
    /// Of what was renamed.
    pub(crate) old_path: Option<Vec<u8>>,
    /// And how much of it is the same, in percent.
    pub(crate) score: Option<u8>,
}

impl From<Change> for Changed {
    fn from(change: Change) -> Changed {
        Changed {
            path: change.path,
            old: change.old,
            new: change.new,
            old_path: None,
            score: None,
        }
    }
}

/// Finds what was renamed among `changes`, which are sorted by path. So is what is answered. In a
/// repository that `is_partial`, files that are left out are compared by their ids alone.
pub(crate) fn find(
    odb: &Odb<'_>,
    changes: Vec<Change>,
    is_partial: bool,
    job: &Job,
) -> Result<Vec<Changed>> {
    let mut search = Search::new(odb, &changes, job);
    search.is_partial = is_partial;
    search.same_content();
    search.same_name()?;
    search.similar()?;
    let renamed: HashMap<usize, (usize, u64)> = search
        .targets
        .iter()
        .filter_map(|target| Some((target.at, target.from?)))
        .map(|(at, (source, score))| (at, (search.sources[source].at, score)))
        .collect();
    let gone: Vec<usize> = renamed.values().map(|(at, _)| *at).collect();
    let mut is_gone = vec![false; changes.len()];
    gone.into_iter().for_each(|at| is_gone[at] = true);
    let sources: Vec<_> = changes
        .iter()
        .map(|change| (change.path.clone(), change.old))
        .collect();
    let changed = changes.into_iter().enumerate();
    Ok(changed
        .filter(|(at, _)| !is_gone[*at])
        .map(|(at, change)| match renamed.get(&at) {
            None => change.into(),
            Some((from, score)) => Changed {
                old: sources[*from].1,
                old_path: Some(sources[*from].0.clone()),
                score: Some((score * 100 / MAX_SCORE) as u8),
                ..change.into()
            },
        })
        .collect())
}

/// A file that is gone.
struct Source<'a> {
    /// Its place among the changes.
    at: usize,
    path: &'a [u8],
    is: Is,
    used: bool,
}

/// A file that has come.
struct Target<'a> {
    at: usize,
    path: &'a [u8],
    is: Is,
    /// What it was before, and how much of that it is.
    from: Option<(usize, u64)>,
}

struct Search<'a> {
    odb: &'a Odb<'a>,
    job: &'a Job,
    sources: Vec<Source<'a>>,
    targets: Vec<Target<'a>>,
    sizes: HashMap<Oid, u64>,
    /// How often files have which pieces.
    pieces: HashMap<Oid, Option<Vec<(u32, u64)>>>,
    bytes: u64,
    is_partial: bool,
}

impl<'a> Search<'a> {
    fn new(odb: &'a Odb<'a>, changes: &'a [Change], job: &'a Job) -> Search<'a> {
        let (mut sources, mut targets) = (Vec::new(), Vec::new());
        for (at, change) in changes.iter().enumerate() {
            let path = &change.path[..];
            match (change.old, change.new) {
                (Some(is), None) => sources.push(Source {
                    at,
                    path,
                    is,
                    used: false,
                }),
                (None, Some(is)) => targets.push(Target {
                    at,
                    path,
                    is,
                    from: None,
                }),
                _ => {}
            }
        }
        Search {
            odb,
            job,
            sources,
            targets,
            sizes: HashMap::new(),
            pieces: HashMap::new(),
            bytes: 0,
            is_partial: false,
        }
    }

    fn pair(&mut self, target: usize, source: usize, score: u64) {
        self.targets[target].from = Some((source, score));
        self.sources[source].used = true;
    }

    /// Of those that have one content, those of one name first.
    fn same_content(&mut self) {
        let mut by_id: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut by_name: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (place, source) in self.sources.iter().enumerate() {
            let key = (source.is.id, class(source.is));
            by_id.entry(key).or_default().push_back(place);
            by_name
                .entry((key, name(source.path)))
                .or_default()
                .push_back(place);
        }
        for place in 0..self.targets.len() {
            let target = &self.targets[place];
            let key = (target.is.id, class(target.is));
            let free = |places: Option<&mut VecDeque<usize>>| {
                let places = places?;
                // Thousands may have one content: each is passed once.
                while self.sources[*places.front()?].used {
                    places.pop_front();
                }
                places.pop_front()
            };
            let source = free(by_name.get_mut(&(key, name(target.path))))
                .or_else(|| free(by_id.get_mut(&key)));
            if let Some(source) = source {
                self.pair(place, source, MAX_SCORE);
            }
        }
    }

    fn same_name(&mut self) -> Result<()> {
        let sources = unique(self.sources.iter().map(|source| (source.path, source.used)));
        let targets = unique(
            self.targets
                .iter()
                .map(|target| (target.path, target.from.is_some())),
        );
        for source in 0..self.sources.len() {
            let base = name(self.sources[source].path);
            let (Some(Some(same)), Some(Some(target))) = (sources.get(base), targets.get(base))
            else {
                continue;
            };
            if *same != source {
                continue;
            }
            let score = self.score(source, *target)?;
            if score >= MIN_NAMESAKE_SCORE {
                self.pair(*target, source, score);
            }
        }
        Ok(())
    }

    fn similar(&mut self) -> Result<()> {
        let sources: Vec<usize> = (0..self.sources.len())
            .filter(|place| !self.sources[*place].used)
            .collect();
        let targets: Vec<usize> = (0..self.targets.len())
            .filter(|place| self.targets[*place].from.is_none())
            .collect();
        if sources.len().saturating_mul(targets.len()) > MAX_PAIRS {
            return Ok(());
        }
        let mut best = Vec::new();
        for target in targets {
            self.job.check()?;
            // Each takes the place of the worst, if it is better: of equals that decides which one
            // comes first, so what is not similar at all has a place, too.
            let mut kept: Vec<Candidate> = Vec::with_capacity(CANDIDATES);
            for source in &sources {
                let candidate = Candidate {
                    score: self.score(*source, target)?,
                    is_namesake: name(self.sources[*source].path)
                        == name(self.targets[target].path),
                    source: *source,
                    target,
                };
                if kept.len() < CANDIDATES {
                    kept.push(candidate);
                    continue;
                }
                let worst = (0..CANDIDATES)
                    .min_by_key(|at| kept[*at].rank())
                    .unwrap_or(0);
                if kept[worst].rank() < candidate.rank() {
                    kept[worst] = candidate;
                }
            }
            best.extend(kept);
        }
        // Stable: of equals, the one whose target comes first.
        best.sort_by_key(|candidate| Reverse(candidate.rank()));
        for candidate in best {
            let is_free = self.targets[candidate.target].from.is_none()
                && !self.sources[candidate.source].used;
            if is_free && candidate.score >= MIN_SCORE {
                self.pair(candidate.target, candidate.source, candidate.score);
            }
        }
        Ok(())
    }

    /// How much of a source and a target is the same.
    fn score(&mut self, source: usize, target: usize) -> Result<u64> {
        let (source, target) = (self.sources[source].is, self.targets[target].is);
        if !is_file(source) || !is_file(target) {
            return Ok(0);
        }
        let (old, new) = (self.size(source.id)?, self.size(target.id)?);
        let (longer, shorter) = (old.max(new), old.min(new));
        // The difference in size alone is too much.
        if shorter == 0 || longer * (MAX_SCORE - MIN_SCORE) < (longer - shorter) * MAX_SCORE {
            return Ok(0);
        }
        self.cut(source.id, old)?;
        self.cut(target.id, new)?;
        let pieces = |id| self.pieces.get(&id).and_then(Option::as_ref);
        let (Some(old), Some(new)) = (pieces(source.id), pieces(target.id)) else {
            return Ok(0);
        };
        Ok(common(old, new) * MAX_SCORE / longer)
    }

    fn size(&mut self, id: Oid) -> Result<u64> {
        if let Some(size) = self.sizes.get(&id) {
            return Ok(*size);
        }
        let size = match self.odb.read_header(id) {
            Ok((size, _)) => size as u64,
            // It is left out; as an empty one it is like no other.
            Err(error) if self.is_partial && error.code() == ErrorCode::NotFound => 0,
            Err(error) => return Err(raw_object::unreadable(id)(error)),
        };
        self.sizes.insert(id, size);
        Ok(size)
    }

    /// Cuts a file into pieces, unless there is too much to compare.
    fn cut(&mut self, id: Oid, size: u64) -> Result<()> {
        if self.pieces.contains_key(&id) {
            return Ok(());
        }
        self.job.check()?;
        let pieces = if size > MAX_BYTES || self.bytes + size > MAX_BYTES_OF_ALL {
            None
        } else {
            self.bytes += size;
            let object = self.odb.read(id).map_err(raw_object::unreadable(id))?;
            Some(pieces(object.data()))
        };
        self.pieces.insert(id, pieces);
        Ok(())
    }
}

struct Candidate {
    score: u64,
    is_namesake: bool,
    source: usize,
    target: usize,
}

impl Candidate {
    fn rank(&self) -> (u64, bool) {
        (self.score, self.is_namesake)
    }
}

/// Files are renamed with their mode changed; links, and submodules, are not.
fn class(is: Is) -> u32 {
    if is_file(is) { FILE } else { is.mode }
}

fn is_file(is: Is) -> bool {
    is.mode & KIND == FILE
}

/// The last step of a path.
fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The places of the names that only one has, of those that are free. None: several have it.
fn unique<'a>(files: impl Iterator<Item = (&'a [u8], bool)>) -> HashMap<&'a [u8], Option<usize>> {
    let mut found = HashMap::new();
    for (place, (path, is_taken)) in files.enumerate() {
        if !is_taken {
            found
                .entry(name(path))
                .and_modify(|place| *place = None)
                .or_insert(Some(place));
        }
    }
    found
}

#[cfg(test)]
#[path = "renames_tests.rs"]
mod tests;
