//! The turns that packs take at the processor and at memory.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Kind, Result};
use crate::task::job::Job;
use crate::task::pool::Pool;

/// How long a thread works before it looks whether another pack waits for one.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// What all packs that arrive share: so many threads for all of them together, none of them for
/// long while another pack waits.
pub(crate) struct Turns {
    pub(super) threads: Pool,
    /// For packs that take a lot of memory.
    large: Pool,
    /// The most threads of one pack.
    pub(super) most: usize,
}

/// A thread's turn at the processor, until it is dropped.
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    began: Instant,
}

impl Turns {
    /// `cores`: how many threads are at work at a time, of all packs.
    pub(crate) fn new(cores: usize) -> Turns {
        Turns {
            threads: Pool::new(cores),
            large: Pool::new(2),
            most: cores.min(8),
        }
    }

    /// Waits for a turn at the processor. `cancelled` where the job is.
    pub(super) fn begin(&self, job: &Job) -> Result<Turn> {
        Ok(Turn {
            _place: place(&self.threads, job)?,
            began: Instant::now(),
        })
    }

    /// Waits until this pack may take a lot of memory, as two may at a time. `cancelled` where the
    /// job is.
    pub(super) fn large(&self, job: &Job) -> Result<OwnedSemaphorePermit> {
        place(&self.large, job)
    }
}

impl Turn {
    /// Whether it is time to look whether another pack waits.
    pub(super) fn is_over(&self) -> bool {
        self.began.elapsed() > TURN
    }
}

/// Waits for a place, unless the job is cancelled.
fn place(pool: &Pool, job: &Job) -> Result<OwnedSemaphorePermit> {
    if let Some(place) = pool.try_take() {
        return Ok(place);
    }
    Handle::current().block_on(async {
        tokio::select! {
            place = pool.take(1) => place,
            () = job.token().cancelled() => Err(Error::new(Kind::Cancelled, "cancelled")),
        }
    })
}
