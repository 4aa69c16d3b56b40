//! The one move of refs and working tree to a commit that is there, for each kind of what may be at
//! a path.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::reference::Branch;
use crate::repo::marker::{self, Move, Target};
use crate::repo::state::Record;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::working_tree::Moved;
use crate::repo::{byte_refs, finish, kept_refs, open, refs};
use crate::task::job::Job;

/// What is at a path that moves.
pub(crate) enum Place {
    /// Nothing, or what is to be replaced: by this new `.git`, which holds the commit.
    Staged(PathBuf),
    /// A repository of ours.
    Managed {
        /// Where it is; none where it has no commit.
        from: Option<Target>,
        /// Whether its working tree was just found to be as `from` says.
        is_clean: bool,
    },
    /// Somebody's own repository.
    Unmanaged {
        checks: Checks,
        /// Whether its `origin` is the remote: then it is noted what that is at.
        is_origin: bool,
    },
}

/// Moves what is at `path` to `to`, while nobody reads it. Where that fails, all is as it was;
/// after a cancel it is to be finished. Returns what was done to a working tree of ours.
pub(crate) fn arrive(
    path: &Path,
    to: Target,
    place: Place,
    record: Option<&Record>,
    job: &Job,
) -> Result<Option<Moved>> {
    let going = |from, branch_was| Move {
        to: to.clone(),
        from,
        branch_was,
    };
    match place {
        Place::Staged(git_dir) => finish::exchange(path, &git_dir, &going(None, None), record, job),
        Place::Managed { from, is_clean } => {
            // A move that could not be finished knows better where it began.
            let unfinished = marker::get(&open::git_dir(path)).ok().flatten();
            let from = unfinished.and_then(|unfinished| unfinished.from).or(from);
            if let (Some(record), Some(left)) = (record, &from)
                && left.commit != to.commit
            {
                let repo = open::managed(&open::git_dir(path))?;
                kept_refs::keep(&repo, left.commit, record.keep)?;
                // Nothing depends on it: the next sync, or lease, does it, too.
                let _ = kept_refs::drop_stale_leases(&repo);
            }
            finish::carry_out(
                path,
                &going(from, None),
                Checks::None,
                is_clean,
                record,
                job,
            )
        }
        Place::Unmanaged { checks, is_origin } => {
            let repo = unmanaged::open(path)?;
            let was = |branch: &Branch| byte_refs::id(&repo, &branch.local()).ok();
            let going = going(refs::head(&repo)?, to.branch.as_ref().and_then(was));
            drop(repo);
            // Whatever is refused is refused before there is anything to take back.
            unmanaged::check(path, &going, checks)?;
            finish::carry_out(path, &going, checks, false, None, job)?;
            if let Some(branch) = to.branch.filter(|_| is_origin) {
                // As `git fetch` notes it. Where it cannot be, since another ref is in the way,
                // nothing depends on it.
                let _ = byte_refs::write(&open::any(path)?, &branch.tracking(), to.commit, "sync");
            }
            Ok(None)
        }
    }
}
