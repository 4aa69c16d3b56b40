//! Refs of our own, `refs/alumiini/…`, which keep objects that no branch of a managed repository
//! leads to.
//!
//! `synced` is what was synced last where that is no branch: a tag's own object, too. `kept/0`,
//! `kept/1`, … are the commits that were synced before, the newest first: who reads one of them
//! goes on while newer ones arrive. `leases/<id>` are commits that a client holds for as long as it
//! says so at least once an hour.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use git2::{ErrorCode, ObjectType, Oid, Repository};

use crate::error::{Error, Key, Kind, Result};
use crate::repo::{byte_refs, git_failure, raw_object, touch};

const PREFIX: &str = "refs/alumiini/";
const LEASES: &str = "refs/alumiini/leases/";
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

/// Of one repository.
const MAX_LEASES: usize = 10_000;
/// One that was not refreshed for so long is that of a client that is gone.
const LEASE: Duration = Duration::from_secs(3_600);

/// Keeps `commit` by the lease `id`, from now on.
pub(crate) fn lease(repo: &Repository, id: &str, commit: Oid) -> Result<()> {
    drop_stale_leases(repo)?;
    let name = format!("{LEASES}{id}");
    let file = lease_file(repo, &name);
    let is_there = find(repo, name.as_bytes())? == Some(commit) && file.exists();
    if !is_there {
        if leases(repo)?.len() >= MAX_LEASES {
            let message = format!("the repository has {MAX_LEASES} leases, and no more");
            let limit = MAX_LEASES as u64;
            return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, limit));
        }
        // Nothing is written where it is at that already, and its file would not show how old it
        // is.
        delete(repo, name.as_bytes())?;
        byte_refs::write(repo, name.as_bytes(), commit, "lease")
            .map_err(git_failure("write a ref"))?;
    }
    touch(&file).map_err(|error| Error::io("refresh the lease", &file, &error))
}

/// Ends the lease `id`. One that is not there has ended.
pub(crate) fn release(repo: &Repository, id: &str) -> Result<()> {
    delete(repo, format!("{LEASES}{id}").as_bytes())
}

/// Ends the leases of clients that are gone.
pub(crate) fn drop_stale_leases(repo: &Repository) -> Result<()> {
    for name in leases(repo)? {
        let file = fs::symlink_metadata(lease_file(repo, &name));
        let age = file
            .ok()
            .and_then(|file| SystemTime::now().duration_since(file.modified().ok()?).ok());
        if age.is_some_and(|age| age > LEASE) {
            delete(repo, name.as_bytes())?;
        }
    }
    Ok(())
}

fn lease_file(repo: &Repository, name: &str) -> PathBuf {
    repo.path().join(name)
}

fn leases(repo: &Repository) -> Result<Vec<String>> {
    let fail = git_failure("list the refs");
    let mut found = Vec::new();
    for name in repo
        .references_glob(&format!("{LEASES}*"))
        .map_err(&fail)?
        .names()
    {
        found.push(name.map_err(&fail)?.to_owned());
    }
    Ok(found)
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
