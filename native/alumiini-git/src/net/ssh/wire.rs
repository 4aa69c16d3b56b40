//! A connection that can be cut from outside. It also ends when a server sends too much while no
//! request uses it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Russh moves the stream into a task of its own. There is no way to stop that task, and during a
/// key exchange it waits for nothing but the network. So the stream itself ends: after the cut,
/// reads and writes fail, then the task ends and the socket closes.
pub(super) struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    uses: Arc<Uses>,
}

/// The most bytes that a server may send while no request uses the connection. Half of them is what
/// sessions that were given up had been allowed to send. A login, keepalives and key exchanges take
/// very few.
const MAX_UNASKED: u64 = 32 << 20;

/// Whether a connection is used, and how many bytes have arrived since its last use.
#[derive(Default)]
pub(super) struct Uses {
    users: AtomicUsize,
    unasked: AtomicU64,
}

impl Uses {
    /// Marks the connection as used until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Use {
        self.users.fetch_add(1, Ordering::AcqRel);
        Use(self.clone())
    }

    /// Counts `bytes` more from the server. Returns whether they are within the bound.
    fn allow(&self, bytes: u64) -> bool {
        self.users.load(Ordering::Acquire) > 0
            || self
                .unasked
                .fetch_add(bytes, Ordering::AcqRel)
                .saturating_add(bytes)
                <= MAX_UNASKED
    }
}

pub(super) struct Use(Arc<Uses>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.unasked.store(0, Ordering::Release);
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream, cut: CancellationToken, uses: Arc<Uses>) -> Wire {
        Wire {
            stream,
            uses,
            cut: Box::pin(cut.cancelled_owned()),
        }
    }

    fn whole(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.whole(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        match self.uses.allow((buf.filled().len() - before) as u64) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.whole(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// It works after the cut, too: russh ends with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn a_server_that_talks_to_nobody_is_cut_off_and_one_that_answers_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let talking =
                tokio::spawn(async move { while server.write_all(&[7; 1 << 16]).await.is_ok() {} });
            let uses = Arc::<Uses>::default();
            let mut wire = Wire::new(stream, CancellationToken::new(), uses.clone());
            let mut buffer = vec![0; MAX_UNASKED as usize];
            for _ in 0..2 {
                let in_use = uses.begin();
                wire.read_exact(&mut buffer).await.unwrap();
                wire.read_exact(&mut buffer).await.unwrap();
                drop(in_use);
                wire.read_exact(&mut buffer).await.unwrap();
            }
            let error = wire.read_exact(&mut buffer[..1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            drop(wire);
            talking.await.unwrap();
        });
    }
}
