//! Frames on their way to the client.
//!
//! Whoever has an answer writes it at once where that needs no waiting; otherwise a thread of its
//! own does. So an answer costs no change of threads, and still nobody waits for the client to
//! read, except the reader of requests when it has thousands of refusals to tell to a client that
//! does not listen.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

/// Events are dropped while this many frames wait: the client reads slower than they come.
const EVENTS_UP_TO: usize = 1024;
/// Refusals wait while this many frames wait.
const REFUSALS_UP_TO: usize = 8192;

/// What a frame holds until it is written: a place among the requests in flight, a share of the
/// bytes that may wait.
pub(crate) type Held = Vec<OwnedSemaphorePermit>;

/// Where frames are written to.
pub(crate) trait Output: Send + Sync {
    /// Writes what needs no waiting: how many bytes that was.
    fn try_write(&self, bytes: &[u8]) -> usize;

    /// Writes some bytes, waiting for room.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Whether nobody reads what is written any more. Waits for that at most as long as `timeout`.
    fn is_closed(&self, timeout: Duration) -> bool;
}

/// The frames that wait to be written, in the order in which they are written.
pub(crate) struct Outbox {
    output: Box<dyn Output>,
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    writing: bool,
}

struct Waiting {
    frame: Vec<u8>,
    written: usize,
    _held: Held,
}

impl Outbox {
    /// Writes to `output`. A thread has to call [`write_waiting`](Self::write_waiting).
    pub(crate) fn new(output: impl Output + 'static) -> Outbox {
        Outbox {
            output: Box::new(output),
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, queue: &mut Queue, frame: Vec<u8>, held: Held) {
        let mut written = 0;
        if queue.frames.is_empty() && !queue.writing {
            // What does not go out now is for the thread.
            written = self.output.try_write(&frame);
            if written == frame.len() {
                return;
            }
        }
        queue.frames.push_back(Waiting {
            frame,
            written,
            _held: held,
        });
        self.filled.notify_one();
    }

    /// Sends an answer. Never waits: `held` bounds how many there can be.
    pub(crate) fn answer(&self, frame: Vec<u8>, held: Held) {
        self.push(&mut self.lock(), frame, held);
    }

    /// Sends an event. Drops it while many frames wait.
    pub(crate) fn event(&self, frame: Vec<u8>) {
        let mut queue = self.lock();
        if queue.frames.len() < EVENTS_UP_TO {
            self.push(&mut queue, frame, Held::new());
        }
    }

    /// Sends the answer to a request that took no place. Waits for room: only the reader of
    /// requests calls it.
    pub(crate) fn refusal(&self, frame: Vec<u8>) {
        let mut queue = self.lock();
        while queue.frames.len() >= REFUSALS_UP_TO {
            queue = self
                .drained
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.push(&mut queue, frame, Held::new());
    }

    /// Whether everything has been handed to the system.
    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.frames.is_empty() && !queue.writing
    }

    /// See [`Output::is_closed`].
    pub(crate) fn is_closed(&self, timeout: Duration) -> bool {
        self.output.is_closed(timeout)
    }

    /// Writes what could not be written at once, until the output fails.
    pub(crate) fn write_waiting(&self) -> io::Error {
        // Frames that wait together leave together.
        let mut output = io::BufWriter::with_capacity(1 << 16, Patient(&*self.output));
        loop {
            let batch = {
                let mut queue = self.lock();
                queue.writing = false;
                self.drained.notify_all();
                while queue.frames.is_empty() {
                    queue = self
                        .filled
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                queue.writing = true;
                std::mem::take(&mut queue.frames)
            };
            for waiting in batch {
                if let Err(error) = output.write_all(&waiting.frame[waiting.written..]) {
                    return error;
                }
            }
            if let Err(error) = output.flush() {
                return error;
            }
        }
    }
}

/// Writes by waiting.
struct Patient<'a>(&'a dyn Output);

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
