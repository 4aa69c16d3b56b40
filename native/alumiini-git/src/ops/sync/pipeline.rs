//! The steps of a sync, each in one place: look up the path, resolve the ref, fetch, move, repack.

use std::path::{Path, PathBuf};

use git2::Oid;

use super::arrival::{Place, arrive};
use super::lookup::{Found, Next, Objects, Plan, Polled};
use super::run::{SyncRun, fetching};
use crate::error::{Error, Hint, Kind, Name, Result};
use crate::net::pauses::Pauses;
use crate::reference::Tip;
use crate::registry::{Change, Synced};
use crate::remote::{Remote, Wanted, denied, is_denied};
use crate::repo::marker;
use crate::repo::state::State;
use crate::repo::status_cache::Known;
use crate::repo::{open, partial, raw_object, refs, repack, staging};
use crate::task::job::Job;
use crate::task::progress::{Event, Stats};

/// Depths to fetch, one after the other, in search of a commit that the remote does not give by its
/// id. 0 is the full history.
const SEARCHED: [u32; 3] = [64, 1024, 0];
/// Each want is a line of 50 bytes, and servers limit the length of requests.
const FILES_OF_ONE_REQUEST: usize = 50_000;

impl SyncRun {
    pub(super) async fn run(&self) -> Result<Synced> {
        match self.find().await? {
            Found::Empty => self.clone_or_clear().await,
            Found::Unmanaged => self.go_on(self.unmanaged().await?).await,
            Found::Managed(seen) => self.update_or_repair(seen).await,
        }
    }

    /// A first clone. If it fails, it leaves nothing behind.
    async fn clone_or_clear(&self) -> Result<Synced> {
        let result = self.rebuild(None, Change::Cloned).await;
        if result
            .as_ref()
            .is_err_and(|error| error.kind != Kind::Cancelled)
        {
            self.guard
                .moving(|path, _| staging::take_away(path))
                .await?;
        }
        result
    }

    /// Makes a new repository.
    async fn rebuild(&self, previous: Option<Oid>, change: Change) -> Result<Synced> {
        let tip = self.resolve().await?;
        let (tip, stats) = self.advance(Plan::New, Objects::Missing, tip).await?;
        self.synced(tip, previous, change, stats).await
    }

    /// Updates a managed repository, or rebuilds it if it is damaged. The old one stays until the
    /// new one is whole.
    async fn update_or_repair(&self, seen: Polled) -> Result<Synced> {
        let updated = async { self.go_on(self.managed(seen).await?).await };
        let damage = match updated.await {
            // If the move was rolled back, the damage is in the new commit.
            Err(error) if error.kind == Kind::Corrupt && error.hint != Some(Hint::RolledBack) => {
                error
            }
            result => return result,
        };
        let head = |path: &Path, _: &Job| {
            Ok(open::managed(&open::git_dir(path)).and_then(|repo| refs::head(&repo)))
        };
        let previous = self
            .guard
            .disk(head)
            .await?
            .ok()
            .flatten()
            .map(|head| head.commit);
        let repaired = self.rebuild(previous, Change::Repaired).await;
        let repaired = repaired.map_err(|error| match error.kind {
            // The remote's copy is damaged, too, or the disk is. The first error is returned.
            Kind::Corrupt => damage.clone(),
            _ => error,
        })?;
        self.guard.job.tell(&Event::Repaired {
            path: Name::of(&self.guard.path),
            reason: self.guard.dir().named(damage).on_one_line().message,
        });
        Ok(repaired)
    }

    async fn go_on(&self, next: Next) -> Result<Synced> {
        let Next { before, tip, what } = next;
        let (change, (tip, stats)) = match what {
            None => (Change::None, (tip, Stats::default())),
            Some((plan, objects)) => (Change::Updated, self.advance(plan, objects, tip).await?),
        };
        let hinted = self.hinted.get().copied().unwrap_or_default();
        self.synced(tip, before, change, stats.and(hinted)).await
    }

    async fn synced(
        &self,
        tip: Tip,
        previous: Option<Oid>,
        change: Change,
        stats: Stats,
    ) -> Result<Synced> {
        Ok(Synced {
            branch: self.spec.reference.head_branch(&tip),
            changed: self.is_changed(previous, tip.commit).await?,
            tip,
            previous,
            change,
            stats,
        })
    }

    /// Whether the selected files differ between two commits.
    async fn is_changed(&self, previous: Option<Oid>, commit: Oid) -> Result<bool> {
        let previous = match previous {
            Some(previous) if previous != commit && !self.spec.scope.is_all() => previous,
            previous => return Ok(previous != Some(commit)),
        };
        let scope = self.spec.scope.clone();
        let compare = move |path: &Path, job: &Job| {
            let repo = open::managed(&open::git_dir(path))?;
            let new = raw_object::tree_of(&repo, commit)?;
            match raw_object::tree_of(&repo, previous) {
                Ok(old) => partial::is_same(&repo, old, new, &scope, job).map(|same| !same),
                // The old commit is gone with a damaged repository.
                Err(_) => Ok(true),
            }
        };
        self.guard.disk(compare).await
    }

    /// Moves the path to `tip`, or to a newer commit if the ref has moved by the time of the fetch.
    async fn advance(&self, mut plan: Plan, objects: Objects, tip: Tip) -> Result<(Tip, Stats)> {
        let git_dir = match plan {
            Plan::New => self.stage().await?,
            _ => open::git_dir(self.guard.dir().at()),
        };
        self.guard.worker.status_cache.forget(&self.guard.path);
        let (depth, known) = (plan.depth(self.spec.depth), plan.take_known());
        let fetched = self.fetch(&git_dir, objects, tip, depth);
        // The files are checked while the remote makes its pack.
        let (known, (tip, stats)) = tokio::try_join!(self.still(known), fetched)?;
        let is_managed = matches!(plan, Plan::Managed { .. });
        let arrived = self.arrive(plan, git_dir, known, &tip).await;
        arrived.map_err(|error| match objects {
            // The damage was here before the fetch.
            Objects::Here if error.kind == Kind::Corrupt => Error {
                hint: None,
                ..error
            },
            _ => error,
        })?;
        if is_managed {
            match self.repack(&tip).await {
                // The sync has succeeded. A failure to repack, such as a full disk, does not change
                // that.
                Err(full)
                    if full.kind == Kind::Io
                        && !marker::is_set(&open::git_dir(self.guard.dir().at())) => {}
                done => done?,
            }
        }
        Ok((tip, stats))
    }

    /// Makes an empty repository beside `.git`.
    async fn stage(&self) -> Result<PathBuf> {
        let guard = self.guard.clone();
        self.guard
            .disk(move |path, _| {
                let git_dir = staging::begin(path)?;
                guard.stages(git_dir.clone());
                Ok(git_dir)
            })
            .await
    }

    /// Fetches the commit of the ref into `git_dir`. Resolves the ref again if it has moved
    /// meanwhile, or if the remote does not give what it lists. Returns the commit.
    async fn fetch(
        &self,
        git_dir: &Path,
        objects: Objects,
        mut tip: Tip,
        depth: Option<u32>,
    ) -> Result<(Tip, Stats)> {
        if objects == Objects::Here {
            let stats = self.files(git_dir, &tip).await.map_err(fetching)?;
            return Ok((tip, stats));
        }
        let (guard, mut pauses) = (&self.guard, Pauses::default());
        let name = self.spec.reference.full()?;
        loop {
            guard.dir().check()?;
            let wanted = Wanted {
                tips: std::slice::from_ref(&tip),
                name: name.as_deref(),
                depth,
                without_files: !self.spec.scope.is_all(),
                is_guess: false,
            };
            let fetched = self
                .remote
                .fetch(&guard.worker, git_dir, &wanted, &guard.job, guard);
            let fetched = match fetched.await {
                Ok(stats) => self
                    .files(git_dir, &tip)
                    .await
                    .map(|files| stats.and(files)),
                failed => failed,
            };
            let error = match fetched {
                Ok(stats) => return Ok((tip, stats)),
                // A local repository gives everything that it has, so this commit is not there.
                Err(refused) if refused.kind == Kind::RefNotFound && name.is_none() => {
                    return match self.remote {
                        Remote::Network(_) => self.search(git_dir, tip, depth, refused).await,
                        Remote::Local(_) => Err(fetching(refused)),
                    };
                }
                Err(error) if is_denied(&error) => error,
                Err(error) => return Err(fetching(guard.dir().named(error))),
            };
            let Some(pause) = pauses.next() else {
                return Err(fetching(denied(error, tip.commit)));
            };
            tokio::time::sleep(pause).await;
            tip = self.resolve().await?;
        }
    }

    /// Fetches the selected files of `tip` that the first fetch has left out.
    async fn files(&self, git_dir: &Path, tip: &Tip) -> Result<Stats> {
        let (guard, commit) = (&self.guard, tip.commit);
        let (git_dir, scope) = (git_dir.to_owned(), self.spec.scope.clone());
        let at = git_dir.clone();
        let find = move |_: &Path, job: &Job| {
            if !partial::is_partial(&at) {
                return Ok(Vec::new());
            }
            let repo = open::managed(&at)?;
            let tree = raw_object::tree_of(&repo, commit)?;
            partial::missing(&repo, tree, &scope.filter()?, job)
        };
        let missing = guard.disk(find).await?;
        let mut stats = Stats::default();
        for files in missing.chunks(FILES_OF_ONE_REQUEST) {
            guard.dir().check()?;
            let (remote, job) = (&self.remote, &guard.job);
            let fetched = remote.fetch_files(&guard.worker, &git_dir, files, job, guard);
            // The remote does not give what it listed: there may be several servers behind its URL.
            let fetched = fetched.await.map_err(|error| match is_denied(&error) {
                true => denied(error, commit).hinted(Hint::Moved),
                false => error,
            })?;
            stats = stats.and(fetched);
        }
        Ok(stats)
    }

    /// Fetches a commit that the remote does not give by its id: fetches the history of all
    /// branches and tags, deeper and deeper, until the commit is in it.
    async fn search(
        &self,
        git_dir: &Path,
        tip: Tip,
        depth: Option<u32>,
        refused: Error,
    ) -> Result<(Tip, Stats)> {
        let guard = &self.guard;
        let tips = self.remote.tips(&guard.worker).await.map_err(fetching)?;
        let mut stats = Stats::default();
        let depths = match depth {
            _ if tips.is_empty() => vec![],
            None | Some(0) => vec![depth],
            Some(_) => SEARCHED.map(Some).to_vec(),
        };
        for depth in depths {
            guard.dir().check()?;
            let wanted = Wanted {
                tips: &tips,
                name: None,
                depth,
                without_files: !self.spec.scope.is_all(),
                is_guess: false,
            };
            let fetched = self
                .remote
                .fetch(&guard.worker, git_dir, &wanted, &guard.job, guard);
            let fetched = fetched
                .await
                .map_err(|error| fetching(guard.dir().named(error)))?;
            stats = stats.and(fetched);
            if self.is_here(git_dir, tip.commit).await? {
                let files = self.files(git_dir, &tip).await.map_err(fetching)?;
                return Ok((tip, stats.and(files)));
            }
        }
        let message = format!(
            "{} does not give the commit {}, and no branch and no tag leads to it; push a branch \
             or a tag that does",
            self.remote.redacted(),
            tip.commit
        );
        Err(Error { message, ..refused })
    }

    /// `known`, if the working tree is still the same.
    async fn still(&self, known: Option<Known>) -> Result<Option<Known>> {
        let Some(known) = known else { return Ok(None) };
        let worker = self.guard.worker.clone();
        let compare = move |path: &Path, job: &Job| {
            let is_still = worker.status_cache.is_as_clean(path, &known, job.token());
            job.check().map(|()| is_still.then_some(known))
        };
        self.guard.disk(compare).await
    }

    /// Moves refs and working tree to `tip`, whose objects are in `git_dir`, and caches the new
    /// state.
    async fn arrive(
        &self,
        plan: Plan,
        git_dir: PathBuf,
        known: Option<Known>,
        tip: &Tip,
    ) -> Result<()> {
        let (to, record) = (self.target(tip), self.record(tip));
        let (guard, reference) = (self.guard.clone(), self.spec.reference.clone());
        let is_staged = matches!(plan, Plan::New);
        self.guard
            .moving(move |path, job| {
                let cache = &guard.worker.status_cache;
                let known = known.filter(|known| cache.has_same_names(path, known, job.token()));
                job.check()?;
                let known = known.filter(|known| {
                    known.state.scope == to.scope && !marker::is_set(&open::git_dir(path))
                });
                let place = match plan {
                    Plan::New => Place::Staged(git_dir),
                    Plan::Managed { from, .. } => Place::Managed {
                        from,
                        is_clean: known.is_some(),
                    },
                    Plan::Unmanaged { checks, is_origin } => Place::Unmanaged { checks, is_origin },
                };
                let moved = match place {
                    Place::Unmanaged { .. } => return arrive(path, to, place, None, job).map(drop),
                    // A first clone was interrupted, and there was nothing before it.
                    Place::Managed { from: None, .. } => {
                        arrive(path, to, place, Some(&record), job).or_else(|error| match error
                            .kind
                        {
                            Kind::Cancelled => Err(error),
                            _ => staging::take_away(path).and(Err(error)),
                        })?
                    }
                    _ => arrive(path, to, place, Some(&record), job)?,
                };
                let state = State::read(&open::managed(&open::git_dir(path))?, &reference)?;
                cache.moved(
                    &guard.path,
                    path,
                    &reference,
                    known.as_ref(),
                    moved.as_ref(),
                    state,
                );
                Ok(())
            })
            .await?;
        if is_staged {
            self.guard.worker.trees.is_new(&self.guard.path);
        }
        Ok(())
    }

    /// Now and then, after a fetch, replaces many packs by one.
    async fn repack(&self, tip: &Tip) -> Result<()> {
        let (to, guard) = (tip.commit, self.guard.clone());
        let copied = self.guard.disk(move |path, job| {
            if !repack::is_due(&open::git_dir(path)) {
                return Ok(None);
            }
            repack::copy(path, to, job, |git_dir| guard.stages(git_dir)).map(Some)
        });
        let Some(git_dir) = copied.await? else {
            return Ok(());
        };
        self.guard.worker.status_cache.forget(&self.guard.path);
        self.arrive(Plan::New, git_dir, None, tip).await
    }
}
