//! Refs of our own, `refs/alumiini/…`, which keep objects that no branch of a managed repository
//! leads to.
//!
//! `synced` is what was synced last where that is no branch: a tag's own object, too. `kept/0`,
//! `kept/1`, … are the commits that were synced before, the newest first: who reads one of them
//! goes on while newer ones arrive.

use git2::{ErrorCode, ObjectType, Oid, Repository};

use crate::error::Result;
use crate::repo::{byte_refs, git_failure, raw_object};

const PREFIX: &str = "refs/alumiini/";
const SYNCED: &[u8] = b"refs/alumiini/synced";

/// What was synced last, where that was no branch.
pub(crate) fn synced(repo: &Repository) -> Result<Option<Oid>> {
    find(repo, SYNCED)
}

/// Notes what is synced, or that it is a branch.
pub(crate) fn set_synced(repo: &Repository, id: Option<Oid>) -> Result<()> {
    if find(repo, SYNCED).ok().flatten() == id {
        return Ok(());
    }
    match id {
        Some(id) => byte_refs::write(repo, SYNCED, id, "sync").map_err(git_failure("write a ref")),
        None => delete(repo, SYNCED),
    }
}

/// Keeps the commit `left`, which another one takes the place of, and so many in all with that one.
pub(crate) fn keep(repo: &Repository, left: Oid, keep: u32) -> Result<()> {
    let before = kept(repo)?;
    let others = before
        .iter()
        .map(|(_, commit)| *commit)
        .filter(|commit| *commit != left);
    let now: Vec<Oid> = [left]
        .into_iter()
        .chain(others)
        .take(keep.saturating_sub(1) as usize)
        .collect();
    // The oldest first: at every moment each of them is somewhere.
    for (place, commit) in now.iter().enumerate().rev() {
        let name = format!("{PREFIX}kept/{place}");
        if before.get(place).map(|(_, is)| is) != Some(commit) {
            byte_refs::write(repo, name.as_bytes(), *commit, "sync")
                .map_err(git_failure("write a ref"))?;
        }
    }
    for (name, _) in before.iter().skip(now.len()) {
        delete(repo, name)?;
    }
    Ok(())
}

/// The commits that were synced before, the newest first.
fn kept(repo: &Repository) -> Result<Vec<(Vec<u8>, Oid)>> {
    let mut kept = Vec::new();
    for place in 0.. {
        let name = format!("{PREFIX}kept/{place}").into_bytes();
        match find(repo, &name)? {
            Some(id) => kept.push((name, id)),
            None => break,
        }
    }
    Ok(kept)
}

/// All of these refs whose objects are here, and the commits that they lead to.
pub(crate) fn all(repo: &Repository) -> Result<Vec<(Vec<u8>, Oid, Oid)>> {
    let fail = git_failure("list the refs");
    let odb = raw_object::odb(repo)?;
    let mut found = Vec::new();
    for reference in repo.references_glob(&format!("{PREFIX}*")).map_err(&fail)? {
        let reference = reference.map_err(&fail)?;
        let Some(id) = reference.target() else {
            continue;
        };
        if let Ok((commit, ObjectType::Commit)) = raw_object::peel(&odb, id) {
            found.push((reference.name_bytes().to_vec(), id, commit));
        }
    }
    Ok(found)
}

fn find(repo: &Repository, name: &[u8]) -> Result<Option<Oid>> {
    match byte_refs::id(repo, name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(git_failure("read a ref")(error)),
    }
}

fn delete(repo: &Repository, name: &[u8]) -> Result<()> {
    match byte_refs::find(repo, name) {
        Ok(mut reference) => reference.delete().map_err(git_failure("delete a ref")),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
        Err(error) => Err(git_failure("read a ref")(error)),
    }
}

#[cfg(test)]
#[path = "kept_refs_tests.rs"]
mod tests;
