//! Reads requests, runs them side by side, sends their answers.
//!
//! Standard input and output have OS threads of their own. Requests with an id run as tasks, as
//! many as [`MAX_IN_FLIGHT`]; requests without one are answered by one task, in order.

mod in_flight;

use std::io;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Key, Kind, Result, panicked};
use crate::ops::ping::Ping;
use crate::ops::{self, Context, Message, Op, Request};
use crate::port::connection::Connection;
use crate::port::frame::{self, Frame, MAX_REQUEST};
use crate::port::outbox::{Held, Outbox};
use crate::port::reply::{self, Answer};
use crate::task::job::{Job, Listener};
use crate::task::patience::{self, Spent};
use crate::task::progress::{Event, Stats};
use crate::worker::Worker;
use in_flight::{InFlight, cancelled, expired};

pub(crate) const MAX_IN_FLIGHT: usize = 4096;
/// Requests without an id that are read ahead of the one being answered.
const MAX_SEQUENTIAL: usize = 1024;

struct Server {
    worker: Arc<Worker>,
    outbox: Arc<Outbox>,
    in_flight: InFlight,
    slots: Arc<Semaphore>,
}

/// How often it is looked whether all is answered after the end of the input.
const FINISH: Duration = Duration::from_millis(5);
/// How late a read that hangs in the disk may be told to have passed its deadline.
const EXPIRY_TICK: Duration = Duration::from_millis(50);

/// Serves standard input until it ends, and ends the process then.
pub(crate) fn serve() -> ExitCode {
    let cannot_start = |error: io::Error| {
        eprintln!("alumiini-git: cannot start: {error}");
        ExitCode::FAILURE
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .max_blocking_threads(1024)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(error),
    };
    let connection = match Connection::stdio() {
        Ok(connection) => connection,
        Err(error) => {
            eprintln!("alumiini-git: cannot use standard output: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outbox = connection.outbox.clone();
    let writer = std::thread::Builder::new()
        .name("stdout".into())
        .spawn(move || {
            let failure = outbox.write_waiting();
            // Nobody reads our answers any more: whatever is in flight is for nobody.
            if failure.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("alumiini-git: cannot write to standard output: {failure}");
            }
            std::process::exit(0);
        });
    if let Err(error) = writer {
        return cannot_start(error);
    }
    run(connection, runtime.handle());
    std::process::exit(0)
}

/// Serves a connection until its input ends and what came without an id is answered, or until
/// nobody reads the answers.
fn run(connection: Connection, runtime: &Handle) {
    let server = Arc::new(Server {
        worker: Worker::new(),
        outbox: connection.outbox,
        in_flight: InFlight::default(),
        slots: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
    });
    let (sequential, requests) = mpsc::channel(MAX_SEQUENTIAL);
    let (done, answered) = oneshot::channel();
    runtime.spawn(server.clone().sequential(requests, done));
    let expiring = runtime.spawn(server.clone().expire_reads());
    server.read(connection.input, runtime, &sequential);
    drop(sequential);
    server.finish(answered);
    expiring.abort();
}

impl Server {
    /// Takes frames until the input ends.
    fn read(
        self: &Arc<Self>,
        mut input: impl io::Read,
        runtime: &Handle,
        sequential: &mpsc::Sender<(Request, Instant)>,
    ) {
        loop {
            let request = match frame::read(&mut input) {
                Ok(None) => return,
                Ok(Some(Frame::Body(body))) => ops::decode(&body),
                Ok(Some(Frame::TooLong(length))) => {
                    let message = format!(
                        "the frame has {length} bytes; a request has at most {MAX_REQUEST}"
                    );
                    Err((None, Error::invalid(message)))
                }
                Ok(Some(Frame::Truncated)) => Err((
                    None,
                    Error::new(Kind::Invalid, "the input ended in the middle of a frame"),
                )),
                Err(error) => {
                    eprintln!("alumiini-git: cannot read standard input: {error}");
                    return;
                }
            };
            let arrived = Instant::now();
            match request {
                Ok(Message::Cancel { id }) => {
                    if let Some(error) = self.in_flight.cancel(id) {
                        self.outbox
                            .answer(reply::reply(Some(id), &Err(error)), Held::new());
                    }
                }
                // By this thread, so that the answer says that requests are read; it waits for no
                // work.
                Ok(Message::Request(Request {
                    op: Op::Ping(_),
                    id: Some(id),
                    ..
                })) => self
                    .outbox
                    .refusal(reply::reply(Some(id), &Ok((Ping::ANSWER, None)))),
                Ok(Message::Request(request)) => match request.id {
                    // In order means one at a time: who sends without ids gets flow control by the
                    // pipe.
                    None => drop(sequential.blocking_send((request, arrived))),
                    Some(id) => {
                        if let Err(error) = self.accept(id, request, arrived, runtime) {
                            self.outbox.refusal(reply::reply(Some(id), &Err(error)));
                        }
                    }
                },
                Err((id, error)) => self.outbox.refusal(reply::reply(id, &Err(error))),
            }
        }
    }

    /// Answers reads whose deadline has passed while the disk does not answer.
    async fn expire_reads(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EXPIRY_TICK).await;
            for (id, error) in self.in_flight.expire() {
                self.outbox
                    .answer(reply::reply(Some(id), &Err(error)), Held::new());
            }
        }
    }

    fn accept(
        self: &Arc<Self>,
        id: u64,
        request: Request,
        arrived: Instant,
        runtime: &Handle,
    ) -> Result<()> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{MAX_IN_FLIGHT} requests are in flight, which is the most; try again later"
            );
            Error::new(Kind::Overloaded, message).with(Key::Limit, MAX_IN_FLIGHT as u64)
        })?;
        // Nobody else adds any, so it need not be locked from here on.
        if self.in_flight.contains(id) {
            return Err(Error::new(
                Kind::Invalid,
                format!("the id {id} is still in flight; use another"),
            ));
        }
        let local = ops::is_local_read(&request);
        if local && let Some(answer) = request.op.cached(&self.worker) {
            self.outbox
                .answer(reply::reply(Some(id), &Ok((answer, None))), vec![slot]);
            return Ok(());
        }
        let place = local.then(|| self.worker.reads.try_take()).flatten();
        let server = self.clone();
        if let Some(place) = place {
            let (what, timeout) = (request.op.describe(), request.timeout);
            self.in_flight.add_read(id, what, arrived, timeout);
            // Straight to a thread: most reads are done there before a task would have been
            // scheduled.
            runtime.spawn_blocking(move || {
                let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    request.op.blocking(&server.worker)
                }));
                drop(place);
                match read.unwrap_or_else(|_| Some(Err(panicked()))) {
                    Some(result) => {
                        if server.in_flight.take(id) {
                            let result = result.map(|answer| (answer, None));
                            server
                                .outbox
                                .answer(reply::reply(Some(id), &result), vec![slot]);
                        }
                    }
                    // It has to wait for something, so it needs a task after all.
                    None => server.task(id, request, arrived, slot, &Handle::current()),
                }
            });
        } else {
            self.in_flight.add_task(id);
            server.task(id, request, arrived, slot, runtime);
        }
        Ok(())
    }

    /// Runs a request that is in flight as a task, unless it has been answered meanwhile.
    fn task(
        self: Arc<Self>,
        id: u64,
        request: Request,
        arrived: Instant,
        slot: OwnedSemaphorePermit,
        runtime: &Handle,
    ) {
        let Some(token) = self.in_flight.begin_task(id) else {
            return;
        };
        runtime.spawn(async move {
            let listener = Requester {
                id,
                progress: request.progress,
                outbox: self.outbox.clone(),
            };
            let (result, mut held, spent) = self
                .run(request, arrived, token, Some(Arc::new(listener)))
                .await;
            self.in_flight.take(id);
            held.push(slot);
            self.outbox
                .answer(reply::reply_after(Some(id), spent, &result), held);
        });
    }

    /// Answers requests without an id, one after the other.
    async fn sequential(
        self: Arc<Self>,
        mut requests: mpsc::Receiver<(Request, Instant)>,
        done: oneshot::Sender<()>,
    ) {
        while let Some((request, arrived)) = requests.recv().await {
            let (result, held, _) = self
                .run(request, arrived, CancellationToken::new(), None)
                .await;
            self.outbox.answer(reply::reply(None, &result), held);
        }
        let _ = done.send(());
    }

    /// Runs one request to its answer, its cancellation or its deadline, whichever is first. What
    /// was cancelled or is late is answered once no thread is at work on it any more: who gets the
    /// answer may count on its place and its path. Where that never comes, it is for the client to
    /// replace this process. Returns also what was spent on it.
    async fn run(
        &self,
        request: Request,
        arrived: Instant,
        token: CancellationToken,
        listener: Option<Arc<dyn Listener>>,
    ) -> (Result<(Answer, Option<Stats>)>, Held, Spent) {
        let what = request.op.describe();
        let job = Arc::new(Job::new(token.clone(), request.fault));
        if let Some(listener) = listener {
            job.listen(listener);
        }
        // Blocking work that the request leaves behind looks at the token and stops.
        let _stop = token.clone().drop_guard();
        job.patience.until(Some(arrived + request.timeout));
        let mut held = Held::new();
        let context = Context {
            worker: &self.worker,
            job: &job,
            held: &mut held,
        };
        let work = patience::scope(job.patience.clone(), request.op.queued(context));
        let result = tokio::select! {
            biased;
            done = AssertUnwindSafe(work).catch_unwind() => {
                done.unwrap_or_else(|_| Err(panicked()))
            }
            () = token.cancelled() => Err(cancelled(&what)),
            () = tokio::time::sleep_until(arrived + request.timeout) => {
                Err(expired(&what, request.timeout))
            }
        };
        if matches!(&result, Err(error) if matches!(error.kind, Kind::Cancelled | Kind::Timeout)) {
            token.cancel();
            job.released().await;
        }
        (result, held, job.patience.spent())
    }

    /// After the end of the input: waits until what came without an id is answered, unless nobody
    /// listens.
    fn finish(&self, mut answered: oneshot::Receiver<()>) {
        let mut lane_is_done = false;
        loop {
            lane_is_done =
                lane_is_done || answered.try_recv() != Err(oneshot::error::TryRecvError::Empty);
            if lane_is_done && self.outbox.is_empty() || self.outbox.is_closed(FINISH) {
                return;
            }
        }
    }
}

/// The request that events are for.
struct Requester {
    id: u64,
    progress: bool,
    outbox: Arc<Outbox>,
}

impl Listener for Requester {
    fn event(&self, event: &Event) {
        if self.progress || !matches!(event, Event::Progress { .. }) {
            self.outbox.event(reply::event(self.id, event));
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
