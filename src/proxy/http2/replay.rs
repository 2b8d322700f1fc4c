//! A stream of which some bytes were read already, and which tells when the last ones were written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Gives the bytes again, then what the stream has.
pub(super) struct Replay<S> {
    read: Bytes,
    stream: S,
    written: Written,
}

/// When the stream last took bytes.
#[derive(Clone)]
pub(super) struct Written {
    start: Instant,
    /// Milliseconds from there.
    last: Arc<AtomicU64>,
}

impl<S> Replay<S> {
    /// `read` came from `stream`.
    pub(super) fn new(read: Bytes, stream: S) -> Self {
        let written = Written {
            start: Instant::now(),
            last: Arc::default(),
        };
        Self {
            read,
            stream,
            written,
        }
    }

    /// To look at while somebody else has the stream.
    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }

    fn moved(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            let since = self.written.start.elapsed().as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            self.written.last.store(since, Ordering::Relaxed);
        }
        written
    }
}

impl Written {
    /// The last time; the beginning when there was none.
    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.moved(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
