//! A share of the blocking threads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Result, panicked};

pub(crate) struct Pool {
    places: Arc<Semaphore>,
    size: usize,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Pool {
        Pool {
            places: Arc::new(Semaphore::new(size)),
            size,
        }
    }

    /// Runs `work` on a blocking thread once a place is free. Dropping the future before that gives the place up; after
    /// that the work goes on to its end, and keeps its place.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let place = self.take(1).await?;
        let thread = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        thread.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// A place, if one is free now.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Waits for `count` places; more than there are count as all.
    pub(crate) async fn take(&self, count: usize) -> Result<OwnedSemaphorePermit> {
        let count = u32::try_from(count.min(self.size)).unwrap_or(u32::MAX);
        self.places
            .clone()
            .acquire_many_owned(count)
            .await
            .map_err(|_| panicked())
    }
}
