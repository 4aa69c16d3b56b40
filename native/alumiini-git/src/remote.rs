//! A remote, however it is reached: what its refs are at, and its objects.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use git2::Oid;
use tokio::sync::mpsc;

use crate::error::{Error, Hint, Key, Kind, Name, Result, panicked};
use crate::net::Endpoint;
use crate::net::git::advertised::{
    DEFAULT_MAX_BYTES, RemoteRef, Wanted as WantedRefs, too_many_bytes,
};
use crate::net::git::fetch::{self, FetchRequest, UNSHALLOW, fetch};
use crate::net::git::ls_refs::ls_refs;
use crate::net::proxy::ProxySettings;
use crate::net::url::{Location, NetUrl, RemoteUrl};
use crate::policy::Allow;
use crate::reference::{Tip, named, shown};
use crate::repo::pack;
use crate::repo::pack::install::{self, Boundary};
use crate::repo::rev_list::Depth;
use crate::repo::source::{Listed, Order, Source};
use crate::repo::{git_failure, open, refs};
use crate::spec::RemoteSpec;
use crate::task::job::Job;
use crate::task::progress::{Phase, Stats};
use crate::task::share::{FREE, Share};
use crate::task::single_flight::Lead;
use crate::worker::{Question, Worker};

/// How long a question may take before the next one for the same does not wait for it any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest name that is taken for a near one, or is looked for: that of a file has no more
/// bytes on most systems.
const LONGEST_NEAR: usize = 255;
/// The most steps that comparing names takes, each about 10 ns.
const MAX_STEPS: usize = 4_000_000;

pub(crate) enum Remote {
    Network(Box<Endpoint>),
    Local(Local),
}

/// A repository of this machine.
#[derive(Clone)]
pub(crate) struct Local {
    path: PathBuf,
    shown: String,
    allow: Arc<Allow>,
}

impl Local {
    fn open(&self) -> Result<Source> {
        Source::open(&self.path, &self.shown, &self.allow)
    }

    /// Its refs; none where they have more bytes than `allowance`, which may be less than the
    /// `limit`.
    fn list(
        &self,
        prefixes: &[Vec<u8>],
        limit: u64,
        allowance: u64,
    ) -> Result<Option<Vec<RemoteRef>>> {
        let listed = self.open()?.list(prefixes)?;
        let refs: Vec<RemoteRef> = listed.into_iter().map(remote_ref).collect();
        let bytes = refs.iter().map(RemoteRef::bytes).sum::<u64>();
        if bytes > limit {
            let message = format!("{} {}", self.shown, too_many_bytes(limit));
            let error = Error::new(Kind::TooLarge, message);
            return Err(error
                .with(Key::Url, self.shown.clone())
                .with(Key::Limit, limit));
        }
        Ok((bytes <= allowance).then_some(refs))
    }
}

/// What a fetch is to bring.
pub(crate) struct Wanted<'a> {
    /// At least one; the first is what is to be checked out.
    pub(crate) tips: &'a [Tip],
    /// The full name of the ref that is, or was, at the first; none of a commit that no ref need be
    /// at.
    pub(crate) name: Option<&'a [u8]>,
    /// `None`: leave the depth of the repository as it is.
    pub(crate) depth: Option<u32>,
}

impl Remote {
    pub(crate) fn new(worker: &Worker, request: &RemoteSpec) -> Result<Remote> {
        let url = RemoteUrl::parse(&request.url)?;
        let allow = worker.allowed.now();
        let shown = url.redacted();
        allow.check(url.scheme(), &shown)?;
        match url.location {
            Location::Network(url) => Remote::network(url, request, &allow)
                .map(|endpoint| Remote::Network(Box::new(endpoint))),
            Location::Local(_) if request.auth.is_some() => {
                let message = format!(
                    "credentials mean nothing for {shown}, which is on this machine; leave auth out"
                );
                Err(Error::new(Kind::Invalid, message))
            }
            Location::Local(path) => Ok(Remote::Local(Local { path, shown, allow })),
        }
    }

    fn network(url: NetUrl, request: &RemoteSpec, allow: &Allow) -> Result<Endpoint> {
        let route = ProxySettings::new(request.proxy.as_deref(), request.no_proxy.as_deref())?;
        Endpoint::new(
            url,
            request.auth.clone(),
            request.allow_insecure,
            request.tls.clone(),
            route,
            allow.addresses.clone(),
        )
    }

    /// The URL as it may be shown and stored: without credentials.
    pub(crate) fn redacted(&self) -> String {
        match self {
            Remote::Network(endpoint) => endpoint.url.redacted(),
            Remote::Local(local) => local.shown.clone(),
        }
    }

    /// What the remote has for `name`: `HEAD`, or a ref in full.
    pub(crate) async fn resolve(
        &self,
        worker: &Arc<Worker>,
        name: &[u8],
        job: &Arc<Job>,
    ) -> Result<Tip> {
        let found = match self {
            Remote::Network(endpoint) => {
                let (shared, asked) = (worker.clone(), (**endpoint).clone());
                let key = (asked.clone(), name.to_owned());
                let name = name.to_owned();
                let ask = |flight: Lead<Question, Option<Tip>>| async move {
                    let question = (asked.clone(), name.clone());
                    let _turn = shared.asking.take(question, PATIENCE).await;
                    flight.begin();
                    let refs = ls_refs(&shared.net, &asked, WantedRefs::named(&name)).await?;
                    let found = refs.into_iter().find(|found| found.name == name);
                    Ok(found.map(tip))
                };
                worker.polls.run(key, job, ask).await?
            }
            Remote::Local(local) => {
                let (local, name) = (local.clone(), name.to_owned());
                let find = move || local.open()?.find(&name);
                worker.disk.run(find).await?
            }
        };
        match found {
            Some(tip) => Ok(tip),
            None => Err(self.not_found(worker, name).await),
        }
    }

    pub(crate) async fn refs(
        &self,
        worker: &Arc<Worker>,
        wanted: WantedRefs<'_>,
    ) -> Result<Vec<RemoteRef>> {
        match self {
            Remote::Network(endpoint) => ls_refs(&worker.net, endpoint, wanted).await,
            Remote::Local(local) => {
                let wanted_bytes = wanted.max_bytes;
                let prefixes: Vec<Vec<u8>> = wanted.prefixes().map(<[u8]>::to_vec).collect();
                // How long it is shows once it is made. As many are made at a time as there are
                // threads for that.
                let mut allowance = FREE;
                loop {
                    let (local, prefixes) = (local.clone(), prefixes.clone());
                    let list = move || local.list(&prefixes, wanted_bytes, allowance);
                    match worker.disk.run(list).await? {
                        Some(refs) => return Ok(refs),
                        None => wanted.allow(wanted_bytes).await?,
                    }
                    allowance = wanted_bytes;
                }
            }
        }
    }

    /// What all branches and tags are at, branches first.
    pub(crate) async fn tips(&self, worker: &Arc<Worker>) -> Result<Vec<Tip>> {
        let share = Share::of(&worker.net.lists);
        let prefixes = [b"refs/heads/".to_vec(), b"refs/tags/".to_vec()];
        let refs = self
            .refs(
                worker,
                WantedRefs::within(&prefixes, DEFAULT_MAX_BYTES, &share),
            )
            .await?;
        let (branches, tags): (Vec<_>, Vec<_>) = refs
            .into_iter()
            .partition(|found| found.name.starts_with(&prefixes[0]));
        let mut seen = HashSet::new();
        let tips = branches.into_iter().chain(tags).map(tip);
        Ok(tips.filter(|tip| seen.insert(tip.id)).collect())
    }

    /// Why there is no such ref, and which ones are near.
    async fn not_found(&self, worker: &Arc<Worker>, full: &[u8]) -> Error {
        let (what, short) = named(full);
        let space = match &full[..full.len() - short.len()] {
            [] => &b"refs/"[..],
            space => space,
        };
        let share = Share::of(&worker.net.lists);
        let prefixes = [space.to_owned()];
        let wanted = WantedRefs::within(&prefixes, DEFAULT_MAX_BYTES, &share);
        let refs = match self.refs(worker, wanted).await {
            Ok(refs) => refs,
            Err(error) if error.kind == Kind::TooLarge => {
                let message = format!(
                    "{} has no {what} `{}`, among many",
                    self.redacted(),
                    shown(short)
                );
                let error = Error::new(Kind::RefNotFound, message).with(Key::Url, self.redacted());
                return error.with(Key::Ref, Name::new(short));
            }
            Err(error) => return error,
        };
        let (space, wanted) = (space.to_owned(), short.to_owned());
        let held = share.into_permit(u64::MAX);
        // Long lists take a while.
        let compared = tokio::task::spawn_blocking(move || {
            let names = refs
                .into_iter()
                .filter_map(|found| found.name.strip_prefix(&space[..]).map(<[u8]>::to_vec));
            let names: Vec<Vec<u8>> = names.collect();
            (near(&wanted, &names), names, held)
        });
        let Ok((near, names, _held)) = compared.await else {
            return panicked();
        };
        let (url, asked) = (self.redacted(), shown(short));
        let error = if names.is_empty() && what != "tag" {
            let message =
                format!("{url} is empty: it has no branch yet; push a first commit to it");
            Error::new(Kind::RefNotFound, message)
        } else {
            let hint = if near.is_empty() {
                match (names.len(), what) {
                    (0, _) => format!("it has no {what}s"),
                    (1, _) => format!("its only {what} is {}", shown(&names[0])),
                    (more, "branch") => format!("it has {more} other branches"),
                    (more, _) => format!("it has {more} other {what}s"),
                }
            } else {
                let near: Vec<String> = near.iter().map(|name| shown(name)).collect();
                format!("near names are {}", near.join(", "))
            };
            let near: Vec<Name> = near.iter().map(|name| Name::new(name)).collect();
            Error::new(
                Kind::RefNotFound,
                format!("{url} has no {what} `{asked}`; {hint}"),
            )
            .with(Key::Near, near)
        };
        error.with(Key::Url, url).with(Key::Ref, Name::new(short))
    }

    /// Brings what `wanted` needs into the repository at `git_dir`. Moves no ref. `held` is what
    /// must not be let go while a thread is still at work there.
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
        let git_dir = git_dir.to_owned();
        let wants: Vec<Oid> = wanted.tips.iter().map(|tip| tip.commit).collect();
        let (sender, chunks) = mpsc::channel(16);
        let (ready, begun) = tokio::sync::oneshot::channel();
        let complete = Arc::new(AtomicBool::new(false));
        let indexed = {
            let (git_dir, complete) = (git_dir.clone(), complete.clone());
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
            let boundary = self
                .send(worker, &git_dir, wanted, &sender, job, held)
                .await;
            complete.store(boundary.is_ok(), Ordering::Release);
            drop(sender);
            boundary
        };
        job.progress(Phase::Receive, 0, 0, 0);
        let (sent, indexed) = tokio::join!(sent, indexed);
        let boundary = match sent {
            Ok(boundary) => boundary,
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
        let (job, held) = (job.clone(), held.clone());
        let all = wanted.depth.is_none_or(|depth| depth == 0);
        let shared = worker.clone();
        let install = move || {
            let _held = held;
            let boundary = if all {
                only_new(&git_dir, boundary)?
            } else {
                boundary
            };
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

    /// Has the remote's pack sent to `sink`.
    async fn send<H>(
        &self,
        worker: &Arc<Worker>,
        git_dir: &Path,
        wanted: &Wanted<'_>,
        sink: &mpsc::Sender<Bytes>,
        job: &Arc<Job>,
        held: &Arc<H>,
    ) -> Result<Boundary>
    where
        H: Send + Sync + 'static,
    {
        let (dir, keep) = (git_dir.to_owned(), held.clone());
        let depth = wanted.depth;
        match self {
            Remote::Network(endpoint) => {
                let wants = wanted.tips.iter().map(|tip| tip.id).collect();
                let request = worker.disk.run(move || {
                    let _keep = keep;
                    request(&dir, wants, depth)
                });
                let outcome = fetch(&worker.net, endpoint, &request.await?, sink).await?;
                Ok(Boundary {
                    shallow: outcome.shallow,
                    unshallow: outcome.unshallow,
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
                    max_bytes: fetch::DEFAULT_MAX_BYTES,
                };
                let send = move || {
                    let _keep = keep;
                    local.open()?.send(&order, &sink, &job)
                };
                worker.packing.run(send).await
            }
        }
    }
}

fn tip(found: RemoteRef) -> Tip {
    Tip {
        id: found.oid,
        commit: found.peeled_or_id(),
        symref_target: found.symref_target,
    }
}

fn remote_ref(listed: Listed) -> RemoteRef {
    RemoteRef {
        name: listed.name,
        oid: listed.oid,
        peeled: listed.peeled,
        symref_target: listed.symbolic,
    }
}

/// Whether the remote does not give what it listed, which may be over when it is asked again.
pub(crate) fn is_denied(error: &Error) -> bool {
    error.hint == Some(Hint::Moved) || fetch::is_denied(error)
}

/// What is left to say when the remote goes on denying what it lists.
pub(crate) fn denied(mut error: Error, commit: Oid) -> Error {
    if error.hint == Some(Hint::Moved) {
        return error;
    }
    error.kind = Kind::Network;
    error.context(format!(
        "the remote lists {commit} and does not give it, as if one of its servers were behind the \
         others; try again later"
    ))
}

fn request(git_dir: &Path, wants: Vec<Oid>, depth: Option<u32>) -> Result<FetchRequest> {
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
        max_bytes: fetch::DEFAULT_MAX_BYTES,
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

/// The three names that somebody most likely meant. Of longer names, and of what is left when so
/// many steps were taken, nothing is said: a server chooses both.
fn near(name: &[u8], names: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if name.len() > LONGEST_NEAR {
        return vec![];
    }
    let wanted = String::from_utf8_lossy(name).to_lowercase();
    let allowed = 2.max(wanted.len() / 3);
    let length = wanted.chars().count();
    let mut steps = 0;
    let mut ranked: Vec<(usize, &Vec<u8>)> = vec![];
    for other in names.iter().filter(|other| other.len() <= LONGEST_NEAR) {
        let lower = String::from_utf8_lossy(other).to_lowercase();
        let others = lower.chars().count();
        let related = lower.contains(&wanted) || wanted.contains(&lower);
        // `main` and `master` are meant for each other.
        let usual = ["main", "master"];
        let default = usual.contains(&wanted.as_str()) && usual.contains(&lower.as_str());
        // So much is missing in one of them, whatever they hold.
        if !related && !default && length.abs_diff(others) > allowed {
            continue;
        }
        steps += length * others;
        if steps > MAX_STEPS {
            break;
        }
        let distance = strsim::damerau_levenshtein(&wanted, &lower);
        if distance <= allowed || related || default {
            ranked.push((distance, other));
        }
    }
    ranked.sort();
    ranked
        .into_iter()
        .take(3)
        .map(|(_, name)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, Kind, Oid, denied, is_denied, near};
    use crate::error::Key;

    #[test]
    fn what_is_denied_for_long_may_come_later() {
        for kind in [Kind::RefNotFound, Kind::RepoNotFound] {
            let error =
                Error::new(kind, "https://h/r answered: not our ref").with(Key::Url, "https://h/r");
            assert!(is_denied(&error));
            let error = denied(error, Oid::ZERO_SHA1);
            assert!(
                error.kind.retryable() && error.message.ends_with("not our ref"),
                "{error}"
            );
            assert_eq!(error.detail[&Key::Url], "https://h/r".into());
        }
        assert!(!is_denied(&Error::new(Kind::Network, "cut")));
    }

    #[test]
    fn near_names_come_closest_first_and_far_ones_not_at_all() {
        let names = [
            &b"master"[..],
            b"release-1",
            b"release-12",
            b"Main",
            b"docs",
            b"caf\xe9",
        ]
        .map(<[u8]>::to_vec);
        assert_eq!(near(b"main", &names), [&b"Main"[..], b"master"]);
        assert_eq!(
            near(b"relaese-1", &names),
            [&b"release-1"[..], b"release-12"]
        );
        assert_eq!(near(b"cafe", &names), [b"caf\xe9"]);
        assert!(near(b"zzzzzz", &names).is_empty());
    }

    /// Each would take minutes if it were compared in full.
    #[test]
    fn near_names_are_not_looked_for_without_end() {
        let wanted = [b'a'; 200];
        let close = |places: [u8; 3]| [&wanted[3..], &places[..]].concat();
        let mut long: Vec<Vec<u8>> = (0..1_000).map(|_| vec![b'b'; 60_000]).collect();
        long.push(close(*b"xyz"));
        assert_eq!(near(&wanted, &long), [close(*b"xyz")]);
        let many = vec![vec![b'b'; 200]; 250_000];
        assert!(near(&wanted, &[&[close(*b"xyz")][..], &many].concat()).len() == 1);
        assert!(near(&[b'a'; 60_000], &long).is_empty());
    }
}
