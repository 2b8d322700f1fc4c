//! How much a backend may send before the head of its answer is complete: interim responses without end would hold a
//! request for ever.
//!
//! Bytes are counted where they are read. hyper can call back for each interim response, but only after three
//! allocations for each request, of which hardly any has one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was read since a request was sent.
#[derive(Debug, Default)]
struct State {
    /// The request has no answer yet.
    awaited: AtomicBool,
    read: AtomicUsize,
    /// Nothing more was read.
    refused: AtomicBool,
}

/// The side of who sends requests.
#[derive(Debug, Default)]
pub(super) struct Awaited(Arc<State>);

impl Awaited {
    /// A request is about to be sent.
    pub(super) fn begin(&self) {
        self.0.read.store(0, Relaxed);
        self.0.awaited.store(true, Release);
    }

    /// The head of its answer is here.
    pub(super) fn end(&self) {
        self.0.awaited.store(false, Relaxed);
    }

    /// Whether so much came that nothing more was read.
    pub(super) fn is_refused(&self) -> bool {
        self.0.refused.load(Relaxed)
    }
}

impl State {
    fn is_exceeded(&self) -> bool {
        self.awaited.load(Acquire) && self.read.load(Relaxed) >= MAX_BYTES
    }
}

/// After so many bytes of interim responses and a head nothing more is read. hyper may take 120 KiB at once, and the head
/// may have come before: what is behind a head never counts.
pub(super) const MAX_BYTES: usize = 160 * 1024;

/// A connection to a backend that ends when too much comes before an answer.
#[derive(Debug)]
pub(super) struct Answers<S> {
    stream: S,
    state: Arc<State>,
}

impl<S> Answers<S> {
    pub(super) fn new(stream: S) -> (Self, Awaited) {
        let state = Arc::<State>::default();
        let awaited = Awaited(Arc::clone(&state));
        (Self { stream, state }, awaited)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answers<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.is_exceeded() {
            this.state.refused.store(true, Relaxed);
            return Poll::Ready(Err(io::Error::other("too much before an answer")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        this.state.read.fetch_add(read, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answers<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
