//! `checkout`: put the working tree at a commit, with HEAD detached there. The branch is not moved.

use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::sync::{Place, arrive};
use crate::ops::sync_guard::{Missing, SyncGuard};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::reference::shown;
use crate::repo::marker::Target;
use crate::repo::tree_check::CheckedTrees;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::{byte_refs, cleanup, finish, git_failure, open, raw_object, refs};
use crate::task::job::Job;

#[derive(Debug)]
pub(crate) struct Checkout {
    path: PathBuf,
    rev: Vec<u8>,
    force: bool,
}

impl Operation for Checkout {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Checkout {
            path: fields.path("path")?,
            rev: fields.bytes("rev")?,
            force: fields.flag("force")?,
        })
    }

    fn describe(&self) -> String {
        format!("checkout of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let is_revision =
            !(self.rev.is_empty() || self.rev.contains(&0) || self.rev.starts_with(b"-"));
        if !is_revision {
            return Err(Error::invalid(format!(
                "`{}` is not a revision",
                shown(&self.rev)
            )));
        }
        let path = self.path;
        let repo = {
            let shared = context.worker.clone();
            context
                .worker
                .reads
                .run(move || shared.repo_at(&path))
                .await?
        };
        let turn = repo.turn.clone().lock_owned().await;
        // Nothing is locked, and so nothing made, where there is no repository.
        let path = repo.path.clone();
        context
            .worker
            .reads
            .run(move || open::any(&path).map(drop))
            .await?;
        let guard =
            SyncGuard::take(context.worker, &repo, turn, context.job, Missing::Refuse).await?;
        let (rev, force, worker) = (self.rev, self.force, context.worker.clone());
        let work =
            move |path: &Path, job: &Job| check_out(path, &rev, force, &worker.checked_trees, job);
        let sha = guard.end(guard.moving(work).await).await?;
        Ok((Answer::Id(sha), None))
    }
}

fn check_out(
    path: &Path,
    rev: &[u8],
    force: bool,
    checked: &CheckedTrees,
    job: &Job,
) -> Result<String> {
    let git_dir = open::git_dir(path);
    let is_managed = open::is_managed(&git_dir);
    if is_managed {
        cleanup::locks_of(&git_dir);
    }
    // An unfinished move comes first: this one starts from a whole commit.
    finish::resume(path, job)?;
    let repo = if is_managed {
        open::any(path)?
    } else {
        unmanaged::open(path)?
    };
    let commit = find(&repo, path, rev)?;
    // A sync asked this of the newest commit only.
    checked.check(&repo, raw_object::tree_of(&repo, commit)?, job)?;
    let to = Target {
        commit,
        branch: None,
        bare: is_managed && open::is_bare(&git_dir),
    };
    let place = if is_managed {
        Place::Managed {
            from: refs::head(&repo)?,
            is_clean: false,
        }
    } else {
        Place::Unmanaged {
            checks: match force {
                true => Checks::None,
                false => Checks::All { remote_had: None },
            },
            is_origin: false,
        }
    };
    drop(repo);
    arrive(path, to, place, None, job)?;
    Ok(commit.to_string())
}

fn find(repo: &Repository, path: &Path, rev: &[u8]) -> Result<Oid> {
    let unknown = |error: git2::Error| match error.code() {
        ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Ambiguous | ErrorCode::Peel => {
            let why = match error.code() {
                ErrorCode::Ambiguous => {
                    "more than one object begins like that; give more of the id"
                }
                ErrorCode::InvalidSpec => "that is not the form of a revision (see gitrevisions)",
                ErrorCode::Peel => "that is not a commit",
                _ if repo.is_shallow() => {
                    "the clone is shallow; sync with a greater depth, or depth: :infinity"
                }
                _ => "sync first if the remote has it",
            };
            let message = format!("{} has no commit `{}`: {why}", path.display(), shown(rev));
            Error::new(Kind::RefNotFound, message)
                .with(Key::Ref, Name::new(rev))
                .with(Key::Path, Name::of(path))
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
            .or_else(|| {
                odb.exists_prefix(Oid::from_str(short?).ok()?, rev.len())
                    .ok()
            })
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
