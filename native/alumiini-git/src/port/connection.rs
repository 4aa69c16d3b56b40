//! The two ends of a client's connection: where requests come from, and where answers go.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::port::outbox::{Outbox, Output};

/// Where requests are read from.
pub(crate) type Input = Box<dyn Read + Send>;

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) input: Input,
    pub(crate) outbox: Arc<Outbox>,
}

impl Connection {
    /// Standard input and output.
    pub(crate) fn stdio() -> io::Result<Connection> {
        Ok(Connection {
            input: Box::new(io::stdin()),
            outbox: Arc::new(Outbox::new(Stdout::new()?)),
        })
    }

    /// A connection within this process, and its client's end.
    #[cfg(test)]
    pub(crate) fn memory() -> (Connection, memory::Client) {
        memory::pair()
    }
}

struct Stdout {
    file: File,
    /// Writing never waits: it says so instead.
    is_nonblocking: bool,
}

impl Stdout {
    fn new() -> io::Result<Stdout> {
        let stdout = io::stdout();
        let file = File::from(stdout.as_fd().try_clone_to_owned()?);
        widen(&file);
        // Our end of a pipe is ours alone; a terminal is shared with the shell, which does not
        // expect this.
        let is_nonblocking = !stdout.is_terminal()
            && fcntl_getfl(&file)
                .is_ok_and(|flags| fcntl_setfl(&file, flags | OFlags::NONBLOCK).is_ok());
        Ok(Stdout {
            file,
            is_nonblocking,
        })
    }
}

/// Of a pipe's buffer: a page of a snapshot leaves in a few writes then, and with as many changes
/// of processes, where the usual 64 KiB mean dozens. What the system allows without privileges.
#[cfg(target_os = "linux")]
const ROOM: usize = 1 << 20;

#[cfg(target_os = "linux")]
fn widen(pipe: &File) {
    // Where it is no pipe, or its user has too many of that size, it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, ROOM);
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &File) {}

impl Output for Stdout {
    fn try_write(&self, bytes: &[u8]) -> usize {
        // What is wrong with the output is for who waits for it.
        match self.is_nonblocking {
            true => (&self.file).write(bytes).unwrap_or(0),
            false => 0,
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (&self.file).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)?;
                }
                result => return result,
            }
        }
    }

    /// A pipe whose reader is gone polls as an error, without being written to.
    fn is_closed(&self, timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&self.file, PollFlags::empty())];
        poll(&mut polled, Some(&timeout)).is_ok_and(|events| events > 0)
    }
}

#[cfg(test)]
pub(crate) mod memory {
    use std::collections::VecDeque;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A client: what it sends are requests, what it receives are frames of answers, in pieces as
    /// they were written.
    pub(crate) struct Client {
        requests: Option<Sender<Vec<u8>>>,
        answers: Receiver<Vec<u8>>,
        rest: VecDeque<u8>,
    }

    pub(super) fn pair() -> (Connection, Client) {
        let (requests, input) = channel();
        let (output, answers) = channel();
        let connection = Connection {
            input: Box::new(Input {
                from: input,
                rest: VecDeque::new(),
            }),
            outbox: Arc::new(Outbox::new(Answers(output))),
        };
        let client = Client {
            requests: Some(requests),
            answers,
            rest: VecDeque::new(),
        };
        (connection, client)
    }

    impl Client {
        /// Sends the bytes of a frame.
        pub(crate) fn send(&self, frame: Vec<u8>) {
            self.requests.as_ref().unwrap().send(frame).unwrap();
        }

        /// The end of the input.
        pub(crate) fn close(&mut self) {
            self.requests = None;
        }
    }

    /// The bytes of answers; ends when the server is gone.
    impl Read for Client {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            fill(&self.answers, &mut self.rest, buffer)
        }
    }

    struct Input {
        from: Receiver<Vec<u8>>,
        rest: VecDeque<u8>,
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            fill(&self.from, &mut self.rest, buffer)
        }
    }

    fn fill(
        from: &Receiver<Vec<u8>>,
        rest: &mut VecDeque<u8>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        while rest.is_empty() {
            match from.recv() {
                Ok(bytes) => rest.extend(bytes),
                Err(_) => return Ok(0),
            }
        }
        rest.read(buffer)
    }

    struct Answers(Sender<Vec<u8>>);

    impl Output for Answers {
        fn try_write(&self, bytes: &[u8]) -> usize {
            self.write(bytes).unwrap_or(0)
        }

        fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map(|()| bytes.len())
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn is_closed(&self, timeout: Duration) -> bool {
            std::thread::sleep(timeout);
            false
        }
    }
}
