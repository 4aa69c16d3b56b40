//! Frames on their way to standard output. One thread writes them; nobody else ever waits for the client to read,
//! except the reader of requests when it has thousands of refusals to tell to a client that does not listen.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::frame;

/// Events are dropped while this many frames wait: the client reads slower than they come.
const EVENTS_UP_TO: usize = 1024;
/// Refusals wait while this many frames wait.
const REFUSALS_UP_TO: usize = 8192;

/// What a frame holds until it is written: a place among the requests in flight, a share of the bytes that may wait.
pub(crate) type Held = Vec<OwnedSemaphorePermit>;

#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Vec<u8>, Held)>,
    writing: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an answer. Never waits: `held` bounds how many there can be.
    pub(crate) fn answer(&self, frame: Vec<u8>, held: Held) {
        self.lock().frames.push_back((frame, held));
        self.filled.notify_one();
    }

    /// Queues an event, or drops it.
    pub(crate) fn event(&self, frame: Vec<u8>) {
        let mut queue = self.lock();
        if queue.frames.len() < EVENTS_UP_TO {
            queue.frames.push_back((frame, Held::new()));
            self.filled.notify_one();
        }
    }

    /// Queues the answer to a request that took no place. Waits for room: only the reader of requests calls it.
    pub(crate) fn refusal(&self, frame: Vec<u8>) {
        let mut queue = self.lock();
        while queue.frames.len() >= REFUSALS_UP_TO {
            queue = self.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.frames.push_back((frame, Held::new()));
        self.filled.notify_one();
    }

    /// Whether everything queued has been handed to the system.
    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.frames.is_empty() && !queue.writing
    }

    /// Writes frames until the output fails. Frames that are ready together leave in one write.
    pub(crate) fn write_to(&self, output: impl Write) -> io::Error {
        let mut output = io::BufWriter::with_capacity(1 << 16, output);
        loop {
            let batch = {
                let mut queue = self.lock();
                queue.writing = false;
                self.drained.notify_all();
                while queue.frames.is_empty() {
                    queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.writing = true;
                std::mem::take(&mut queue.frames)
            };
            for (body, held) in batch {
                if let Err(error) = frame::write(&mut output, &body) {
                    return error;
                }
                drop(held);
            }
            if let Err(error) = output.flush() {
                return error;
            }
        }
    }
}
