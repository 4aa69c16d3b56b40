//! Bounds: how many blocking threads one kind of work has, or how many bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Result, panicked};

/// So many places, for threads or for bytes. Those who wait get them in order.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    size: usize,
}

impl Pool {
    /// `size`: how many places there are.
    pub(crate) fn new(size: usize) -> Pool {
        Pool {
            places: Arc::new(Semaphore::new(size)),
            size,
        }
    }

    /// Runs `work` on a blocking thread once a place is free. If the future is dropped before, the
    /// work never runs; if later, the work runs to its end and keeps its place until then.
    ///
    /// The errors of `work`; `internal` where it panicked.
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

    /// Waits for `count` places, or for all where there are not as many.
    pub(crate) async fn take(&self, count: usize) -> Result<OwnedSemaphorePermit> {
        let count = u32::try_from(count.min(self.size)).unwrap_or(u32::MAX);
        self.places
            .clone()
            .acquire_many_owned(count)
            .await
            .map_err(|_| panicked())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn so_many_threads_are_at_work_and_no_more() {
        let pool = Arc::new(Pool::new(3));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..50).map(|_| {
            let (pool, now, most) = (pool.clone(), now.clone(), most.clone());
            tokio::spawn(async move {
                let count = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                pool.run(count).await
            })
        });
        for work in work.collect::<Vec<_>>() {
            work.await.unwrap().unwrap();
        }
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }
}
