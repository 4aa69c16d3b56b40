//! What one pack's objects take in memory while its deltas are resolved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::MAX_FILE;
use super::turns::Turns;
use crate::error::{Error, Key, Kind, Result};
use crate::task::job::Job;

/// Bytes that a pack may have in memory beside others, however many those are.
const FREE: u64 = 64 << 20;
/// The most bytes: the largest object, what it is made of, and some small ones.
const MAX_ALIVE: u64 = 2 * MAX_FILE as u64 + FREE;

/// The bytes of one pack's objects that are in memory.
pub(super) struct Memory<'a> {
    alive: Arc<AtomicU64>,
    /// To have more than [`FREE`], once it has.
    leave: Mutex<Option<OwnedSemaphorePermit>>,
    turns: &'a Turns,
    job: &'a Job,
}

/// Bytes that count as in memory until this is dropped.
pub(super) struct Charge {
    alive: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<'a> Memory<'a> {
    pub(super) fn new(turns: &'a Turns, job: &'a Job) -> Memory<'a> {
        Memory {
            alive: Arc::default(),
            leave: Mutex::new(None),
            turns,
            job,
        }
    }

    /// Room for so many bytes in memory, which only the leading thread of a pack waits for.
    /// `too_large` where the pack may not have as many.
    pub(super) fn charge(&self, bytes: usize, leads: bool) -> Result<Charge> {
        let bytes = bytes as u64;
        let alive = self.alive.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let charge = Charge {
            alive: self.alive.clone(),
            bytes,
        };
        if alive > MAX_ALIVE {
            let message = format!(
                "the deltas that the remote sent take more than {MAX_ALIVE} bytes of memory"
            );
            return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_ALIVE));
        }
        if alive > FREE && leads {
            let mut leave = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
            if leave.is_none() {
                *leave = Some(self.turns.large(self.job)?);
            }
        }
        Ok(charge)
    }
}
