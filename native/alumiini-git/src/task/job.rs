//! What a running piece of work knows of the requests it runs for: whether they still want it, and
//! where their events go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::{Error, Kind, Result};
#[cfg(feature = "fault-injection")]
use crate::task::fault::Act;
use crate::task::fault::Fault;
use crate::task::patience::Patience;
use crate::task::progress::{Event, Phase};

/// Where the events of one request go: to the client, in its reply's order, or nowhere for a
/// request without an id.
pub(crate) trait Listener: Send + Sync {
    /// Must not wait: an event may be dropped, the work may not be slowed down.
    fn event(&self, event: &Event);
}

/// One piece of work, for one request or, where identical syncs share it, for several.
pub(crate) struct Job {
    cancel: CancellationToken,
    listeners: Mutex<Vec<Arc<dyn Listener>>>,
    /// Threads and paths that the work holds.
    holds: TaskTracker,
    /// And those of work that it shared, and was the last to leave.
    left: Mutex<Vec<TaskTracker>>,
    pub(crate) fault: Fault,
    pub(crate) patience: Arc<Patience>,
    /// Microseconds since `started` at which progress was last told, to bound how often.
    told: AtomicU64,
    started: Instant,
}

/// Something that a piece of work holds, see [`Job::hold`].
pub(crate) type Hold = TaskTrackerToken;

const PROGRESS_EVERY: Duration = Duration::from_millis(50);

impl Job {
    /// Work that ends early when `cancel` is cancelled.
    pub(crate) fn new(cancel: CancellationToken, fault: Fault) -> Self {
        Job {
            cancel,
            listeners: Mutex::default(),
            holds: TaskTracker::new(),
            left: Mutex::default(),
            fault,
            patience: Arc::default(),
            told: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// For work that nobody may cancel, and that nobody is told of.
    pub(crate) fn unattended() -> Self {
        Job::new(CancellationToken::new(), Fault::default())
    }

    /// Adds a listener, which hears the events from now on.
    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Whether nobody wants the result any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// For async code, which waits for the cancellation beside its work.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Work in another thread keeps this until it ends. A cancel is answered when nothing is held
    /// any more.
    pub(crate) fn hold(&self) -> Hold {
        self.holds.token()
    }

    /// Takes over what the cancelled work `shared` still holds: this request was the last in it.
    pub(crate) fn leave(&self, shared: &Job) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(shared.holds.clone());
    }

    /// Waits until nothing is held any more. That is for ever where C code holds something and does
    /// not return.
    pub(crate) async fn released(&self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for holds in left.iter().chain([&self.holds]) {
            holds.close();
            holds.wait().await;
        }
    }

    /// For loops in blocking code. `cancelled` when nobody waits for the result any more.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::new(Kind::Cancelled, "cancelled"))
        } else {
            Ok(())
        }
    }

    /// A named moment of the work; only tests make something happen there.
    #[cfg(not(feature = "fault-injection"))]
    pub(crate) fn reach(&self, _at: &str) {}

    /// A named moment of the work. Blocks only where a test asked for a hang.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn reach(&self, at: &str) {
        use rustix::process::{Signal, getpid, kill_process};

        match self.fault.reach(at) {
            None => {}
            Some(Act::Kill) => drop(kill_process(getpid(), Signal::KILL)),
            Some(Act::Stop) => {
                let _ = kill_process(getpid(), Signal::STOP);
                // The signal may reach another thread first; by the end of this, it has stopped all
                // of them.
                std::thread::sleep(Duration::from_millis(20));
            }
            Some(Act::Hang) => {
                self.tell(&Event::Fault { at: at.to_owned() });
                while !self.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Some(Act::Wedge) => {
                self.tell(&Event::Fault { at: at.to_owned() });
                loop {
                    std::thread::park();
                }
            }
        }
    }

    /// Tells listeners how far a phase is: `done` of `total` objects, deltas or files, as
    /// `protocol/README.md` says under "Events", and the `bytes` of a pack that have arrived. At
    /// most about twenty times a second, but always the first (`done` 0) and the last.
    pub(crate) fn progress(&self, phase: Phase, done: u64, total: u64, bytes: u64) {
        let now = self.started.elapsed().as_micros() as u64;
        let edge = done == 0 || done == total;
        if edge
            || now.saturating_sub(self.told.load(Ordering::Relaxed))
                >= PROGRESS_EVERY.as_micros() as u64
        {
            self.told.store(now, Ordering::Relaxed);
            self.tell(&Event::Progress {
                phase,
                done,
                total,
                bytes,
            });
        }
    }

    /// Tells nothing once the work is cancelled or answered: an event comes before its request's
    /// reply or not at all.
    pub(crate) fn tell(&self, event: &Event) {
        if self.is_cancelled() {
            return;
        }
        for listener in self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            listener.event(event);
        }
    }
}

/// A request that shares work with others hears of it through its own job.
impl Listener for Job {
    fn event(&self, event: &Event) {
        self.tell(event);
    }
}
