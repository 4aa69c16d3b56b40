//! Replies whose size is known only after their content was read.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::ops::operation::Context;
use crate::ops::stable_read::{self, Source};
use crate::task::share::FREE;

pub(crate) enum Fit<T> {
    Whole(T),
    /// The reply was not made: it needs this many bytes, which is more than was allowed.
    Needs(u64),
}

impl<T> Fit<T> {
    pub(super) fn whole(self) -> Option<T> {
        match self {
            Fit::Whole(whole) => Some(whole),
            Fit::Needs(_) => None,
        }
    }
}

/// Runs `read` at `path`, with the number of bytes that its reply may take.
pub(super) async fn read<T, F>(context: Context<'_>, path: PathBuf, read: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&Source<'_>, u64) -> Result<Fit<T>> + Send + Sync + 'static,
{
    let (worker, read) = (context.worker.clone(), Arc::new(read));
    fit(context, |allowance| {
        let (worker, path, read) = (worker.clone(), path.clone(), read.clone());
        async move {
            let read = move |seen: &Source<'_>| read(seen, allowance);
            stable_read::read(&worker, path, read).await
        }
    })
    .await
}

/// Makes a reply by `attempt`, which is told how many bytes it may take. [`FREE`] is enough for
/// almost all replies. A reply that needs more waits until that much memory is free for it, and is
/// made again.
pub(super) async fn fit<T, A>(context: Context<'_>, mut attempt: impl FnMut(u64) -> A) -> Result<T>
where
    A: Future<Output = Result<Fit<T>>>,
{
    let mut allowance = FREE;
    loop {
        match attempt(allowance).await? {
            Fit::Whole(whole) => return Ok(whole),
            Fit::Needs(bytes) => {
                // The reply may have grown since. A request that held memory while it waits for
                // more could wait for ever, so it gives back what it has.
                context.held.clear();
                context
                    .held
                    .push(context.worker.unsent.take(bytes as usize).await?);
                allowance = bytes;
            }
        }
    }
}
