//! What an operation is to those who run it.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::port::fields::Fields;
use crate::port::outbox::Held;
use crate::port::reply::Answer;
use crate::task::job::Job;
use crate::task::progress::Stats;
use crate::worker::Worker;

/// What an operation works with.
pub(crate) struct Context<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) job: &'a Arc<Job>,
    /// What its answer holds until it is written.
    pub(crate) held: &'a mut Held,
}

/// The answer, and what came over the network for it, where that is told.
pub(crate) type Done = (Answer, Option<Stats>);

/// One verb of the wire. A read of this machine is tried in three ways, the quickest first.
pub(crate) trait Operation: Sized {
    /// Whether `cached` and `blocking` may answer it.
    const IS_LOCAL_READ: bool = false;

    /// From the request's own fields.
    fn decode(fields: &mut Fields) -> Result<Self>;

    /// What it does, on what: errors of the server's own begin with it.
    fn describe(&self) -> String;

    /// The directory that it is about.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// The answer, if it is in memory. Waits for nothing, not for the disk either.
    fn cached(&self, _worker: &Worker) -> Option<Answer> {
        None
    }

    /// The answer, if nothing has to be waited for but the disk. Blocks.
    fn blocking(&self, _worker: &Worker) -> Option<Result<Answer>> {
        None
    }

    /// The answer, whatever has to be waited for.
    fn queued(self, context: Context<'_>) -> impl Future<Output = Result<Done>> + Send;
}
