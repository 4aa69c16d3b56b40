//! What a repository is at, and what a managed one remembers of its last sync.

use git2::{Oid, Repository};

use crate::error::Result;
use crate::reference::{Branch, Reference};
use crate::repo::marker::Target;
use crate::repo::{byte_refs, git_failure, kept_refs, open, partial, scope_file};
use crate::selection::scope::Scope;

const DEPTH: &str = "alumiini.depth";
const URL: &str = "remote.origin.url";

/// What a repository is at, before a sync.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) head: Option<Oid>,
    /// The branch HEAD is on, in full (`refs/heads/…`); none where it is detached.
    pub(crate) branch: Option<Vec<u8>>,
    /// What the remote's ref was at last time.
    pub(crate) tracked: Option<Oid>,
    pub(crate) depth: Option<u32>,
    pub(crate) url: Option<String>,
    /// Whether no file of it is checked out.
    pub(crate) bare: bool,
    /// Which files it is to have.
    pub(crate) scope: Scope,
    /// Whether it may lack others.
    pub(crate) partial: bool,
}

impl State {
    /// Where the repository is, as something to go back to; none where there is no commit, or HEAD
    /// is on something that is no branch.
    pub(crate) fn target(&self) -> Option<Target> {
        let branch = match &self.branch {
            Some(full) => Some(Branch::of_local(full)?),
            None => None,
        };
        let commit = self.head?;
        let bare = self.bare;
        Some(Target {
            commit,
            branch,
            bare,
            scope: self.scope.clone(),
        })
    }

    /// Reads what `repo` is at, for a sync of `reference`.
    pub(crate) fn read(repo: &Repository, reference: &Reference) -> Result<State> {
        let config = repo
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(git_failure("read the repository's config"))?;
        let head = repo
            .find_reference("HEAD")
            .map_err(git_failure("read HEAD"))?;
        let find = |name: &[u8]| match byte_refs::id(repo, name) {
            Ok(oid) => Ok(Some(oid)),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(git_failure("read a ref")(error)),
        };
        let branch = head.symbolic_target_bytes().map(<[u8]>::to_vec);
        let followed = match reference {
            Reference::Branch(branch) => Some(branch.clone()),
            Reference::Default => branch.as_deref().and_then(Branch::of_local),
            _ => None,
        };
        let tracked = match followed {
            Some(branch) => find(&branch.tracking())?,
            None => kept_refs::synced(repo)?,
        };
        Ok(State {
            head: find(b"HEAD")?,
            branch,
            tracked,
            depth: config
                .get_i64(DEPTH)
                .ok()
                .and_then(|depth| u32::try_from(depth).ok()),
            url: config.get_string(URL).ok(),
            bare: open::is_bare(repo.path()),
            scope: scope_file::read(repo.path())?,
            partial: partial::is_partial(repo.path()),
        })
    }
}

/// What a managed repository remembers of its last sync, beside its refs.
pub(crate) struct Record {
    pub(crate) depth: u32,
    pub(crate) url: String,
    /// What was synced, where that is no branch.
    pub(crate) synced: Option<Oid>,
    /// How many commits stay readable, this one among them. Not written: it counts when the next
    /// one comes.
    pub(crate) keep: u32,
}

impl Record {
    pub(crate) fn write(&self, repo: &Repository) -> Result<()> {
        kept_refs::set_synced(repo, self.synced)?;
        let fail = git_failure("write the repository's config");
        let mut config = repo.config().map_err(&fail)?;
        if config.get_i64(DEPTH).ok() != Some(i64::from(self.depth)) {
            config
                .set_i64(DEPTH, i64::from(self.depth))
                .map_err(&fail)?;
        }
        if config.get_string(URL).ok().as_ref() != Some(&self.url) {
            config.set_str(URL, &self.url).map_err(&fail)?;
        }
        Ok(())
    }
}
