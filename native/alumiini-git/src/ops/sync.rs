//! `sync`: make a path hold a commit of a remote's branch.
//!
//! Clone where there is nothing, else fetch what is missing; then move refs and working tree under a marker that lets anyone finish
//! the move (`repo::marker`). Nothing is locked across the network but the right to sync this path.

mod rebuild;
mod unmanaged;

pub(crate) use unmanaged::unmanaged_move;

use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use git2::Oid;

use crate::error::{Error, Hint, Key, Kind, Name, Result, panicked};
use crate::net::pauses::Pauses;
use crate::net::url;
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::secrets::{hidden, secrets};
use crate::ops::sync_guard::SyncGuard;
use crate::port::fields::Fields;
use crate::port::remote;
use crate::port::reply::Answer;
use crate::reference::{Branch, valid_ref};
use crate::registry::{Repo, Shared, Synced};
use crate::remote::{Remote, Wanted, denied, is_denied};
use crate::repo::lock::{DirLock, make_dir};
use crate::repo::marker::{self, Move, Target};
use crate::repo::open::{self, Found};
use crate::repo::state::{Record, State};
use crate::repo::status_cache::Known;
use crate::repo::unmanaged::Checks;
use crate::repo::working_tree::{self, Moved};
use crate::repo::{cleanup, finish, raw_object, staging};
use crate::spec::SyncSpec;
use crate::task::job::Job;
use crate::task::progress::{Phase, Stats};
use crate::worker::Worker;

/// Makes a path hold a commit of a remote's branch. Shares a sync that has not begun yet and is the same.
#[derive(Debug)]
pub(crate) struct Sync {
    pub(crate) path: PathBuf,
    pub(crate) spec: SyncSpec,
}

/// As the wire counts: 0 is full history.
const DEFAULT_DEPTH: u64 = 1;

impl Operation for Sync {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let branch = branch(fields)?;
        let path = fields.path("path")?;
        let depth = fields.integer("depth")?.unwrap_or(DEFAULT_DEPTH);
        let depth = u32::try_from(depth)
            .ok()
            .filter(|depth| *depth < i32::MAX as u32)
            .ok_or_else(|| {
                let max = i32::MAX - 1;
                Error::invalid(format!("`depth` is at most {max}, got {depth}; 0 is full history"))
            })?;
        let spec = SyncSpec {
            branch,
            depth,
            force: fields.flag("force")?,
            working_tree: fields.flag_or("working_tree", true)?,
            remote: remote::spec(fields)?,
        };
        Ok(Sync { path, spec })
    }

    fn describe(&self) -> String {
        let url = url::redacted(&self.spec.remote.url);
        format!("sync of {url} into {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let own = [self.spec.branch.as_bytes(), self.path.as_os_str().as_bytes()];
        let hide = hidden(secrets(&self.spec.remote, &own));
        let synced = run(context.worker, self, context.job).await.map_err(hide)?;
        Ok((Answer::Id(synced.sha), Some(synced.stats)))
    }
}

fn branch(fields: &mut Fields) -> Result<Branch> {
    let Some(reference) = fields.map("ref")? else {
        return fields.bytes("branch").map(Branch::new);
    };
    let mut reference = Fields::new(reference);
    for reserved in ["tag", "commit", "name"] {
        if reference.take(reserved).is_some() {
            let message = format!("a ref given as `{reserved}` is not supported by this version; give a branch");
            return Err(Error::new(Kind::Unsupported, message));
        }
    }
    reference.bytes("branch").map(Branch::new)
}

async fn run(worker: &Arc<Worker>, sync: Sync, job: &Arc<Job>) -> Result<Synced> {
    let Sync { path, spec } = sync;
    let remote = Arc::new(Remote::new(worker, &spec.remote)?);
    valid_ref(&spec.branch.local())?;
    let repo = {
        let shared = worker.clone();
        worker.reads.run(move || shared.repo_at(&path)).await?
    };
    let (worker, lead_repo, lead_spec) = (worker.clone(), repo.clone(), spec.clone());
    let start = |shared: Arc<Shared>| {
        tokio::spawn(async move {
            let job = shared.job.clone();
            let pipeline = Pipeline {
                worker,
                repo: lead_repo,
                remote,
                spec: lead_spec,
                job: job.clone(),
            };
            let result = tokio::select! {
                biased;
                done = AssertUnwindSafe(pipeline.lead(&shared)).catch_unwind() => done.unwrap_or_else(|_| Err(panicked())),
                () = job.token().cancelled() => Err(Error::new(Kind::Cancelled, "cancelled")),
            };
            shared.finish(result);
        });
    };
    repo.sync(spec, job, start).await
}

/// What a glance says.
enum Glance {
    /// All is as it was, which is this; and the branch is at this commit.
    Untouched(State, Oid),
    /// It has to be looked at. What the branch is at may have been asked meanwhile.
    Unknown(Option<Oid>),
}

struct Pipeline {
    worker: Arc<Worker>,
    repo: Arc<Repo>,
    remote: Arc<Remote>,
    spec: SyncSpec,
    job: Arc<Job>,
}

impl Pipeline {
    async fn lead(&self, shared: &Arc<Shared>) -> Result<Synced> {
        let turn = self.repo.turn.clone().lock_owned().await;
        self.repo.begin(&self.spec, shared);
        let path = self.repo.path.clone();
        let made = Arc::new(Mutex::new(Vec::new()));
        let lock = DirLock::take(|| {
            let (path, made) = (path.clone(), made.clone());
            self.worker.disk.run(move || {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                make_dir(&path, &mut made)?;
                DirLock::try_take(&path)
            })
        })
        .await?;
        let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
        let site = Arc::new(SyncGuard::new(path, made, turn, lock, &self.job));

        let result = self.at(&site).await;
        if result.is_err() {
            // Before the answer, so that who gets it finds nothing left behind.
            let site = site.clone();
            let clean = move || {
                site.clean();
                Ok(())
            };
            self.worker.disk.run(clean).await?;
        }
        site.end();
        result
    }

    /// Runs `work` where blocking is allowed, holding the site until it has ended. Its path leads to the directory that is locked.
    async fn disk<T, F>(&self, site: &Arc<SyncGuard>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Job) -> Result<T> + Send + 'static,
    {
        let (site, job) = (site.clone(), self.job.clone());
        let work = move || {
            let dir = site.dir();
            dir.check()?;
            work(dir.at(), &job).map_err(|error| dir.named(error))
        };
        self.worker.disk.run(work).await
    }

    /// The same while nobody reads the working tree.
    async fn moving<T, F>(&self, site: &Arc<SyncGuard>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Job) -> Result<T> + Send + 'static,
    {
        let tree = self.repo.tree.clone().write_owned().await;
        self.disk(site, move |path, job| {
            let _tree = tree;
            work(path, job)
        })
        .await
    }

    async fn at(&self, site: &Arc<SyncGuard>) -> Result<Synced> {
        let (sha, stats) = match self.glance(site).await? {
            Glance::Untouched(state, commit) => self.repairing(site, self.update(site, commit, state, true)).await?,
            Glance::Unknown(commit) => self.look(site, commit).await?,
        };
        Ok(Synced {
            sha: sha.to_string(),
            stats,
        })
    }

    /// Whether what is at the site is as it was found last time: then there is no need to find it again. The stats of its files cost about
    /// as long as the remote's answer: both at once. Where that answer is a new commit, the files are left alone: they are asked for while
    /// the remote makes its pack.
    async fn glance(&self, site: &Arc<SyncGuard>) -> Result<Glance> {
        let worker = self.worker.clone();
        let Some(known) = self.known(site) else {
            return Ok(Glance::Unknown(None));
        };
        let (state, branch, key) = (known.state.clone(), self.spec.branch.clone(), site.path.clone());
        let enough = self.job.token().child_token();
        let (given_up, head) = (enough.clone(), state.head);
        let local = self.disk(site, move |path, job| {
            let read = || State::read(&open::managed(&open::git_dir(path))?, &branch);
            let is_still = worker.status_cache.is_still_at(&key, path, &known, job, read)?
                && (worker.status_cache.is_as_clean(path, &known, &given_up) || given_up.is_cancelled());
            job.check().map(|()| is_still)
        });
        let asked = async {
            let commit = self.resolve().await?;
            if head != Some(commit) {
                enough.cancel();
            }
            Ok(commit)
        };
        let (untouched, commit) = tokio::try_join!(local, asked)?;
        Ok(if untouched {
            Glance::Untouched(state, commit)
        } else {
            Glance::Unknown(Some(commit))
        })
    }

    /// What is remembered of what is there.
    fn known(&self, site: &SyncGuard) -> Option<Known> {
        self.worker
            .status_cache
            .known(&site.path, &self.spec.branch, self.spec.is_bare())
    }

    /// `commit`: what the branch is at, where that has been asked.
    async fn look(&self, site: &Arc<SyncGuard>, commit: Option<Oid>) -> Result<(Oid, Stats)> {
        let found = self.disk(site, |path, _| {
            cleanup::builds(path);
            let found = open::look(path)?;
            if matches!(found, Found::Managed) {
                cleanup::managed(&open::git_dir(path));
            }
            Ok((found, marker::is_set(&open::git_dir(path))))
        });
        let (found, unfinished) = found.await?;
        if unfinished && !(self.spec.is_bare() && matches!(found, Found::Unmanaged)) {
            // Readers need not wait for the network to see a whole commit.
            let resumed = self.moving(site, finish::resume).await;
            // Where a move of ours can neither be finished nor taken back, what follows replaces it. Its owner's repository is left alone.
            if matches!(found, Found::Unmanaged) {
                resumed?;
            }
        }
        match found {
            Found::Occupied => Err(self.occupied(site)),
            Found::Empty => match self.clone(site).await {
                Err(error) if error.kind != Kind::Cancelled => {
                    self.moving(site, |path, _| staging::take_away(path)).await?;
                    Err(error)
                }
                result => result,
            },
            Found::Unmanaged if self.spec.is_bare() => Err(self.has_an_owner(site)),
            Found::Unmanaged => self.unmanaged(site).await,
            Found::Managed => self.repairing(site, self.managed(site, commit)).await,
        }
    }

    /// What `work` on a managed repository comes to; where that is damaged, a new one.
    async fn repairing(
        &self,
        site: &Arc<SyncGuard>,
        work: impl Future<Output = Result<(Oid, Stats)>>,
    ) -> Result<(Oid, Stats)> {
        match work.await {
            // Where all is back as it was, it is the new commit that is damaged.
            Err(damage) if damage.kind == Kind::Corrupt && damage.hint != Some(Hint::RolledBack) => {
                self.repair(site, damage).await
            }
            result => result,
        }
    }

    fn occupied(&self, site: &SyncGuard) -> Error {
        let what = if site.dir().at().is_dir() {
            "holds files but no Git repository"
        } else {
            "is not a directory"
        };
        let message = format!(
            "{} {what}, and nothing there was touched; sync into a directory that is empty or does not exist",
            site.path.display()
        );
        Error::new(Kind::Occupied, message).with(Key::Path, Name::of(&site.path))
    }

    fn has_an_owner(&self, site: &SyncGuard) -> Error {
        let message = format!(
            "{} holds a repository that this library did not make, whose working tree is its owner's, and nothing there was touched; \
             sync into a directory of its own, or without `working_tree: false`",
            site.path.display()
        );
        Error::new(Kind::Unsupported, message).with(Key::Path, Name::of(&site.path))
    }

    /// What the remote's branch is at.
    async fn resolve(&self) -> Result<Oid> {
        self.job.progress(Phase::Connect, 0, 0, 0);
        self.reach("connect").await?;
        self.remote
            .resolve(&self.worker, &self.spec.branch.local())
            .await
            .map_err(fetching)
    }

    /// Brings the branch's commit into `git_dir`, asking again where the branch has moved meanwhile, or the remote does not give what it
    /// lists. Answers what it is.
    async fn fetch(
        &self,
        site: &Arc<SyncGuard>,
        git_dir: &Path,
        mut commit: Oid,
        depth: Option<u32>,
    ) -> Result<(Oid, Stats)> {
        let mut pauses = Pauses::default();
        loop {
            site.dir().check()?;
            let wanted = Wanted {
                commit,
                branch: &self.spec.branch,
                depth,
            };
            let error = match self.remote.fetch(&self.worker, git_dir, &wanted, &self.job, site).await {
                Ok(stats) => return Ok((commit, stats)),
                Err(error) if is_denied(&error) => error,
                Err(error) => return Err(fetching(site.dir().named(error))),
            };
            let Some(pause) = pauses.next() else {
                return Err(fetching(denied(error, commit)));
            };
            tokio::time::sleep(pause).await;
            commit = self.resolve().await?;
        }
    }

    async fn managed(&self, site: &Arc<SyncGuard>, commit: Option<Oid>) -> Result<(Oid, Stats)> {
        let (branch, worker, bare) = (self.spec.branch.clone(), self.worker.clone(), self.spec.is_bare());
        let key = site.path.clone();
        let local = self.disk(site, move |path, job| {
            worker.status_cache.find(&key, path, &branch, bare, job, || {
                open::refuse_directories(&open::git_dir(path))?;
                let repo = open::managed(&open::git_dir(path))?;
                let state = State::read(&repo, &branch)?;
                let settled = match state.head {
                    Some(_) if state.bare != bare => false,
                    Some(head) if !marker::is_set(repo.path()) && bare => worker.trees.vouch(&key, &repo, head)?,
                    Some(head) if !marker::is_set(repo.path()) => {
                        working_tree::is_clean(&repo, path, raw_object::tree_of(&repo, head)?, job)?
                    }
                    _ => false,
                };
                Ok((state, settled))
            })
        });
        let asked = async {
            match commit {
                Some(commit) => Ok(commit),
                None => self.resolve().await,
            }
        };
        // As in `glance`.
        let ((state, settled), commit) = tokio::try_join!(local, asked)?;
        self.update(site, commit, state, settled).await
    }

    /// Brings a managed repository that is at `state`, its working tree as HEAD says where it is `settled`, to `commit`.
    async fn update(&self, site: &Arc<SyncGuard>, commit: Oid, state: State, settled: bool) -> Result<(Oid, Stats)> {
        let same_depth = state.depth == Some(self.spec.depth);
        let on_branch = state.branch == Some(self.spec.branch.local());
        let record = self.record();
        let as_wanted = same_depth && settled && state.bare == self.spec.is_bare();
        if state.head == Some(commit) && on_branch && state.tracked == Some(commit) && as_wanted {
            if state.url.as_deref() != Some(&record.url) {
                let set_url = move |path: &Path, _: &Job| record.write(&open::managed(&open::git_dir(path))?);
                self.disk(site, set_url).await?;
            }
            return Ok((commit, Stats::default()));
        }
        let known = self.known(site).filter(|_| settled);
        self.worker.status_cache.forget(&site.path);
        // While the remote makes its pack.
        let (known, (commit, stats)) = tokio::try_join!(self.still(site, known), async {
            if self.is_here(site, commit, &state).await? {
                return Ok((commit, Stats::default()));
            }
            self.fetch(site, &open::git_dir(site.dir().at()), commit, Some(self.spec.depth))
                .await
        })?;
        let (to, before) = (self.target(commit), state.target());
        let (worker, remember) = (self.worker.clone(), self.remembering(site));
        self.moving(site, move |path, job| {
            let git_dir = open::git_dir(path);
            // One that could not be finished knows better where it began.
            let unfinished = marker::get(&git_dir).ok().flatten();
            let is_whole = !marker::is_set(&git_dir);
            let going = Move {
                to,
                from: unfinished.and_then(|unfinished| unfinished.from).or(before),
                branch_was: None,
            };
            let write_record = || record.write(&open::managed(&git_dir)?);
            let known = known.filter(|known| worker.status_cache.has_same_names(path, known, job.token()));
            job.check()?;
            let is_clean = is_whole && known.is_some();
            let moved =
                finish::carry_out(path, &going, Checks::None, is_clean, job, write_record).or_else(|error| {
                    match going.from {
                        // A first clone that was interrupted.
                        None if error.kind != Kind::Cancelled => staging::take_away(path).and(Err(error)),
                        _ => Err(error),
                    }
                })?;
            remember(path, known.as_ref().filter(|_| is_clean), moved)
        })
        .await?;
        match self.compact(site, commit).await {
            // The sync is done; a disk without room for a second copy is no reason to say otherwise.
            Err(full) if full.kind == Kind::Io && !marker::is_set(&open::git_dir(site.dir().at())) => {}
            done => done?,
        }
        Ok((commit, stats))
    }

    /// `known`, if the working tree is still as it says.
    async fn still(&self, site: &Arc<SyncGuard>, known: Option<Known>) -> Result<Option<Known>> {
        let Some(known) = known else { return Ok(None) };
        let worker = self.worker.clone();
        self.disk(site, move |path, job| {
            let is_still = worker.status_cache.is_as_clean(path, &known, job.token());
            job.check().map(|()| is_still.then_some(known))
        })
        .await
    }

    /// What remembers a repository after a move: what its working tree was before, where that is known, and what was done to it.
    fn remembering(
        &self,
        site: &SyncGuard,
    ) -> impl FnOnce(&Path, Option<&Known>, Option<Moved>) -> Result<()> + Send + use<> {
        let (worker, branch, key) = (self.worker.clone(), self.spec.branch.clone(), site.path.clone());
        move |path, before, moved| {
            let state = State::read(&open::managed(&open::git_dir(path))?, &branch)?;
            worker
                .status_cache
                .moved(&key, path, &branch, before, moved.as_ref(), state);
            Ok(())
        }
    }

    /// Whether a fetch would bring nothing: the branch was at this commit, to this depth, last time.
    async fn is_here(&self, site: &Arc<SyncGuard>, commit: Oid, state: &State) -> Result<bool> {
        if state.tracked != Some(commit) || state.depth != Some(self.spec.depth) {
            return Ok(false);
        }
        self.disk(site, move |path, _| {
            let repo = open::managed(&open::git_dir(path))?;
            Ok(raw_object::is_commit(&repo, commit))
        })
        .await
    }

    fn target(&self, commit: Oid) -> Target {
        Target {
            commit,
            branch: Some(self.spec.branch.clone()),
            bare: self.spec.is_bare(),
        }
    }

    fn record(&self) -> Record {
        Record {
            depth: self.spec.depth,
            url: self.remote.redacted(),
        }
    }

    /// A moment that only tests make something of; in a thread, since a test may park it there.
    async fn reach(&self, at: &'static str) -> Result<()> {
        if !self.job.fault.is_set() {
            return Ok(());
        }
        let job = self.job.clone();
        tokio::task::spawn_blocking(move || job.reach(at))
            .await
            .map_err(|_| panicked())
    }
}

fn fetching(error: Error) -> Error {
    match error.kind {
        Kind::Cancelled => error,
        _ => error.context("failed to fetch"),
    }
}
