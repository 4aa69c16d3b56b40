//! A way to a server on loopback that is longer, is cut, or leads nowhere any more, and that says
//! what passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Passes bytes on, after `delay` each way.
pub(super) struct Relay {
    pub(super) port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    streams: Vec<TcpStream>,
    /// Whether what comes is lost, of each connection.
    silent: Vec<Arc<AtomicBool>>,
    counts: Counts,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) accepted: usize,
    /// Those that the client has not ended.
    pub(super) open: usize,
    /// Pieces that the server has sent, which are at most as many as it wrote.
    pub(super) answers: usize,
}

impl Seen {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Relay {
    pub(super) fn start(to: u16, delay: Duration) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let all = seen.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", to))) else {
                    return;
                };
                let silent = Arc::<AtomicBool>::default();
                all.change(|state| {
                    state.counts.accepted += 1;
                    state.counts.open += 1;
                    state.silent.push(silent.clone());
                    for stream in [&near, &far] {
                        stream.set_nodelay(true).unwrap();
                        state.streams.push(stream.try_clone().unwrap());
                    }
                });
                let (far_too, near_too) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let (up, down, silent_too) = (all.clone(), all.clone(), silent.clone());
                std::thread::spawn(move || {
                    pass(near, far, delay, &silent, || ());
                    up.change(|state| state.counts.open -= 1);
                });
                std::thread::spawn(move || {
                    pass(far_too, near_too, delay, &silent_too, || {
                        down.change(|state| state.counts.answers += 1);
                    });
                });
            }
        });
        Relay { port, seen }
    }

    pub(super) fn counts(&self) -> Counts {
        self.seen.state.lock().unwrap().counts
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.counts().accepted
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        self.seen.change(|state| {
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    /// From now on, of the connections that are open all that comes is lost, both ways: a firewall
    /// has forgotten them.
    pub(super) fn silence(&self) {
        self.seen.change(|state| {
            for silent in state.silent.drain(..) {
                silent.store(true, Ordering::SeqCst);
            }
        });
    }

    /// Waits until `reached`. `what`: what then has happened. Blocks.
    pub(super) fn wait(&self, what: &str, reached: impl Fn(&Counts) -> bool) {
        let state = self.seen.state.lock().unwrap();
        let not_yet = |state: &mut State| !reached(&state.counts);
        let limit = Duration::from_secs(30);
        let (state, waited) = self
            .seen
            .changed
            .wait_timeout_while(state, limit, not_yet)
            .unwrap();
        let counts = state.counts;
        drop(state);
        assert!(
            !waited.timed_out(),
            "not within {limit:?}: {what}; {counts:?}"
        );
    }
}

/// Each piece is passed on `delay` after it came, however many are on their way.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    silent: &AtomicBool,
    came: impl Fn(),
) {
    let (sender, pieces) = std::sync::mpsc::sync_channel::<(Instant, Vec<u8>)>(16);
    std::thread::spawn(move || {
        for (due, piece) in pieces {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        came();
        if silent.load(Ordering::SeqCst) {
            continue;
        }
        if sender
            .send((Instant::now() + delay, buffer[..n].to_vec()))
            .is_err()
        {
            return;
        }
    }
}
