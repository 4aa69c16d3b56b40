//! What one request may hold of memory that all requests share.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::error::Result;
use crate::task::pool::Pool;

/// Bytes that each request may hold without a share: almost every manifest, commit and list is
/// smaller.
pub(crate) const FREE: u64 = 64 << 10;

/// A part of a pool of bytes. It is taken once and in whole, before what it is for is made: who
/// holds some of what there is and waits for more, waits for others who do the same.
pub(crate) struct Share<'a> {
    pool: &'a Pool,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl<'a> Share<'a> {
    /// A share of `pool`, whose places are bytes. Nothing is taken yet.
    pub(crate) fn of(pool: &'a Pool) -> Share<'a> {
        Share {
            pool,
            held: Mutex::default(),
        }
    }

    /// Waits for so many bytes. Does nothing where some were taken before.
    pub(crate) async fn take(&self, bytes: u64) -> Result<()> {
        if self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
        {
            let permit = self
                .pool
                .take(usize::try_from(bytes).unwrap_or(usize::MAX))
                .await?;
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        }
        Ok(())
    }

    /// Gives back what is held beyond `bytes`, and returns the rest. `None` where nothing was
    /// taken.
    pub(crate) fn into_permit(self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let mut permit = self
            .held
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)?;
        let spare = permit
            .num_permits()
            .saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        drop(permit.split(spare));
        Some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_taken_once_and_what_is_not_needed_goes_back() {
        let pool = Pool::new(100);
        let share = Share::of(&pool);
        share.take(80).await.unwrap();
        share.take(80).await.unwrap();
        let kept = share.into_permit(30).unwrap();
        assert_eq!(kept.num_permits(), 30);
        let other = Share::of(&pool);
        other.take(70).await.unwrap();
        assert!(pool.try_take().is_none());
        drop(kept);
        assert!(pool.try_take().is_some());
        assert!(Share::of(&pool).into_permit(10).is_none());
    }
}
