//! A remote, over the network or on this machine: what its refs are at, and its objects.

mod fetch;
mod local;
mod not_found;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;

use crate::error::{Error, Hint, Kind, Result, panicked};
use crate::net::Endpoint;
use crate::net::git::advertised::{DEFAULT_MAX_BYTES, RemoteRef, Wanted as WantedRefs};
use crate::net::git::fetch as net_fetch;
use crate::net::git::ls_refs::ls_refs;
use crate::net::proxy::ProxySettings;
use crate::net::url::{Location, NetUrl, RemoteUrl};
use crate::policy::Allow;
use crate::reference::{Tip, named};
use crate::spec::RemoteSpec;
use crate::task::job::Job;
use crate::task::patience;
use crate::task::share::{FREE, Share};
use crate::task::single_flight::Lead;
use crate::worker::{Question, Worker};
use local::Local;

/// How long a question may take before the next one for the same does not wait for it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a request reads from.
pub(crate) enum Remote {
    Network(Box<Endpoint>),
    Local(Local),
}

/// What a fetch is to bring.
pub(crate) struct Wanted<'a> {
    /// At least one; the first is what is to be checked out.
    pub(crate) tips: &'a [Tip],
    /// The full name of the ref that is, or was, at the first. `None` where a commit is asked for
    /// that no ref need be at.
    pub(crate) name: Option<&'a [u8]>,
    /// Commits of history; 0 is all of it. `None`: leave the depth of the repository as it is.
    pub(crate) depth: Option<u32>,
    /// Whether the content of files is to stay away, where the remote can leave it out.
    pub(crate) without_files: bool,
    /// Whether the tips are what somebody said, not the remote.
    pub(crate) is_guess: bool,
}

impl Remote {
    /// Takes the URL apart and applies the rules of [`crate::policy`]. Asks nobody yet.
    ///
    /// `invalid`: a URL, proxy or credentials that cannot be used. `unsupported`: a scheme that
    /// this worker does not speak, or that its rules forbid. `auth`: an SSH URL without
    /// credentials.
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
            Location::Local(path) => Ok(Remote::Local(Local::new(path, shown, allow))),
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
            Remote::Local(local) => local.redacted().to_owned(),
        }
    }

    /// What the remote's ref `name` is at: `HEAD`, or a full ref name. Requests that ask the same
    /// at the same time share the answer; it is never older than the call.
    ///
    /// `ref_not_found`, with the names of near ones; else the errors of [`ls_refs`] or, for a
    /// repository of this machine, of [`Source::find`](crate::repo::source::Source::find).
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
                patience::asked();
                let (local, name) = (local.clone(), name.to_owned());
                let find = move || local.find(&name);
                worker.disk.run(find).await?
            }
        };
        match found {
            Some(tip) => Ok(tip),
            None => Err(self.not_found(worker, name).await),
        }
    }

    /// The refs that are `wanted`; none where nothing matches. `too_large` where they have more
    /// bytes than `wanted` allows; else as for [`Remote::resolve`].
    pub(crate) async fn refs(
        &self,
        worker: &Arc<Worker>,
        wanted: WantedRefs<'_>,
    ) -> Result<Vec<RemoteRef>> {
        match self {
            Remote::Network(endpoint) => ls_refs(&worker.net, endpoint, wanted).await,
            Remote::Local(local) => {
                patience::asked();
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

    /// What all branches and tags are at, branches first; each object once. Errors as for
    /// [`Remote::refs`].
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
                return not_found::among_many(self.redacted(), what, short);
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
            (not_found::near(&wanted, &names), names, held)
        });
        let Ok((near, names, _held)) = compared.await else {
            return panicked();
        };
        not_found::among(self.redacted(), what, short, &names, &near)
    }
}

fn tip(found: RemoteRef) -> Tip {
    Tip {
        id: found.oid,
        commit: found.peeled_or_id(),
        symref_target: found.symref_target,
    }
}

/// Whether the remote did not send what it listed. That may succeed when it is asked again: the ref
/// moved, or one of several servers is behind the others.
pub(crate) fn is_denied(error: &Error) -> bool {
    error.hint == Some(Hint::Moved) || net_fetch::is_denied(error)
}

/// The error for a remote that still does not send what it lists, after it was asked again: a
/// `network` error, which callers may retry later.
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

#[cfg(test)]
mod tests {
    use super::{Error, Kind, Oid, denied, is_denied};
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
}
