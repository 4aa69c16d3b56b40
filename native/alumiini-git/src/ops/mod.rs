//! The operations: one verb, one file.

pub(crate) mod checkout;
pub(crate) mod files;
pub(crate) mod head;
pub(crate) mod ls_remote;
pub(crate) mod normalize;
pub(crate) mod pool;
pub(crate) mod probe;
pub(crate) mod read;
pub(crate) mod refs;
pub(crate) mod settled;
mod site;
pub(crate) mod sync;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Oid;
use rmpv::Value;

use crate::allowed::Allowed;
use crate::answer::{Answer, Hello, Name, Stats};
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::net::proxy::Route;
use crate::net::secrets::Secrets;
use crate::net::url::{self, RemoteUrl};
use crate::net::{Endpoint, Net};
use crate::ops::pool::Pool;
use crate::outbox::Held;
use crate::protocol::{Op, PROTOCOL, RefName, RemoteRequest, Request};
use crate::repo::at_once::AtOnce;
use crate::repo::glance::Glances;
use crate::repo::opened::Opened;
use crate::repo::pack::Turns;
use crate::repo::sound_tree::SoundTrees;
use crate::repos::Repos;
use crate::sharing::Errands;

/// What a remote is asked: what one of its refs is at, by its full name.
type Question = (Endpoint, Vec<u8>);

/// What all requests share. The pools are apart so that slow remotes can stop no read, no cancel and no exit.
pub(crate) struct Worker {
    pub(crate) repos: Repos,
    pub(crate) net: Net,
    /// Which remotes may be reached.
    pub(crate) allowed: Allowed,
    /// What remotes are being asked: many paths may want to know the same.
    pub(crate) polls: Arc<Errands<Question, Option<Oid>>>,
    /// Repositories that were found as they should be.
    pub(crate) glances: Glances,
    /// Where files may be read without waiting.
    pub(crate) at_once: AtOnce,
    /// Repositories without a working tree that are being read.
    pub(crate) trees: Opened,
    /// Directories of commits that may be checked out.
    pub(crate) sound_trees: SoundTrees,
    /// Local reads: `files`, `read`, `head`.
    pub(crate) reads: Pool,
    /// Bytes of files and refs that may wait to be written to the client.
    pub(crate) unsent: Pool,
    /// Short work on a repository during a sync: opening, comparing, moving refs and files.
    pub(crate) disk: Pool,
    /// One thread per pack that is arriving, for as long as it takes.
    pub(crate) indexing: Pool,
    /// Packs that are made of local remotes' objects. Apart, since one of these may be on a file system that hangs.
    pub(crate) packing: Pool,
    /// What resolves the deltas of packs that have arrived.
    pub(crate) resolving: Turns,
}

impl Worker {
    pub(crate) fn new() -> Arc<Worker> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Worker {
            repos: Repos::default(),
            net: Net::new(),
            allowed: Allowed::default(),
            polls: Arc::default(),
            glances: Glances::new(),
            at_once: AtOnce::default(),
            trees: Opened::default(),
            sound_trees: SoundTrees::default(),
            reads: Pool::new(cores * 4),
            unsent: Pool::new(64 << 20),
            disk: Pool::new(cores * 2),
            indexing: Pool::new(512),
            packing: Pool::new(cores * 2),
            resolving: Turns::new(cores),
        })
    }
}

pub(crate) async fn run(
    worker: &Arc<Worker>,
    op: Op,
    job: &Arc<Job>,
    held: &mut Held,
) -> Result<(Answer, Option<Stats>)> {
    let path = path_of(&op).map(Path::to_owned);
    match (answer(worker, op, job, held).await, path) {
        (Err(error), Some(path)) if error.detail.contains_key("path") => {
            let located = tokio::task::spawn_blocking(move || locate(&path, error)).await;
            Err(located.unwrap_or_else(|_| panicked()))
        }
        (result, _) => result,
    }
}

async fn answer(worker: &Arc<Worker>, op: Op, job: &Arc<Job>, held: &mut Held) -> Result<(Answer, Option<Stats>)> {
    #[cfg(feature = "fault-injection")]
    start(job).await?;
    let answer = match op {
        Op::Hello {
            protocol,
            limits,
            allow,
        } => {
            let answer = hello(protocol)?;
            worker.net.gates.limit(limits);
            worker.allowed.set(allow);
            answer
        }
        // The reader of requests carries it out itself.
        Op::Cancel { .. } => return Err(Error::new(Kind::Internal, "a cancel is not an operation")),
        Op::Ping => Answer::Flag(true),
        Op::Sync(request) => {
            let own = [request.branch.as_bytes(), request.path.as_os_str().as_bytes()];
            let hide = hidden(secrets(&request.remote, &own));
            let synced = sync::run(worker, request, job).await.map_err(hide)?;
            return Ok((Answer::Id(synced.sha), Some(synced.stats)));
        }
        Op::Files { path, subpath } => files::run(worker, path, subpath).await?,
        Op::Read {
            path,
            file,
            raw,
            max_bytes,
        } => read::run(worker, path, file, raw, max_bytes, held).await?,
        Op::Head { path } => head::run(worker, path).await?,
        Op::Checkout { path, rev, force } => checkout::run(worker, path, rev, force, job).await?,
        Op::LsRemote { remote, name } => {
            let (RefName::Branch(own) | RefName::Tag(own) | RefName::Full(own)) = &name;
            let hide = hidden(secrets(&remote, &[own]));
            ls_remote::run(worker, &remote, &name).await.map_err(hide)?
        }
        Op::Refs {
            remote,
            prefixes,
            max_bytes,
        } => {
            let own: Vec<&[u8]> = prefixes.iter().map(Vec::as_slice).collect();
            let hide = hidden(secrets(&remote, &own));
            let listed = refs::run(worker, &remote, &prefixes, max_bytes, held).await;
            listed.map_err(hide)?
        }
        Op::Normalize(url) => normalize::run(&url)?,
        Op::Probe { remote } => {
            let secrets = secrets(&remote, &[]);
            let probed = probe::run(worker, &remote, &secrets).await;
            probed.map_err(hidden(secrets))?
        }
    };
    Ok((answer, None))
}

/// The directory that an operation is about.
fn path_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Sync(sync) => Some(&sync.path),
        Op::Files { path, .. } | Op::Read { path, .. } | Op::Head { path } | Op::Checkout { path, .. } => Some(path),
        Op::Hello { .. } | Op::Cancel { .. } | Op::Ping | Op::Normalize(_) => None,
        Op::LsRemote { .. } | Op::Refs { .. } | Op::Probe { .. } => None,
    }
}

/// Says in an error's detail what the request calls them: `path` is its directory, and `file` what is meant there. Blocks.
fn locate(path: &Path, mut error: Error) -> Error {
    let bytes = |value: &Value| match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Binary(bytes) => Some(bytes.clone()),
        _ => None,
    };
    let Some(named) = error.detail.get("path").and_then(bytes) else {
        return error;
    };
    let named = PathBuf::from(OsString::from_vec(named));
    let real = path.canonicalize().ok();
    let below = [Some(path), real.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|root| named.strip_prefix(root).ok());
    let file = below.unwrap_or(&named);
    if !file.as_os_str().is_empty() && !error.detail.contains_key("file") {
        error.detail.insert("file", Name::of(file));
    }
    error.with("path", Name::of(path))
}

/// Whether [`try_read`] may answer the request.
pub(crate) fn is_local_read(request: &Request) -> bool {
    matches!(request.op, Op::Files { .. } | Op::Read { .. } | Op::Head { .. }) && !request.fault.is_set()
}

/// Answers a read of what is in memory, where it has to wait for nothing at all.
pub(crate) fn read_at_once(worker: &Worker, op: &Op) -> Option<Answer> {
    match op {
        Op::Read {
            path,
            file,
            raw,
            max_bytes,
        } => read::at_once(worker, path, file, *raw, *max_bytes),
        _ => None,
    }
}

/// Answers a read of the disk, where it has to wait for nothing else. Blocks.
pub(crate) fn try_read(worker: &Worker, op: &Op) -> Option<Result<Answer>> {
    let located = |error| match path_of(op) {
        Some(path) => locate(path, error),
        None => error,
    };
    let answer = match op {
        Op::Files { path, subpath } => files::now(worker, path, subpath),
        Op::Read {
            path,
            file,
            raw,
            max_bytes,
        } => read::now(worker, path, file, *raw, *max_bytes),
        Op::Head { path } => head::now(worker, path),
        _ => None,
    };
    answer.map(|answer| answer.map_err(located))
}

/// The fault at `start`, in a thread of its own since it may park there.
#[cfg(feature = "fault-injection")]
async fn start(job: &Arc<Job>) -> Result<()> {
    if !job.fault.is_set() {
        return Ok(());
    }
    let job = job.clone();
    tokio::task::spawn_blocking(move || job.reach("start"))
        .await
        .map_err(|_| panicked())
}

/// Takes the credentials of a request out of its error.
fn hidden(secrets: Secrets) -> impl Fn(Error) -> Error {
    move |error| secrets.hide_in(error)
}

/// What a request holds that no answer may repeat. `own`: what it says itself, beside its URL.
pub(crate) fn secrets(remote: &RemoteRequest, own: &[&[u8]]) -> Secrets {
    let mut secrets = Secrets::default();
    let url = RemoteUrl::parse(&remote.url).ok();
    let mut words = url.as_ref().map_or(String::new(), RemoteUrl::shown);
    for own in own {
        words.push('\n');
        words.push_str(&String::from_utf8_lossy(own));
    }
    // Both, whichever of them counts.
    let in_url = url.as_ref().and_then(RemoteUrl::auth);
    for auth in remote.auth.iter().chain(in_url) {
        auth.add_secrets(&mut secrets, &words);
    }
    if let Ok(Some(route)) = Route::new(remote.proxy.as_deref(), None) {
        route.add_secrets(&mut secrets, &words);
    }
    secrets
}

fn hello(protocol: u64) -> Result<Answer> {
    if protocol != PROTOCOL {
        let message = format!(
            "the client speaks protocol {protocol}, this worker ({}) speaks {PROTOCOL}; use the binary and the library of \
             one release",
            env!("CARGO_PKG_VERSION")
        );
        return Err(Error::new(Kind::Protocol, message));
    }
    Ok(Answer::Hello(Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION"),
        libgit2: crate::libgit2_version(),
        pid: std::process::id(),
        target: env!("TARGET"),
    }))
}

/// Names a request in an error of the server's own: what, on what.
pub(crate) fn describe(op: &Op) -> String {
    let url = |remote: &RemoteRequest| url::shown(&remote.url);
    match op {
        Op::Hello { .. } => "hello".into(),
        Op::Cancel { .. } => "cancel".into(),
        Op::Ping => "ping".into(),
        Op::Sync(sync) => format!("sync of {} into {}", url(&sync.remote), sync.path.display()),
        Op::Files { path, .. } => format!("files of {}", path.display()),
        Op::Read { path, file, .. } => format!("read of {}", path.join(file).display()),
        Op::Head { path } => format!("head of {}", path.display()),
        Op::Checkout { path, .. } => format!("checkout of {}", path.display()),
        Op::LsRemote { remote, .. } => format!("ls_remote of {}", url(remote)),
        Op::Refs { remote, .. } => format!("refs of {}", url(remote)),
        Op::Normalize(url) => format!("normalize of {}", url::shown(url)),
        Op::Probe { remote } => format!("probe of {}", url(remote)),
    }
}

/// The answer to a request whose work panicked. The panic itself went to standard error.
pub(crate) fn panicked() -> Error {
    Error::new(
        Kind::Internal,
        "the worker failed in an unforeseen way (a panic); please report it with the worker's log",
    )
}
