//! Moves refs and working tree to a commit that has been fetched, for each kind of repository that
//! may be at a path.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::reference::Branch;
use crate::repo::marker::{self, Move, Target};
use crate::repo::state::Record;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::working_tree::Moved;
use crate::repo::{byte_refs, finish, kept_refs, open, refs};
use crate::task::job::Job;

/// What is at the path before the move.
pub(crate) enum Place {
    /// Nothing, or a repository to replace. This new `.git` holds the commit.
    Staged(PathBuf),
    /// A managed repository.
    Managed {
        /// The state before the move. `None` if it has no commit.
        from: Option<Target>,
        /// Whether its working tree was just found to be as in `from`.
        is_clean: bool,
    },
    /// An unmanaged repository.
    Unmanaged {
        checks: Checks,
        /// Whether its `origin` is the remote. If so, the remote-tracking branch is updated, too.
        is_origin: bool,
    },
}

/// Moves the repository at `path` to `to`, while no request reads it. After a failure everything is
/// as before; after a cancel the move has to be finished later. Returns the changes to a managed
/// working tree.
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
            // The marker of an unfinished move knows its beginning better.
            let unfinished = marker::get(&open::git_dir(path)).ok().flatten();
            let from = unfinished.and_then(|unfinished| unfinished.from).or(from);
            if let (Some(record), Some(left)) = (record, &from)
                && left.commit != to.commit
            {
                let repo = open::managed(&open::git_dir(path))?;
                kept_refs::keep(&repo, left.commit, record.keep)?;
                // A failure does not matter: the next sync or lease does this, too.
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
            // All checks come before the first write, when nothing has to be rolled back.
            unmanaged::check(path, &going, checks)?;
            finish::carry_out(path, &going, checks, false, None, job)?;
            if let Some(branch) = to.branch.filter(|_| is_origin) {
                // As `git fetch` does. A failure, such as another ref in the way, does not matter.
                let _ = byte_refs::write(&open::any(path)?, &branch.tracking(), to.commit, "sync");
            }
            Ok(None)
        }
    }
}
