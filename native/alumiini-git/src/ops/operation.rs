//! The interface of an operation.

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
    /// The memory that its reply holds until it is written.
    pub(crate) held: &'a mut Held,
}

/// The answer, and the size of the pack that arrived for it, for operations that report that.
pub(crate) type Done = (Answer, Option<Stats>);

/// One verb of the wire. A local read is tried in three ways, the quickest first: `cached`,
/// `blocking`, `queued`.
pub(crate) trait Operation: Sized {
    /// Whether `cached` and `blocking` may answer it.
    const IS_LOCAL_READ: bool = false;

    /// Decodes the request's fields.
    fn decode(fields: &mut Fields) -> Result<Self>;

    /// What the operation does, and on what: errors of the server's own begin with this.
    fn describe(&self) -> String;

    /// The directory of the request.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// The answer, if it is in memory. Waits for nothing, not even for the disk.
    fn cached(&self, _worker: &Worker) -> Option<Answer> {
        None
    }

    /// The answer, if there is nothing to wait for but the disk. Blocks.
    fn blocking(&self, _worker: &Worker) -> Option<Result<Answer>> {
        None
    }

    /// The answer, with any wait that it takes.
    fn queued(self, context: Context<'_>) -> impl Future<Output = Result<Done>> + Send;
}
