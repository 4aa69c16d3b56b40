//! A pack that has arrived is moved into its repository, and checked: all that the wanted commit
//! needs must be there.
//!
//! `.git/shallow` names the commits that a pack leaves without parents, so it is written before the
//! pack is moved in: whenever a kill comes, `git fsck` finds no commit whose parents are missing
//! without being told so.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository};

use crate::error::{Error, Hint, Key, Kind, Result};
use crate::repo::pack::{INCOMING, MAX_FILE, Pack};
use crate::repo::raw_object::{self, RawEntry};
use crate::repo::tree_check::CheckedTrees;
use crate::repo::{git_failure, marker, open, partial};
use crate::task::job::Job;

/// What a fetch changes in `.git/shallow`.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    pub(crate) shallow: Vec<Oid>,
    pub(crate) unshallow: Vec<Oid>,
}

/// Moves a pack in and brings `.git/shallow` up to date, in the order that keeps the repository
/// whole at every moment between; then checks that all that `wants` need is there, and that the
/// first of them can be checked out. What is not is taken out again.
pub(crate) fn install(
    git_dir: &Path,
    pack: &Pack,
    boundary: &Boundary,
    wants: &[Oid],
    checked: &CheckedTrees,
    job: &Job,
) -> Result<()> {
    let before = open::shallow(git_dir)?;
    let union = joined(&before, &boundary.shallow);
    let gone: HashSet<Oid> = boundary.unshallow.iter().copied().collect();
    let after: Vec<Oid> = union
        .iter()
        .copied()
        .filter(|oid| !gone.contains(oid))
        .collect();

    let repo = open::managed(git_dir)?;
    let known = repo.odb().map_err(git_failure("open the objects"))?;
    // The first look loads the list of packs; from then on this handle, asked not to refresh, knows
    // the old ones only.
    let held = wants.iter().all(|want| known.exists(*want));
    if !held && pack.name.is_none() {
        // Nothing was changed yet. A server that is behind the one that listed the commit has
        // nothing to send.
        let message = format!("the remote sent nothing, though it lists {}", wants[0]);
        return Err(Error::new(Kind::Network, message).hinted(Hint::Moved));
    }
    write_shallow(git_dir, &before, &union)?;
    job.reach("shallow");
    let is_partial = partial::is_partial(git_dir);
    move_in(git_dir, pack, is_partial)?;
    job.reach("installed");
    // Before the walk: libgit2 shows a commit that the file names without its parents.
    write_shallow(git_dir, &union, &after)?;
    let fresh = open::managed(git_dir)?;
    let verified = verify(
        &fresh,
        &known,
        pack,
        wants,
        &boundary.unshallow,
        is_partial,
        job,
    )
    .and_then(|tree| checked.check(&fresh, tree, job));
    verified.inspect_err(|_| {
        take_out(git_dir, pack);
        let _ = write_shallow(git_dir, &after, &before);
    })
}

/// Moves a pack of files in that were left out before, and checks that all of `wants` came.
pub(crate) fn install_files(git_dir: &Path, pack: &Pack, wants: &[Oid], job: &Job) -> Result<()> {
    let lost = wants
        .iter()
        .find(|want| pack.kind(**want) != Some(ObjectType::Blob));
    if let Some(lost) = lost {
        let message = format!("the remote did not send the file {lost}, which it was asked for");
        return Err(Error::new(Kind::Network, message).hinted(Hint::Moved));
    }
    move_in(git_dir, pack, true)?;
    job.reach("installed");
    Ok(())
}

/// Moves a pack to where it counts.
fn move_in(git_dir: &Path, pack: &Pack, is_partial: bool) -> Result<()> {
    if let Some(name) = &pack.name {
        let (from, to) = (git_dir.join(INCOMING), git_dir.join("objects/pack"));
        if is_partial {
            // By this Git knows that what its objects name may be missing.
            let promise = to.join(name).with_extension("promisor");
            fs::write(&promise, "").map_err(|error| Error::io("write", &promise, &error))?;
        }
        // The index last: a pack counts from when its index is there.
        for extension in ["pack", "idx"] {
            let file = Path::new(name).with_extension(extension);
            let (from, to) = (from.join(&file), to.join(&file));
            fs::rename(&from, &to).map_err(|error| Error::io("move the pack to", &to, &error))?;
        }
    }
    let _ = fs::remove_dir_all(git_dir.join(INCOMING));
    Ok(())
}

/// The reverse.
fn take_out(git_dir: &Path, pack: &Pack) {
    let Some(name) = &pack.name else { return };
    let place = git_dir.join("objects/pack").join(name);
    for extension in ["idx", "pack", "promisor"] {
        let _ = fs::remove_file(place.with_extension(extension));
    }
}

fn joined(before: &[Oid], more: &[Oid]) -> Vec<Oid> {
    let is_there: HashSet<&Oid> = before.iter().collect();
    let new = more.iter().filter(|oid| !is_there.contains(oid));
    before.iter().chain(new).copied().collect()
}

fn write_shallow(git_dir: &Path, is: &[Oid], wanted: &[Oid]) -> Result<()> {
    let file = git_dir.join("shallow");
    if is == wanted {
        return Ok(());
    }
    if wanted.is_empty() {
        return fs::remove_file(&file).map_err(|error| Error::io("remove", &file, &error));
    }
    let text: String = wanted.iter().map(|oid| format!("{oid}\n")).collect();
    marker::write_atomically(&file, text.as_bytes())
}

/// Whether all is there that `wants` need. Returns the tree of the first.
fn verify(
    repo: &Repository,
    known: &Odb<'_>,
    pack: &Pack,
    wants: &[Oid],
    unshallow: &[Oid],
    is_partial: bool,
    job: &Job,
) -> Result<Oid> {
    let shallow: HashSet<Oid> = open::shallow(repo.path())?.into_iter().collect();
    let odb = repo.odb().map_err(git_failure("open the objects"))?;
    // What a tag is of may be anything.
    let other = |want: &&Oid| {
        let header = odb.read_header(**want);
        header.is_ok_and(|(_, kind)| kind != ObjectType::Commit)
    };
    if let Some(other) = wants.first().filter(other) {
        return Err(no_commit(*other));
    }
    let mut commits = Vec::new();
    for want in wants {
        job.check()?;
        commits.extend(Some(*want).filter(|_| !other(&want)));
    }
    let new = New {
        odb: &odb,
        known,
        wants: &commits,
        shallow: &shallow,
        unshallow,
        is_partial,
        job,
    };
    if !new.is_closed(pack)? {
        new.walk()?;
    }
    Ok(raw_object::read_commit(&odb, wants[0])?.tree)
}

/// Of what a ref stands for.
pub(crate) fn no_commit(id: Oid) -> Error {
    let message =
        format!("the ref stands for {id}, which is no commit; only a commit can be synced");
    Error::new(Kind::Unsupported, message)
}

/// What came, and what it is held against.
struct New<'a> {
    odb: &'a Odb<'a>,
    /// Without what came.
    known: &'a Odb<'a>,
    wants: &'a [Oid],
    shallow: &'a HashSet<Oid>,
    unshallow: &'a [Oid],
    /// Whether files may be missing.
    is_partial: bool,
    job: &'a Job,
}

impl New<'_> {
    /// Whether all that the objects of `pack` name is in it, or was known before: then nothing can
    /// be missing. Where something is, it need not be one of `wants` that needs it.
    fn is_closed(&self, pack: &Pack) -> Result<bool> {
        let (odb, known, job) = (self.odb, self.known, self.job);
        let has = |id: Oid, kind: ObjectType| match pack.kind(id) {
            Some(is) => is == kind,
            None => known.exists_ext(id, OdbLookupFlags::NO_REFRESH),
        };
        if pack.links.is_odd || !self.wants.iter().all(|want| has(*want, ObjectType::Commit)) {
            return Ok(false);
        }
        for (id, kind) in &pack.links.named {
            job.check()?;
            let may_lack = self.is_partial && *kind == ObjectType::Blob && pack.kind(*id).is_none();
            if !may_lack && !has(*id, *kind) {
                return Ok(false);
            }
        }
        for (commit, parent) in &pack.links.parents {
            job.check()?;
            if !self.shallow.contains(commit) && !has(*parent, ObjectType::Commit) {
                return Ok(false);
            }
        }
        // These were known without their parents.
        for commit in self.unshallow {
            job.check()?;
            let Ok(commit) = raw_object::read_commit(odb, *commit) else {
                return Ok(false);
            };
            if !commit
                .parents
                .iter()
                .all(|parent| has(*parent, ObjectType::Commit))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks what is new from `wants`: every commit down to the boundary or to what `known` holds,
    /// their trees, their blobs. Says what is missing or wrong.
    fn walk(&self) -> Result<()> {
        let (odb, known, job) = (self.odb, self.known, self.job);
        let is_known = |oid: Oid| known.exists_ext(oid, OdbLookupFlags::NO_REFRESH);
        let lost = |oid: Oid, error: Error| match odb.exists(oid) {
            true => error.context("the remote sent something that cannot be read"),
            false => {
                let message = format!("the remote did not send everything: {oid} is missing");
                Error::new(Kind::Corrupt, message)
            }
        };
        let mut seen: HashSet<Oid> = HashSet::new();
        let mut commits = self.wants.to_vec();
        // These were known without their parents.
        let reopened: HashSet<Oid> = self.unshallow.iter().copied().collect();
        commits.extend(&reopened);
        let mut trees = Vec::new();
        while let Some(oid) = commits.pop() {
            if !seen.insert(oid) || is_known(oid) && !reopened.contains(&oid) {
                continue;
            }
            job.check()?;
            let commit = raw_object::read_commit(odb, oid).map_err(|error| lost(oid, error))?;
            trees.push(commit.tree);
            if !self.shallow.contains(&oid) {
                commits.extend(commit.parents);
            }
        }
        while let Some(oid) = trees.pop() {
            if !seen.insert(oid) || is_known(oid) {
                continue;
            }
            job.check()?;
            let entry = |RawEntry { kind, name, id, .. }: RawEntry<'_>| {
                match kind {
                    ObjectType::Tree => trees.push(id),
                    // Not only whether it is there: what a tree calls a file may be anything.
                    ObjectType::Blob => match odb.read_header(id) {
                        Ok((size, ObjectType::Blob)) if size > MAX_FILE => {
                            return Err(file_too_large(name, size));
                        }
                        Ok((_, ObjectType::Blob)) => {}
                        Ok((_, other)) => {
                            let name = String::from_utf8_lossy(name);
                            return Err(raw_object::damaged(
                                id,
                                &format!("it is a {other}, and `{name}` is to be a file"),
                            ));
                        }
                        Err(_) if self.is_partial && !odb.exists(id) => {}
                        Err(error) => return Err(lost(id, raw_object::unreadable(id)(error))),
                    },
                    // Commits are submodules: theirs is another repository.
                    _ => {}
                }
                Ok(())
            };
            raw_object::read_tree(odb, oid, entry).map_err(|error| {
                if odb.exists(oid) {
                    error
                } else {
                    lost(oid, error)
                }
            })?;
        }
        Ok(())
    }
}

pub(crate) fn file_too_large(name: &[u8], size: usize) -> Error {
    let name = String::from_utf8_lossy(name);
    let message = format!("the file `{name}` has {size} bytes; a file here has at most {MAX_FILE}");
    Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_FILE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u32>) -> Vec<Oid> {
        let id = |number: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            Oid::from_bytes(&bytes).unwrap()
        };
        numbers.map(id).collect()
    }

    /// One held against each of the other would take minutes.
    #[test]
    fn long_lists_of_shallow_commits_are_joined() {
        let (before, more) = (ids(0..1_500_000), ids(1_499_999..3_000_000));
        assert_eq!(joined(&before, &more), ids(0..3_000_000));
    }
}
