//! Which commits a repository lacks of another's branch, and where a shallow history ends then.
//!
//! What `git upload-pack` finds out from a client's `want`, `have`, `shallow` and `deepen` lines,
//! with both repositories at hand.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use git2::{Odb, Oid};

use crate::error::Result;
use crate::repo::pack::install::Boundary;
use crate::repo::raw_object::{self, RawCommit};
use crate::task::job::Job;

/// A repository's commits: its objects, and which of them it has without their parents.
pub(crate) struct History<'a> {
    pub(crate) odb: Odb<'a>,
    pub(crate) shallow: HashSet<Oid>,
}

/// How much of the history is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Depth {
    /// All that is not there; what is shallow there stays so.
    AsItIs,
    /// So many commits from the wanted one on.
    Commits(u32),
    /// All, also what was left out before.
    All,
}

#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Commits and their trees, newest first.
    pub(crate) commits: Vec<(Oid, Oid)>,
    pub(crate) boundary: Boundary,
}

/// What of `from`'s commits `wants` is not there in `to`, whose refs hold `tips`.
pub(crate) fn missing(
    from: &History<'_>,
    to: &History<'_>,
    tips: &[Oid],
    wants: &[Oid],
    depth: Depth,
    job: &Job,
) -> Result<Missing> {
    let mut starts = wants.to_vec();
    let mut boundary = Boundary::default();
    let within = match depth {
        Depth::AsItIs => None,
        Depth::Commits(depth) => Some(within(from, wants, depth, &mut boundary, job)?),
        Depth::All => Some(within(from, wants, u32::MAX, &mut boundary, job)?),
    };
    if let Some(within) = &within {
        let cut: HashSet<Oid> = boundary.shallow.iter().copied().collect();
        let reopened = to
            .shallow
            .iter()
            .filter(|oid| within.contains(oid) && !cut.contains(oid));
        boundary.unshallow = reopened.copied().collect();
        // They are there, so that the walk ends at them; what they lacked is not.
        for oid in &boundary.unshallow {
            starts.extend(raw_object::read_commit(&from.odb, *oid)?.parents);
        }
    }
    let mut walk = Walk {
        from,
        to,
        within,
        known: HashMap::new(),
        queue: BinaryHeap::new(),
        wanted: 0,
    };
    for tip in tips {
        walk.add_known(*tip);
    }
    for start in starts {
        walk.add_wanted(start)?;
    }
    walk.run(&mut boundary, job)
        .map(|commits| Missing { commits, boundary })
}

/// The commits that are at most `depth` from one of `wants`, itself the first.
fn within(
    from: &History<'_>,
    wants: &[Oid],
    depth: u32,
    boundary: &mut Boundary,
    job: &Job,
) -> Result<HashSet<Oid>> {
    let mut within: HashSet<Oid> = wants.iter().copied().collect();
    let mut queue: VecDeque<(Oid, u32)> = wants.iter().map(|want| (*want, 1)).collect();
    while let Some((oid, at)) = queue.pop_front() {
        job.check()?;
        let parents = raw_object::read_commit(&from.odb, oid)?.parents;
        // Also where it has no parents, as Git does.
        if at >= depth || from.shallow.contains(&oid) {
            boundary.shallow.push(oid);
            continue;
        }
        for parent in parents {
            if within.insert(parent) {
                queue.push_back((parent, at + 1));
            }
        }
    }
    Ok(within)
}

struct Step {
    oid: Oid,
    commit: RawCommit,
    wanted: bool,
}

/// A walk of both histories at once, newest first, which ends when all that it still has to look at
/// is known.
struct Walk<'a> {
    from: &'a History<'a>,
    to: &'a History<'a>,
    within: Option<HashSet<Oid>>,
    /// What was come to, and whether it is in `to` for certain.
    known: HashMap<Oid, bool>,
    queue: BinaryHeap<Step>,
    /// How many steps in the queue are wanted ones.
    wanted: usize,
}

impl Walk<'_> {
    fn run(mut self, boundary: &mut Boundary, job: &Job) -> Result<Vec<(Oid, Oid)>> {
        let mut found = Vec::new();
        while self.wanted > 0 {
            job.check()?;
            let Some(step) = self.queue.pop() else { break };
            self.wanted -= usize::from(step.wanted);
            if !step.wanted {
                if !self.to.shallow.contains(&step.oid) {
                    step.commit
                        .parents
                        .iter()
                        .for_each(|parent| self.add_known(*parent));
                }
                continue;
            }
            if self.known.get(&step.oid) == Some(&true) {
                continue;
            }
            found.push((step.oid, step.commit.tree));
            match &self.within {
                Some(within) => {
                    let inside = step
                        .commit
                        .parents
                        .iter()
                        .filter(|parent| within.contains(parent));
                    for parent in inside.copied().collect::<Vec<_>>() {
                        self.add_wanted(parent)?;
                    }
                }
                None if self.from.shallow.contains(&step.oid) => {
                    boundary.shallow.push(step.oid);
                }
                None => {
                    for parent in step.commit.parents {
                        self.add_wanted(parent)?;
                    }
                }
            }
        }
        // Clocks differ: some may have been come to before what shows that they are known.
        found.retain(|(oid, _)| self.known.get(oid) != Some(&true));
        boundary
            .shallow
            .retain(|oid| self.within.is_some() || self.known.get(oid) != Some(&true));
        Ok(found)
    }

    fn add_wanted(&mut self, oid: Oid) -> Result<()> {
        if !self.known.contains_key(&oid) {
            let commit = raw_object::read_commit(&self.from.odb, oid)?;
            self.known.insert(oid, false);
            self.wanted += 1;
            self.queue.push(Step {
                oid,
                commit,
                wanted: true,
            });
        }
        Ok(())
    }

    /// What cannot be read there is not known; it may have to be sent once more.
    fn add_known(&mut self, oid: Oid) {
        if self.known.get(&oid) != Some(&true)
            && let Ok(commit) = raw_object::read_commit(&self.to.odb, oid)
        {
            self.known.insert(oid, true);
            self.queue.push(Step {
                oid,
                commit,
                wanted: false,
            });
        }
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Step) -> Ordering {
        (self.commit.date, self.oid).cmp(&(other.commit.date, other.oid))
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Step) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Step) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Step {}
