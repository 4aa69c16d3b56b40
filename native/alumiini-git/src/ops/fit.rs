//! Answers whose size shows only once what they are of is looked at.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::ops::operation::Context;
use crate::ops::stable_read::{self, Source};
use crate::task::share::FREE;

pub(crate) enum Fit<T> {
    Whole(T),
    /// Not made, since it needs so many bytes, more than it was allowed.
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

/// Runs `read`, which is told how many bytes it may use, at `path`.
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

/// Makes an answer by `attempt`, which is told how many bytes it may use. [`FREE`] serves almost
/// all; what needs more is begun again with that, once so much may wait to be written to the
/// client.
pub(super) async fn fit<T, A>(context: Context<'_>, mut attempt: impl FnMut(u64) -> A) -> Result<T>
where
    A: Future<Output = Result<Fit<T>>>,
{
    let mut allowance = FREE;
    loop {
        match attempt(allowance).await? {
            Fit::Whole(whole) => return Ok(whole),
            Fit::Needs(bytes) => {
                // It may have grown; who holds some and waits for more could wait for ever.
                context.held.clear();
                context
                    .held
                    .push(context.worker.unsent.take(bytes as usize).await?);
                allowance = bytes;
            }
        }
    }
}
