//! `checkout`: put the work tree at a commit, with HEAD detached there. The branch is not moved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

use crate::answer::{Answer, Name};
use crate::branch::shown;
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::ops::{Worker, sync};
use crate::repo::lock::DirLock;
use crate::repo::marker::{Move, Target};
use crate::repo::sound_tree::SoundTrees;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::{byte_refs, finish, git_failure, open, raw_object, refs, sweep};

pub(crate) async fn run(
    worker: &Arc<Worker>,
    path: PathBuf,
    rev: Vec<u8>,
    force: bool,
    job: &Arc<Job>,
) -> Result<Answer> {
    if rev.is_empty() || rev.contains(&0) || rev.starts_with(b"-") {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{}` is not a revision", shown(&rev)),
        ));
    }
    let repo = {
        let shared = worker.clone();
        worker.reads.run(move || shared.repo(&path)).await?
    };
    let turn = repo.turn.clone().lock_owned().await;
    // Nothing is locked, and so nothing made, where there is no repository.
    let path = repo.path.clone();
    worker.reads.run(move || open::any(&path).map(drop)).await?;
    let lock = DirLock::take(|| {
        let path = repo.path.clone();
        worker.disk.run(move || DirLock::try_take(&path))
    })
    .await?;
    let tree = repo.tree.clone().write_owned().await;
    let job = job.clone();
    let (hold, shared) = (job.hold(), worker.clone());
    let work = move || {
        // The lock goes first: who finds it taken looks whether the turn is.
        let _held = (turn, tree, hold);
        let lock = lock;
        let dir = lock.dir();
        dir.check()?;
        let sha = check_out(dir.at(), &rev, force, &shared.sound_trees, &job).map_err(|error| dir.named(error))?;
        Ok(Answer::Id(sha))
    };
    worker.disk.run(work).await
}

fn check_out(path: &Path, rev: &[u8], force: bool, sound: &SoundTrees, job: &Job) -> Result<String> {
    let git_dir = open::git_dir(path);
    let managed = open::is_managed(&git_dir);
    if managed {
        sweep::locks_of(&git_dir);
    }
    // An unfinished move comes first: this one starts from a whole commit.
    finish::resume(path, job)?;
    let repo = if managed {
        open::any(path)?
    } else {
        unmanaged::open(path)?
    };
    let commit = find(&repo, path, rev)?;
    // A sync asked this of the newest commit only.
    sound.check(&repo, raw_object::tree_of(&repo, commit)?, job)?;
    let to = Target {
        commit,
        branch: None,
        bare: managed && open::is_bare(&git_dir),
    };
    if managed {
        let going = Move {
            to,
            from: refs::head(&repo)?,
            branch_was: None,
        };
        drop(repo);
        finish::carry_out(path, &going, Checks::None, false, job, || Ok(()))?;
    } else {
        drop(repo);
        let checks = match force {
            true => Checks::None,
            false => Checks::All { remote_had: None },
        };
        sync::unmanaged_move(path, to, checks, job)?;
    }
    Ok(commit.to_string())
}

fn find(repo: &Repository, path: &Path, rev: &[u8]) -> Result<Oid> {
    let unknown = |error: git2::Error| match error.code() {
        ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Ambiguous | ErrorCode::Peel => {
            let why = match error.code() {
                ErrorCode::Ambiguous => "more than one object begins like that; give more of the id",
                ErrorCode::InvalidSpec => "that is not the form of a revision (see gitrevisions)",
                ErrorCode::Peel => "that is not a commit",
                _ if repo.is_shallow() => "the clone is shallow; sync with a greater depth, or depth: :infinity",
                _ => "sync first if the remote has it",
            };
            let message = format!("{} has no commit `{}`: {why}", path.display(), shown(rev));
            Error::new(Kind::RefNotFound, message)
                .with("ref", Name::value(rev))
                .with("path", Name::of(path))
        }
        _ => git_failure("find the revision")(error),
    };
    let odb = raw_object::odb(repo)?;
    // What names an object outright needs no parser, which libgit2's is stricter than Git's.
    let named = || {
        let is_short = (4..40).contains(&rev.len()) && rev.iter().all(u8::is_ascii_hexdigit);
        let short = std::str::from_utf8(rev).ok().filter(|_| is_short);
        raw_object::id(rev)
            .or_else(|| byte_refs::named(repo, rev))
            .or_else(|| odb.exists_prefix(Oid::from_str(short?).ok()?, rev.len()).ok())
            .filter(|id| odb.exists(*id))
    };
    let id = match named() {
        Some(id) => id,
        None => byte_refs::parse(repo, rev).map_err(unknown)?.id(),
    };
    match raw_object::peel(&odb, id)? {
        (commit, ObjectType::Commit) => Ok(commit),
        _ => Err(unknown(git2::Error::new(
            ErrorCode::Peel,
            ErrorClass::Object,
            "not a commit",
        ))),
    }
}
