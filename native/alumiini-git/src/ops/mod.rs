//! The operations: one verb, one file.

pub(crate) mod checkout;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod files;
mod fit;
pub(crate) mod head;
pub(crate) mod hello;
pub(crate) mod hosts;
pub(crate) mod lease;
pub(crate) mod log;
pub(crate) mod ls_remote;
pub(crate) mod normalize;
mod object_read;
mod operation;
pub(crate) mod ping;
pub(crate) mod probe;
pub(crate) mod read;
pub(crate) mod refs;
mod secrets;
pub(crate) mod snapshot;
pub(crate) mod stable_read;
pub(crate) mod status;
pub(crate) mod sync;
mod sync_guard;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Detail, Error, Key, Name, Result, panicked};
use crate::ops::operation::Operation;
pub(crate) use crate::ops::operation::{Context, Done};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::port::request;
use crate::worker::Worker;

pub(crate) type Message = request::Message<Op>;
pub(crate) type Request = request::Request<Op>;

/// The list of operations. The macro makes from it how they are decoded, named in errors, and run.
macro_rules! operations {
    ($($name:literal => $module:ident :: $op:ident,)*) => {
        #[derive(Debug)]
        pub(crate) enum Op { $($op($module::$op),)* }

        impl Op {
            const NAMES: &[&str] = &["cancel", $($name,)*];

            fn decode(name: &str, fields: &mut Fields) -> Result<Op> {
                match name {
                    $($name => $module::$op::decode(fields).map(Op::$op),)*
                    other => Err(unknown(other)),
                }
            }

            /// What the operation does, and on what, for errors of the server's own.
            pub(crate) fn describe(&self) -> String {
                match self { $(Op::$op(op) => op.describe(),)* }
            }

            fn path(&self) -> Option<&Path> {
                match self { $(Op::$op(op) => op.path(),)* }
            }

            fn is_local_read(&self) -> bool {
                match self { $(Op::$op(_) => $module::$op::IS_LOCAL_READ,)* }
            }

            /// See [`Operation::cached`].
            pub(crate) fn cached(&self, worker: &Worker) -> Option<Answer> {
                match self { $(Op::$op(op) => op.cached(worker),)* }
            }

            fn any_blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
                match self { $(Op::$op(op) => op.blocking(worker),)* }
            }

            async fn any_queued(self, context: Context<'_>) -> Result<Done> {
                match self { $(Op::$op(op) => op.queued(context).await,)* }
            }
        }
    };
}

operations! {
    "hello" => hello::Hello,
    "ping" => ping::Ping,
    "hosts" => hosts::Hosts,
    "sync" => sync::Sync,
    "files" => files::Files,
    "read" => read::Read,
    "head" => head::Head,
    "snapshot" => snapshot::Snapshot,
    "diff" => diff::Diff,
    "log" => log::Log,
    "export" => export::Export,
    "status" => status::Status,
    "lease" => lease::Lease,
    "release" => lease::Release,
    "checkout" => checkout::Checkout,
    "ls_remote" => ls_remote::LsRemote,
    "refs" => refs::Refs,
    "normalize" => normalize::Normalize,
    "probe" => probe::Probe,
}

/// Decodes the body of a frame.
pub(crate) fn decode(body: &[u8]) -> Result<Message, (Option<u64>, Error)> {
    request::decode(body, Op::decode)
}

fn unknown(name: &str) -> Error {
    let shown: String = name
        .chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect();
    let known = Op::NAMES.join(", ");
    Error::invalid(format!("unknown op `{shown}`; this worker knows {known}"))
}

/// Whether [`Op::cached`] and [`Op::blocking`] may answer the request.
pub(crate) fn is_local_read(request: &Request) -> bool {
    request.op.is_local_read() && !request.fault.is_set()
}

impl Op {
    /// See [`Operation::blocking`].
    pub(crate) fn blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
        let answer = self.any_blocking(worker)?;
        Some(answer.map_err(|error| match self.path() {
            Some(path) => locate(path, error),
            None => error,
        }))
    }

    /// See [`Operation::queued`].
    pub(crate) async fn queued(self, context: Context<'_>) -> Result<Done> {
        #[cfg(feature = "fault-injection")]
        start(context.job).await?;
        let path = self.path().map(Path::to_owned);
        match (self.any_queued(context).await, path) {
            (Err(error), Some(path)) if error.detail.contains_key(&Key::Path) => {
                let located = tokio::task::spawn_blocking(move || locate(&path, error)).await;
                Err(located.unwrap_or_else(|_| panicked()))
            }
            (result, _) => result,
        }
    }
}

/// Puts the names that the request uses into an error's detail: `path` is its directory, and `file`
/// is the file in that. Blocks.
fn locate(path: &Path, mut error: Error) -> Error {
    let Some(Detail::Text(named)) = error.detail.get(&Key::Path) else {
        return error;
    };
    let named = named.clone();
    let named = PathBuf::from(OsString::from_vec(named.0));
    let real = path.canonicalize().ok();
    let below = [Some(path), real.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|root| named.strip_prefix(root).ok());
    let file = below.unwrap_or(&named);
    if !file.as_os_str().is_empty() && !error.detail.contains_key(&Key::File) {
        error.detail.insert(Key::File, Name::of(file).into());
    }
    error.with(Key::Path, Name::of(path))
}

/// The fault at `start`, in a thread of its own since it may park there.
#[cfg(feature = "fault-injection")]
async fn start(job: &std::sync::Arc<crate::task::job::Job>) -> Result<()> {
    if !job.fault.is_set() {
        return Ok(());
    }
    let job = job.clone();
    tokio::task::spawn_blocking(move || job.reach("start"))
        .await
        .map_err(|_| panicked())
}

#[cfg(test)]
mod wire_golden_tests;
#[cfg(test)]
mod wire_noise_tests;
#[cfg(test)]
mod wire_request_tests;
#[cfg(test)]
mod wire_tests;
