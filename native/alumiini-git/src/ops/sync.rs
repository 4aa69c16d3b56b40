//! `sync`: make a path hold a commit of a remote's branch.
//!
//! Clones if there is nothing at the path, and otherwise fetches what is missing. Then it moves
//! refs and working tree under a marker, by which anyone can finish the move (`repo::marker`).
//! During requests to the remote only the right to sync this path is held.
//!
//! `pipeline` has the steps, `lookup` finds out what is at the path, and `arrival` makes the move,
//! for each kind of repository that may be at the path.

mod arrival;
mod lookup;
mod pipeline;
mod run;

pub(crate) use arrival::{Place, arrive};

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use git2::Oid;

use crate::error::{Error, Name, Result};
use crate::net::url;
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::secrets::{hidden, secrets};
use crate::ops::sync_guard::{Missing, SyncGuard};
use crate::port::fields::Fields;
use crate::port::remote;
use crate::port::reply::{self, Answer};
use crate::reference::{Reference, Tip, shown};
use crate::registry::{Change, Repo, Synced};
use crate::remote::Remote;
use crate::repo::raw_object;
use crate::selection::scope::Scope;
use crate::spec::SyncSpec;
use crate::task::job::Job;
use crate::task::single_flight::Lead;
use crate::worker::Worker;
use run::SyncRun;

/// Makes a path hold a commit of a remote's ref. Shares an identical sync that has not begun yet.
#[derive(Debug)]
pub(crate) struct Sync {
    pub(crate) path: PathBuf,
    pub(crate) spec: SyncSpec,
    /// A commit that the ref is expected to be at. It is fetched while the remote is asked.
    pub(crate) hint: Option<Oid>,
    /// Whether the reply says what was done.
    pub(crate) details: bool,
}

/// As on the wire: 0 is the full history.
const DEFAULT_DEPTH: u64 = 1;
const DEFAULT_KEEP: u32 = 2;
const MAX_KEEP: u64 = 1_000;
const MAX_PATHS: usize = 16_384;

impl Operation for Sync {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let reference = reference(fields)?;
        let path = fields.path("path")?;
        let depth = fields.integer("depth")?.unwrap_or(DEFAULT_DEPTH);
        let depth = u32::try_from(depth)
            .ok()
            .filter(|depth| *depth < i32::MAX as u32)
            .ok_or_else(|| {
                let max = i32::MAX - 1;
                Error::invalid(format!(
                    "`depth` is at most {max}, got {depth}; 0 is full history"
                ))
            })?;
        let spec = SyncSpec {
            reference,
            depth,
            force: fields.flag("force")?,
            keep: keep(fields)?,
            working_tree: fields.flag_or("working_tree", true)?,
            scope: scope(fields)?,
            remote: remote::spec(fields)?,
        };
        let details = fields.flag("details")?;
        let hint = fields.bytes_if("hint")?.as_deref().map(full_id);
        Ok(Sync {
            path,
            spec,
            hint: hint.transpose()?,
            details,
        })
    }

    fn describe(&self) -> String {
        let url = url::redacted(&self.spec.remote.url);
        format!("sync of {url} into {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let own = [
            &self.spec.reference.name()[..],
            self.path.as_os_str().as_bytes(),
        ];
        let hide = hidden(secrets(&self.spec.remote, &own));
        let details = self.details;
        let synced = run(context.worker, self, context.job).await.map_err(hide)?;
        let stats = synced.stats;
        let answer = match details {
            true => Answer::Synced(Box::new(synced.into())),
            false => Answer::Id(synced.tip.commit.to_string()),
        };
        Ok((answer, Some(stats)))
    }
}

impl From<Synced> for reply::Synced {
    fn from(synced: Synced) -> reply::Synced {
        let Synced {
            tip,
            branch,
            previous,
            changed,
            change,
            stats,
        } = synced;
        reply::Synced {
            sha: tip.commit.to_string(),
            branch: branch.map(|branch| Name::new(branch.as_bytes())),
            tag: (tip.id != tip.commit).then(|| tip.id.to_string()),
            previous: previous.map(|previous| previous.to_string()),
            changed,
            cloned: change == Change::Cloned,
            repaired: change == Change::Repaired,
            bytes: stats.bytes,
            objects: stats.objects,
        }
    }
}

fn scope(fields: &mut Fields) -> Result<Scope> {
    let paths = fields.names_up_to("paths", MAX_PATHS)?;
    Scope::new(paths.unwrap_or_default(), fields.names("ignore")?)
}

fn keep(fields: &mut Fields) -> Result<u32> {
    match fields.integer("keep")? {
        None => Ok(DEFAULT_KEEP),
        Some(keep @ 1..=MAX_KEEP) => Ok(keep as u32),
        Some(keep) => Err(Error::invalid(format!(
            "`keep` is from 1 to {MAX_KEEP}, got {keep}"
        ))),
    }
}

fn reference(fields: &mut Fields) -> Result<Reference> {
    let Some(reference) = fields.map("ref")? else {
        return fields.bytes("branch").map(Reference::branch);
    };
    let mut reference = Fields::new(reference);
    if let Some(branch) = reference.bytes_if("branch")? {
        return Ok(Reference::branch(branch));
    }
    if let Some(tag) = reference.bytes_if("tag")? {
        let (id, commit) = (reference.bytes_if("id")?, reference.bytes_if("commit")?);
        return Ok(match commit.as_deref().map(full_id).transpose()? {
            None => Reference::Tag(tag),
            Some(commit) => {
                let id = id.as_deref().map(full_id).transpose()?.unwrap_or(commit);
                let symref_target = None;
                Reference::TagAt(
                    tag,
                    Tip {
                        id,
                        commit,
                        symref_target,
                    },
                )
            }
        });
    }
    if let Some(commit) = reference.bytes_if("commit")? {
        return full_id(&commit).map(Reference::Commit);
    }
    if let Some(name) = reference.bytes_if("name")? {
        return Ok(Reference::Full(name));
    }
    if reference.flag("default")? {
        return Ok(Reference::Default);
    }
    Err(Error::invalid(
        "field `ref` is a map of `branch`, `tag`, `commit`, `name` or `default`",
    ))
}

/// An abbreviated id may name another object later, and servers do not resolve it.
fn full_id(hex: &[u8]) -> Result<Oid> {
    raw_object::id(hex).ok_or_else(|| {
        let message = format!(
            "`{}` is not the full id of a commit: 40 hexadecimal digits",
            shown(hex)
        );
        Error::invalid(message)
    })
}

async fn run(worker: &Arc<Worker>, sync: Sync, job: &Arc<Job>) -> Result<Synced> {
    let Sync {
        path, spec, hint, ..
    } = sync;
    let remote = Remote::new(worker, &spec.remote)?;
    spec.reference.full()?;
    let repo = {
        let shared = worker.clone();
        worker.reads.run(move || shared.repo_at(&path)).await?
    };
    let (worker, leads, wanted) = (worker.clone(), repo.clone(), spec.clone());
    let go = |flight: Lead<SyncSpec, Synced>| lead(flight, worker, leads, remote, wanted, hint);
    repo.syncs.run(spec, job, go).await
}

/// Runs the sync, for all requests that share it.
async fn lead(
    flight: Lead<SyncSpec, Synced>,
    worker: Arc<Worker>,
    repo: Arc<Repo>,
    remote: Remote,
    spec: SyncSpec,
    hint: Option<Oid>,
) -> Result<Synced> {
    let turn = repo.turn.clone().lock_owned().await;
    flight.begin();
    let guard = SyncGuard::take(&worker, &repo, turn, flight.job(), Missing::Make).await?;
    let run = SyncRun {
        guard: guard.clone(),
        remote,
        spec,
        hint,
        hinted: OnceLock::new(),
    };
    guard.end(run.run().await).await
}
