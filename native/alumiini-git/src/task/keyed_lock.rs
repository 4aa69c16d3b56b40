//! One at a time, for each of many things that come and go.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

/// A lock for each key. One that nobody holds or waits for takes no room.
pub(crate) struct KeyedLock<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedLock<K> {
    fn default() -> Self {
        KeyedLock(Mutex::default())
    }
}

impl<K: Eq + Hash> KeyedLock<K> {
    /// Waits for the lock of `key`, at most for `patience`; none when that is over.
    pub(crate) async fn take(&self, key: K, patience: Duration) -> Option<OwnedMutexGuard<()>> {
        let lock = self.of(key).lock_owned();
        tokio::time::timeout(patience, lock).await.ok()
    }

    fn of(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        // A sweep now and then keeps the map as small as what is in use, at a cost that does not
        // grow with each call.
        if locks.len() >= 64 && locks.len() == locks.capacity() {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
#[path = "keyed_lock_tests.rs"]
mod tests;
