//! A fetch: the remote sends its pack, a thread indexes it as it arrives, and it moves in.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use git2::Oid;
use tokio::sync::mpsc;

use super::{Remote, Wanted};
use crate::error::{Error, Key, Kind, Result};
use crate::net::git::fetch::{DEFAULT_MAX_BYTES, FetchRequest, UNSHALLOW, fetch};
use crate::repo::pack::install::{self, Boundary};
use crate::repo::pack::{self, Pack};
use crate::repo::rev_list::Depth;
use crate::repo::source::Order;
use crate::repo::{git_failure, open, partial, refs};
use crate::task::job::Job;
use crate::task::patience;
use crate::task::progress::{Phase, Stats};
use crate::worker::Worker;

impl Remote {
    /// Brings the objects that `wanted` needs into the repository at `git_dir`. Moves no ref.
    /// `held` is kept until no thread is at work there any more. Returns how many bytes and objects
    /// came.
    ///
    /// The errors of [`fetch`] or [`Source::send`](crate::repo::source::Source::send), and of the
    /// pack that came: `too_large`, `corrupt`, `io`.
    pub(crate) async fn fetch<H>(
        &self,
        worker: &Arc<Worker>,
        git_dir: &Path,
        wanted: &Wanted<'_>,
        job: &Arc<Job>,
        held: &Arc<H>,
    ) -> Result<Stats>
    where
        H: Send + Sync + 'static,
    {
        let wants: Vec<Oid> = wanted.tips.iter().map(|tip| tip.commit).collect();
        let send = async |sink: &mpsc::Sender<Bytes>| {
            self.send(worker, git_dir, wanted, sink, job, held).await
        };
        let (sent, pack) = self.receive(worker, git_dir, job, held, send).await?;
        let (job, held) = (job.clone(), held.clone());
        let all = wanted.depth.is_none_or(|depth| depth == 0);
        let (shared, git_dir) = (worker.clone(), git_dir.to_owned());
        let install = move || {
            let _held = held;
            let boundary = if all {
                only_new(&git_dir, sent.boundary)?
            } else {
                sent.boundary
            };
            if sent.is_filtered {
                partial::set_partial(&git_dir)?;
            }
            install::install(
                &git_dir,
                &pack,
                &boundary,
                &wants,
                &shared.checked_trees,
                &job,
            )
            .map(|()| pack.stats)
        };
        worker.disk.run(install).await
    }

    /// Brings files that a fetch `without_files` left out, by their ids; at least one. Returns how
    /// many bytes and objects came. Errors as for [`Remote::fetch`]; `unsupported` where the remote
    /// is a repository of this machine, which leaves nothing out.
    pub(crate) async fn fetch_files<H>(
        &self,
        worker: &Arc<Worker>,
        git_dir: &Path,
        files: &[Oid],
        job: &Arc<Job>,
        held: &Arc<H>,
    ) -> Result<Stats>
    where
        H: Send + Sync + 'static,
    {
        let Remote::Network(endpoint) = self else {
            let message = format!(
                "{} is a repository of this machine, of which no single files are fetched",
                self.redacted()
            );
            return Err(Error::new(Kind::Unsupported, message));
        };
        let request = FetchRequest {
            wants: files.to_vec(),
            haves: Vec::new(),
            shallow: Vec::new(),
            depth: None,
            thin: false,
            // Nothing but what is wanted: as Git asks for it.
            filter: Some(partial::FILTER),
            is_guess: false,
            max_bytes: DEFAULT_MAX_BYTES,
        };
        let send = async |sink: &mpsc::Sender<Bytes>| {
            fetch(&worker.net, endpoint, &request, sink).await.map(drop)
        };
        let ((), pack) = self.receive(worker, git_dir, job, held, send).await?;
        let (git_dir, files) = (git_dir.to_owned(), files.to_vec());
        let (job, held) = (job.clone(), held.clone());
        let install = move || {
            let _held = held;
            install::install_files(&git_dir, &pack, &files, &job).map(|()| pack.stats)
        };
        worker.disk.run(install).await
    }

    /// Has a pack sent into a channel, and indexes it as it arrives.
    async fn receive<H, T>(
        &self,
        worker: &Arc<Worker>,
        git_dir: &Path,
        job: &Arc<Job>,
        held: &Arc<H>,
        send: impl AsyncFnOnce(&mpsc::Sender<Bytes>) -> Result<T>,
    ) -> Result<(T, Pack)>
    where
        H: Send + Sync + 'static,
    {
        let (sender, chunks) = mpsc::channel(16);
        let (ready, begun) = tokio::sync::oneshot::channel();
        let complete = Arc::new(AtomicBool::new(false));
        let indexed = {
            let (git_dir, complete) = (git_dir.to_owned(), complete.clone());
            let (job, held, shared) = (job.clone(), held.clone(), worker.clone());
            worker.indexing.run(move || {
                let _held = held;
                let _ = ready.send(());
                pack::index(&git_dir, chunks, &complete, &shared.resolving, &job)
            })
        };
        let sent = async {
            if let Remote::Local(_) = self {
                // Whoever makes a pack holds a place: not before somebody listens.
                let _ = begun.await;
            }
            let sent = send(&sender).await;
            complete.store(sent.is_ok(), Ordering::Release);
            drop(sender);
            sent
        };
        job.progress(Phase::Receive, 0, 0, 0);
        let (sent, indexed) = tokio::join!(sent, indexed);
        let sent = match sent {
            Ok(sent) => sent,
            // The indexer closed its end: its own error says why.
            Err(error) if error.kind == Kind::Cancelled => {
                return Err(indexed
                    .err()
                    .unwrap_or(error)
                    .with(Key::Url, self.redacted()));
            }
            Err(error) => return Err(error),
        };
        let pack = indexed.map_err(|error| error.with(Key::Url, self.redacted()))?;
        Ok((sent, pack))
    }

    /// Has the remote's pack sent to `sink`.
    async fn send<H>(
        &self,
        worker: &Arc<Worker>,
        git_dir: &Path,
        wanted: &Wanted<'_>,
        sink: &mpsc::Sender<Bytes>,
        job: &Arc<Job>,
        held: &Arc<H>,
    ) -> Result<Sent>
    where
        H: Send + Sync + 'static,
    {
        let (dir, keep) = (git_dir.to_owned(), held.clone());
        let depth = wanted.depth;
        match self {
            Remote::Network(endpoint) => {
                let wants = wanted.tips.iter().map(|tip| tip.id).collect();
                let filter = wanted.without_files.then_some(partial::FILTER);
                let is_guess = wanted.is_guess;
                let request = worker.disk.run(move || {
                    let _keep = keep;
                    let request = request(&dir, wants, depth, filter)?;
                    Ok(FetchRequest {
                        is_guess,
                        ..request
                    })
                });
                let outcome = fetch(&worker.net, endpoint, &request.await?, sink).await?;
                Ok(Sent {
                    boundary: Boundary {
                        shallow: outcome.shallow,
                        unshallow: outcome.unshallow,
                    },
                    is_filtered: outcome.is_filtered,
                })
            }
            Remote::Local(local) => {
                let (local, job, sink) = (local.clone(), job.clone(), sink.clone());
                let order = Order {
                    name: wanted.name.map(<[u8]>::to_vec),
                    tip: wanted.tips[0].clone(),
                    depth: match depth {
                        None => Depth::AsItIs,
                        Some(0) => Depth::All,
                        Some(depth) => Depth::Commits(depth),
                    },
                    git_dir: dir,
                    max_bytes: DEFAULT_MAX_BYTES,
                };
                let send = move || {
                    let _keep = keep;
                    local.send(&order, &sink, &job)
                };
                patience::asked();
                let boundary = worker.packing.run(send).await?;
                Ok(Sent {
                    boundary,
                    is_filtered: false,
                })
            }
        }
    }
}

/// What came beside a pack.
struct Sent {
    boundary: Boundary,
    /// Whether the content of files was left out.
    is_filtered: bool,
}

fn request(
    git_dir: &Path,
    wants: Vec<Oid>,
    depth: Option<u32>,
    filter: Option<&'static str>,
) -> Result<FetchRequest> {
    let repo = open::managed(git_dir)?;
    let shallow = open::shallow(git_dir)?;
    let deepen = match depth {
        Some(0) if shallow.is_empty() => None,
        Some(0) => Some(UNSHALLOW),
        other => other,
    };
    Ok(FetchRequest {
        wants,
        haves: refs::haves(&repo)?,
        shallow,
        depth: deepen,
        thin: true,
        filter,
        is_guess: false,
        max_bytes: DEFAULT_MAX_BYTES,
    })
}

/// The boundary without commits that are here with their parents: asked for all history, a remote
/// that is shallow itself says only what it cannot send.
fn only_new(git_dir: &Path, mut boundary: Boundary) -> Result<Boundary> {
    if !boundary.shallow.is_empty() {
        let repo = open::managed(git_dir)?;
        let odb = repo.odb().map_err(git_failure("open the objects"))?;
        let shallow: HashSet<Oid> = open::shallow(git_dir)?.into_iter().collect();
        boundary
            .shallow
            .retain(|oid| shallow.contains(oid) || !odb.exists(*oid));
    }
    Ok(boundary)
}
