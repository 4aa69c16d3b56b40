//! `status`: the paths of a working tree that differ from its commit.

use std::path::{Path, PathBuf};

use git2::{Delta, DiffOptions, Repository};

use crate::error::{Error, Kind, Name, Result};
use crate::ops::fit::{self, Fit};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::Source;
use crate::port::cursor::Cursor;
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Drift as Told, Page};
use crate::repo::working_tree::{Drift, drift};
use crate::repo::{git_failure, open, raw_object, refs};
use crate::task::job::Job;

/// The bytes of one page.
const PAGE: u64 = 8 << 20;
/// The memory that a path takes beside its bytes, with its part of the frame.
const OVERHEAD: u64 = 200;

#[derive(Debug)]
pub(crate) struct Status {
    path: PathBuf,
    after: Cursor,
}

impl Operation for Status {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Status {
            path: fields.path("path")?,
            after: Cursor::decode(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("status of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let (path, job) = (self.path.clone(), context.job.clone());
        let hold = job.hold();
        let page = fit::read(context, path, move |seen, allowance| {
            let _hold = &hold;
            let found = find(seen, &job)?;
            Ok(page(found, &self.after, allowance))
        });
        Ok((Answer::Status(page.await?), None))
    }
}

fn find(seen: &Source<'_>, job: &Job) -> Result<Vec<(Vec<u8>, Drift)>> {
    let Source::Directory(path) = seen else {
        let message = "the repository has no working tree: there is nothing that may have changed";
        return Err(Error::new(Kind::Unsupported, message));
    };
    let dir = open::dir(path)?;
    let found = || {
        let repo = open::any(dir.at())?;
        job.reach("object");
        match open::is_managed(&open::git_dir(dir.at())) {
            true => {
                let head = refs::head(&repo)?.ok_or_else(|| {
                    Error::new(Kind::RefNotFound, "the repository has no commit yet")
                })?;
                let tree = raw_object::tree_of(&repo, head.commit)?;
                drift(&repo, dir.at(), tree, &head.scope.filter()?, job)
            }
            false => of_owner(&repo),
        }
    };
    found().map_err(|error| dir.named(error))
}

/// The status of an unmanaged repository. Its own configuration decides which files Git ignores and
/// how it writes files.
fn of_owner(repo: &Repository) -> Result<Vec<(Vec<u8>, Drift)>> {
    let fail = git_failure("compare the working tree");
    let head = repo.head().and_then(|head| head.peel_to_tree()).ok();
    let mut options = DiffOptions::new();
    options.include_untracked(true).include_typechange(true);
    let diff = repo
        .diff_tree_to_workdir_with_index(head.as_ref(), Some(&mut options))
        .map_err(fail)?;
    let found = diff.deltas().filter_map(|delta| {
        let drift = match delta.status() {
            Delta::Deleted => Drift::Deleted,
            Delta::Added | Delta::Untracked => Drift::Untracked,
            Delta::Typechange => Drift::TypeChanged,
            Delta::Modified | Delta::Conflicted | Delta::Unreadable => Drift::Modified,
            _ => return None,
        };
        let path = delta
            .new_file()
            .path_bytes()
            .or(delta.old_file().path_bytes());
        Some((path?.to_vec(), drift))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    Ok(found)
}

fn page(found: Vec<(Vec<u8>, Drift)>, after: &Cursor, allowance: u64) -> Fit<Page<Vec<Told>>> {
    let (mut told, mut next) = (Vec::new(), after.clone());
    let (mut cost, mut is_full) = (0, false);
    let after = after.after();
    let rest = found
        .into_iter()
        .filter(|(path, _)| after.is_none_or(|after| &path[..] > after));
    for (path, drift) in rest {
        let more = OVERHEAD + 2 * path.len() as u64;
        is_full = cost + more > PAGE;
        if is_full {
            break;
        }
        cost += more;
        next.count += 1;
        next.path = Some(Name(path.clone()));
        told.push(Told {
            status: match drift {
                Drift::Deleted => "deleted",
                Drift::Modified => "modified",
                Drift::TypeChanged => "type_changed",
                Drift::Untracked => "untracked",
            },
            path: Name(path),
        });
    }
    if cost > allowance {
        return Fit::Needs(cost);
    }
    Fit::Whole(Page {
        of: told,
        next: is_full.then_some(next),
    })
}
