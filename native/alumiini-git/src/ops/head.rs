//! `head`: the commit that a working tree is at.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Odb, Oid, Repository};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::fit::{self, Fit};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::{self, Source};
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Commit};
use crate::repo::{git_failure, open, raw_object};
use crate::task::share::FREE;
use crate::worker::Worker;

#[derive(Debug)]
pub(crate) struct Head {
    path: PathBuf,
}

impl Operation for Head {
    const IS_LOCAL_READ: bool = true;

    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Head {
            path: fields.path("path")?,
        })
    }

    fn describe(&self) -> String {
        format!("head of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
        let commit = stable_read::read_now(worker, &self.path, |at| seen(at, FREE))?;
        let commit = commit.map(Fit::whole).transpose()?;
        Some(commit.map(|commit| Answer::Commit(Box::new(commit))))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let commit = fit::read(context, self.path, seen).await?;
        Ok((Answer::Commit(Box::new(commit)), None))
    }
}

fn seen(seen: &Source<'_>, allowance: u64) -> Result<Fit<Commit>> {
    match seen {
        Source::Directory(path) => {
            let dir = open::dir(path)?;
            open::any(dir.at())
                .and_then(|repo| commit(&repo, allowance))
                .map_err(|error| dir.named(error))
        }
        Source::Commit {
            worker,
            root,
            below,
        } if below.as_os_str().is_empty() => {
            worker.trees.read(root, |repo| commit(repo, allowance))
        }
        Source::Commit {
            worker,
            root,
            below,
        } => {
            let path = root.join(below);
            Source::of_tree(worker, root, below, |_| Err(open::not_a_repository(&path)))
        }
    }
}

/// The most bytes of a commit. The reply has all of it, and its author decides how long the message
/// and the list of parents are.
const MAX_BYTES: usize = 4 << 20;
/// The memory for each byte of a commit: the object, its parts, and the frame.
pub(super) const COST: u64 = 3;

fn commit(repo: &Repository, allowance: u64) -> Result<Fit<Commit>> {
    let head = repo.head().map_err(|error| match error.code() {
        ErrorCode::UnbornBranch => Error::new(
            Kind::RefNotFound,
            "the repository has no commit yet; sync it first",
        ),
        _ => git_failure("read HEAD")(error),
    })?;
    let id = head.target().or_else(|| head.resolve().ok()?.target());
    let id = id.ok_or_else(|| Error::new(Kind::Corrupt, "HEAD leads to no commit"))?;
    let odb = raw_object::odb(repo)?;
    let (id, _) = raw_object::peel(&odb, id)?;
    let needed = COST * size(&odb, id)?;
    if needed > allowance {
        return Ok(Fit::Needs(needed));
    }
    // The history of a shallow clone begins here.
    let parents = match open::shallow(repo.path())?.contains(&id) {
        true => Vec::new(),
        false => raw_object::read_commit(&odb, id)?.parents,
    };
    let branch = head
        .is_branch()
        .then(|| Name(head.shorthand_bytes().to_vec()));
    told(&odb, id, parents, branch).map(Fit::Whole)
}

/// The size of the commit `id`. `too_large` if it is more than a reply may have.
pub(super) fn size(odb: &Odb<'_>, id: Oid) -> Result<u64> {
    let (size, _) = odb.read_header(id).map_err(raw_object::unreadable(id))?;
    if size <= MAX_BYTES {
        return Ok(size as u64);
    }
    let message =
        format!("the commit {id} has {size} bytes, more than the {MAX_BYTES} that are answered");
    Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_BYTES as u64))
}

/// The reply for the commit `id`. `parents`: those that the repository has. `branch`: the branch
/// that is at this commit.
pub(super) fn told(
    odb: &Odb<'_>,
    id: Oid,
    parents: Vec<Oid>,
    branch: Option<Name>,
) -> Result<Commit> {
    let (raw, text) = raw_object::read_text(odb, id)?;
    let (author, committer) = (text.author, text.committer);
    Ok(Commit {
        sha: id.to_string(),
        tree: raw.tree.to_string(),
        parents: parents.iter().map(ToString::to_string).collect(),
        author: Name(author.name),
        email: Name(author.email),
        timestamp: author.date.map(|date| date.seconds),
        offset: author.date.map(|date| date.offset),
        committer: Name(committer.name),
        committer_email: Name(committer.email),
        committed_at: committer.date.map(|date| date.seconds),
        committed_offset: committer.date.map(|date| date.offset),
        message: Name(text.message),
        branch,
    })
}
