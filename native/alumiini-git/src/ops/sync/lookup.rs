//! Finds out what is at the path of a sync, and what the sync has to do.
//!
//! Meanwhile the remote is asked what its ref is at: reading the stats of a working tree takes
//! about as long as the remote's answer.

use std::path::Path;

use git2::Oid;

use super::run::SyncRun;
use crate::error::{Error, Key, Kind, Name, Result};
use crate::net::url::RemoteUrl;
use crate::reference::{Reference, Tip};
use crate::repo::marker::{self, Target};
use crate::repo::open::{self, Found as There};
use crate::repo::state::State;
use crate::repo::status_cache::Known;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::{cleanup, finish, partial, raw_object, working_tree};
use crate::task::job::Job;

/// What is at the path.
pub(super) enum Found {
    Empty,
    Managed(Polled),
    Unmanaged,
}

/// What is known about a managed repository.
pub(super) enum Polled {
    /// Everything is as it was last time, and the ref is at this commit.
    Unchanged(Box<State>, Tip),
    /// The repository has to be examined. The remote may have answered meanwhile.
    Unknown(Option<Tip>),
}

/// What the sync has to do.
pub(super) struct Next {
    /// The commit at HEAD.
    pub(super) before: Option<Oid>,
    /// What the ref is at.
    pub(super) tip: Tip,
    /// How to move. `None` if the path is already as wanted.
    pub(super) what: Option<(Plan, Objects)>,
}

/// How the path gets a new commit.
pub(super) enum Plan {
    /// There is nothing, or a damaged repository: a new `.git` is made, and put in place when it is
    /// whole.
    New,
    /// By a move of a managed repository.
    Managed {
        /// The state before the move. `None` if it has no commit.
        from: Option<Target>,
        /// The fingerprint of its working tree, if that is clean.
        known: Option<Box<Known>>,
    },
    /// By a move of an unmanaged repository.
    Unmanaged {
        checks: Checks,
        /// Whether its `origin` is the remote.
        is_origin: bool,
    },
}

/// Whether the repository already has the wanted commit with as much of its history as wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Objects {
    Here,
    Missing,
}

impl Plan {
    /// The depth that a fetch asks for. `None` if the fetch keeps the length of the history.
    pub(super) fn depth(&self, wanted: u32) -> Option<u32> {
        match self {
            Plan::New => Some(wanted).filter(|depth| *depth > 0),
            Plan::Managed { .. } => Some(wanted),
            // The owner decides about the history.
            Plan::Unmanaged { .. } => None,
        }
    }

    pub(super) fn take_known(&mut self) -> Option<Known> {
        match self {
            Plan::Managed { known, .. } => known.take().map(|known| *known),
            _ => None,
        }
    }
}

impl SyncRun {
    pub(super) async fn find(&self) -> Result<Found> {
        let tip = match self.poll().await? {
            Polled::Unknown(tip) => tip,
            unchanged => return Ok(Found::Managed(unchanged)),
        };
        let found = self.guard.disk(|path, _| {
            cleanup::builds(path);
            let there = open::look(path)?;
            if matches!(there, There::Managed) {
                cleanup::managed(&open::git_dir(path));
            }
            Ok((there, marker::is_set(&open::git_dir(path))))
        });
        let (there, is_unfinished) = found.await?;
        let is_refused = matches!(there, There::Unmanaged) && self.is_for_ours_only();
        if is_unfinished && !is_refused {
            // An interrupted move is finished first, so that readers need not wait for the network.
            let resumed = self.guard.moving(finish::resume).await;
            // If the move can neither be finished nor rolled back, the next steps replace a managed
            // repository. An unmanaged one is left alone.
            if matches!(there, There::Unmanaged) {
                resumed?;
            }
        }
        match there {
            There::Occupied => Err(self.occupied()),
            There::Empty => Ok(Found::Empty),
            There::Unmanaged if is_refused => Err(self.has_an_owner()),
            There::Unmanaged => Ok(Found::Unmanaged),
            There::Managed => Ok(Found::Managed(Polled::Unknown(tip))),
        }
    }

    /// Whether the repository is as it was found last time, so that it need not be examined. If the
    /// remote answers with a new commit, the files are not checked here, but while the remote makes
    /// its pack.
    async fn poll(&self) -> Result<Polled> {
        let worker = self.guard.worker.clone();
        let Some(known) = self.known() else {
            return Ok(Polled::Unknown(None));
        };
        let (state, reference, key) = (
            known.state.clone(),
            self.spec.reference.clone(),
            self.guard.path.clone(),
        );
        let enough = self.guard.job.token().child_token();
        let (given_up, head) = (enough.clone(), state.head);
        let local = self.guard.disk(move |path, job| {
            let read = || State::read(&open::managed(&open::git_dir(path))?, &reference);
            let is_still = worker
                .status_cache
                .is_still_at(&key, path, &known, job, read)?
                && (worker.status_cache.is_as_clean(path, &known, &given_up)
                    || given_up.is_cancelled());
            job.check().map(|()| is_still)
        });
        let asked = async {
            let tip = self.resolve().await?;
            if head != Some(tip.commit) {
                enough.cancel();
            }
            Ok(tip)
        };
        // The hint is fetched while the remote answers, but not before the check, which has to see
        // the state without it.
        let looked = async {
            let is_unchanged = local.await?;
            self.fetch_hint().await;
            Ok(is_unchanged)
        };
        let (is_unchanged, tip) = tokio::try_join!(looked, asked)?;
        Ok(if is_unchanged {
            Polled::Unchanged(Box::new(state), tip)
        } else {
            Polled::Unknown(Some(tip))
        })
    }

    /// The cached state of the repository.
    fn known(&self) -> Option<Known> {
        let cache = &self.guard.worker.status_cache;
        cache.known(&self.guard.path, &self.spec.reference, self.spec.is_bare())
    }

    /// What the sync has to do in a managed repository.
    pub(super) async fn managed(&self, seen: Polled) -> Result<Next> {
        let (state, is_clean, tip) = match seen {
            Polled::Unchanged(state, tip) => (*state, true, tip),
            Polled::Unknown(tip) => {
                let asked = async {
                    match tip {
                        Some(tip) => Ok(tip),
                        None => self.resolve().await,
                    }
                };
                let ((state, is_clean), tip) = tokio::try_join!(self.compare(), asked)?;
                (state, is_clean, tip)
            }
        };
        let same_depth = state.depth == Some(self.spec.depth);
        let branch = self
            .spec
            .reference
            .head_branch(&tip)
            .map(|branch| branch.local());
        let on_branch = state.branch == branch;
        if state.partial && self.spec.scope.is_all() {
            // All files that were left out have to be fetched, for every commit.
            return Ok(Next {
                before: state.head,
                tip,
                what: Some((Plan::New, Objects::Missing)),
            });
        }
        let was_at = state.tracked == Some(tip.id);
        if state.head == Some(tip.commit)
            && on_branch
            && was_at
            && same_depth
            && is_clean
            && state.bare == self.spec.is_bare()
            && state.scope == self.spec.scope
        {
            let record = self.record(&tip);
            if state.url.as_deref() != Some(&record.url) {
                let set_url =
                    move |path: &Path, _: &Job| record.write(&open::managed(&open::git_dir(path))?);
                self.guard.disk(set_url).await?;
            }
            return Ok(Next {
                before: state.head,
                tip,
                what: None,
            });
        }
        // A fetch would bring nothing: the ref was at this commit, with this depth, last time; and
        // a commit id always names the same commit.
        let is_commit = matches!(self.spec.reference, Reference::Commit(_));
        let is_fetched = self.is_fetched(tip.commit);
        let objects = if is_fetched || same_depth && (was_at || is_commit) {
            Objects::of(
                self.is_here(&open::git_dir(self.guard.dir().at()), tip.commit)
                    .await?,
            )
        } else {
            Objects::Missing
        };
        let known = self.known().filter(|_| is_clean).map(Box::new);
        let from = state.target();
        Ok(Next {
            before: state.head,
            tip,
            what: Some((Plan::Managed { from, known }, objects)),
        })
    }

    /// The state of a managed repository, and whether its working tree is clean.
    async fn compare(&self) -> Result<(State, bool)> {
        let (guard, reference, bare) = (
            self.guard.clone(),
            self.spec.reference.clone(),
            self.spec.is_bare(),
        );
        let find = move |path: &Path, job: &Job| {
            let (worker, key) = (&guard.worker, &guard.path);
            worker
                .status_cache
                .find(key, path, &reference, bare, job, || {
                    open::refuse_directories(&open::git_dir(path))?;
                    let repo = open::managed(&open::git_dir(path))?;
                    let state = State::read(&repo, &reference)?;
                    let is_clean = match state.head {
                        Some(_) if state.bare != bare => false,
                        Some(head) if !marker::is_set(repo.path()) && bare => {
                            worker.trees.vouch(key, &repo, head)?
                        }
                        Some(head) if !marker::is_set(repo.path()) => working_tree::is_clean(
                            &repo,
                            path,
                            raw_object::tree_of(&repo, head)?,
                            &state.scope.filter()?,
                            job,
                        )?,
                        _ => false,
                    };
                    let is_whole = match state.head.filter(|_| is_clean && state.partial) {
                        Some(head) => {
                            let tree = raw_object::tree_of(&repo, head)?;
                            let filter = state.scope.filter()?;
                            partial::missing(&repo, tree, &filter, job)?.is_empty()
                        }
                        None => true,
                    };
                    Ok((state, is_clean && is_whole))
                })
        };
        self.guard.disk(find).await
    }

    /// What the sync has to do in an unmanaged repository, which is moved only if nothing of the
    /// owner's can be lost.
    pub(super) async fn unmanaged(&self) -> Result<Next> {
        let (reference, force) = (self.spec.reference.clone(), self.spec.force);
        let local = self.guard.disk(move |path, _| {
            let repo = unmanaged::open(path)?;
            if !force {
                unmanaged::refuse_changes(&repo, path)?;
            }
            State::read(&repo, &reference)
        });
        let (state, tip) = tokio::try_join!(local, self.resolve())?;
        let to = self.target(&tip);
        let on_branch = state.branch == to.branch.as_ref().map(|branch| branch.local());
        if state.head == Some(tip.commit) && on_branch && !force {
            return Ok(Next {
                before: state.head,
                tip,
                what: None,
            });
        }
        // `origin` may be another remote, such as a fork, and then says nothing about this one.
        let is_origin = state.url.as_deref().is_some_and(|url| self.is_origin(url));
        let was_there = state.tracked == Some(tip.id)
            || state.head == Some(tip.commit)
            || matches!(self.spec.reference, Reference::Commit(_));
        let git_dir = open::git_dir(self.guard.dir().at());
        let is_here = was_there && self.is_here(&git_dir, tip.commit).await?;
        if !is_here {
            let unlocked =
                move |path: &Path, _: &Job| unmanaged::refuse_locks(&unmanaged::open(path)?, &to);
            self.guard.disk(unlocked).await?;
        }
        let objects = Objects::of(is_here);
        let checks = match force {
            true => Checks::None,
            false => Checks::All {
                remote_had: state.tracked.filter(|_| is_origin),
            },
        };
        Ok(Next {
            before: state.head,
            tip,
            what: Some((Plan::Unmanaged { checks, is_origin }, objects)),
        })
    }

    fn is_origin(&self, url: &str) -> bool {
        let urls = (
            RemoteUrl::parse(url.as_bytes()),
            RemoteUrl::parse(&self.spec.remote.url),
        );
        matches!(urls, (Ok(origin), Ok(asked)) if origin.is_same_repository(&asked))
    }

    fn occupied(&self) -> Error {
        let path = &self.guard.path;
        let what = if self.guard.dir().at().is_dir() {
            "holds files but no Git repository"
        } else {
            "is not a directory"
        };
        let message = format!(
            "{} {what}, and nothing there was touched; sync into a directory that is empty or \
             does not exist",
            path.display()
        );
        Error::new(Kind::Occupied, message).with(Key::Path, Name::of(path))
    }

    /// Whether only a managed repository can hold the result: the sync leaves files out, or has no
    /// working tree.
    fn is_for_ours_only(&self) -> bool {
        self.spec.is_bare() || !self.spec.scope.is_all()
    }

    fn has_an_owner(&self) -> Error {
        let path = &self.guard.path;
        let without = match self.spec.is_bare() {
            true => "`working_tree: false`",
            false => "`paths` and `ignore`",
        };
        let message = format!(
            "{} holds a repository that this library did not make, whose working tree is its \
             owner's, and nothing there was touched; sync into a directory of its own, or without \
             {without}",
            path.display()
        );
        Error::new(Kind::Unsupported, message).with(Key::Path, Name::of(path))
    }
}

impl Objects {
    fn of(is_here: bool) -> Objects {
        if is_here {
            Objects::Here
        } else {
            Objects::Missing
        }
    }
}
