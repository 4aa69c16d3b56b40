//! `head`: the commit that a work tree is at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorCode, Repository};

use crate::answer::{Answer, Commit, Name};
use crate::error::{Error, Kind, Result};
use crate::ops::{Worker, settled};
use crate::repo::{git_failure, open};

pub(crate) async fn run(worker: &Arc<Worker>, path: PathBuf) -> Result<Answer> {
    let commit = settled::read(worker, path, |path| commit(&open::any(path)?)).await?;
    Ok(Answer::Commit(Box::new(commit)))
}

pub(crate) fn now(worker: &Worker, path: &Path) -> Option<Result<Answer>> {
    let commit = settled::read_now(worker, path, |path| commit(&open::any(path)?))?;
    Some(commit.map(|commit| Answer::Commit(Box::new(commit))))
}

fn commit(repo: &Repository) -> Result<Commit> {
    let head = repo.head().map_err(|error| match error.code() {
        ErrorCode::UnbornBranch => Error::new(Kind::RefNotFound, "the repository has no commit yet; sync it first"),
        _ => git_failure("read HEAD")(error),
    })?;
    let commit = head.peel_to_commit().map_err(git_failure("read the commit at HEAD"))?;
    let (author, committer) = (commit.author(), commit.committer());
    Ok(Commit {
        sha: commit.id().to_string(),
        tree: commit.tree_id().to_string(),
        parents: commit.parent_ids().map(|id| id.to_string()).collect(),
        author: Name(author.name_bytes().to_vec()),
        email: Name(author.email_bytes().to_vec()),
        timestamp: author.when().seconds(),
        offset: author.when().offset_minutes(),
        committer: Name(committer.name_bytes().to_vec()),
        committer_email: Name(committer.email_bytes().to_vec()),
        committed_at: committer.when().seconds(),
        committed_offset: committer.when().offset_minutes(),
        message: Name(commit.message_raw_bytes().to_vec()),
        branch: head.is_branch().then(|| Name(head.shorthand_bytes().to_vec())),
    })
}
