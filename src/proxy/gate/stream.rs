//! The stream that hyper reads: [`Framing`] applied to a socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Control, Limits, Refusal,
    clock::Clock,
    control::{Held, sentinel},
    framing::{Framing, Progress, Step},
};

/// What is discarded after the last answer, so that bytes still on their way do not turn the end of the connection
/// into a reset, which would take the answer from the client (RFC 9112 section 9.6).
/// Discarding is cheap; the limit is for a client that never stops.
const DISCARD_BYTES: usize = 1024 * 1024;
/// How long it is discarded in all: a client that read the answer closes within a round trip.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// What the gate does with what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Lets through what passes.
    Open,
    /// Keeps it until the verdict on a handshake.
    Held,
    /// The bytes belong to HTTP/2: hyper's HTTP/1 sees the end and leaves the stream as it is.
    Http2,
    /// Reads no more. Pending, not at its end: hyper gives up an answer when its reader ends.
    Stopped,
    /// A body broke.
    Aborted(Refusal),
    /// The client's end, or an idle time-out.
    Ended,
}

/// How far the end of the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    No,
    Discarding(usize),
    Done,
}

/// An accepted stream of which hyper sees only what passed. See the module.
#[derive(Debug)]
pub struct Gate<S> {
    stream: S,
    framing: Framing,
    control: Control,
    clock: Clock,
    mode: Mode,
    shutdown: Shutdown,
    /// Read and not handed on. Empty unless a head came in pieces: reads go into hyper's buffer.
    pending: BytesMut,
    /// So many bytes of `pending` passed.
    passed: usize,
}

impl<S> Gate<S> {
    /// Wraps a stream that was just accepted. Its clocks start now.
    pub fn new(stream: S, limits: Limits) -> (Self, Control) {
        let control = Control::default();
        let gate = Self {
            stream,
            framing: Framing::new(limits),
            control: control.clone(),
            clock: Clock::new(),
            mode: Mode::Open,
            shutdown: Shutdown::No,
            pending: BytesMut::new(),
            passed: 0,
        };
        (gate, control)
    }

    /// Whether the client began with the preface of HTTP/2. hyper's connection ends at once then, and what
    /// [`Gate::into_parts`] gives is for another.
    pub fn is_http2(&self) -> bool {
        self.mode == Mode::Http2
    }

    /// The stream, and what was read from it and not handed on: for a tunnel the bytes that the client sent
    /// before the answer, for HTTP/2 all of it.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.pending.freeze())
    }

    /// Takes what was read into `buf` from `start` on.
    fn admit(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        self.clock.touch();
        let fresh = buf.filled().get(start..).unwrap_or_default();
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(fresh);
            buf.set_filled(start);
            self.look();
            return;
        }
        let progress = self.framing.advance(fresh);
        if matches!(progress.step, Step::More | Step::Hold | Step::Http2) {
            let rest = fresh.get(progress.passed..).unwrap_or_default();
            self.pending.extend_from_slice(rest);
        }
        buf.set_filled(start + progress.passed);
        self.settle(&progress);
    }

    /// Looks at what is pending.
    fn look(&mut self) {
        let progress = self.framing.advance(&self.pending);
        self.passed = progress.passed;
        self.settle(&progress);
    }

    fn settle(&mut self, progress: &Progress) {
        self.control.admit(progress.heads);
        let in_head = self.framing.in_head();
        self.control.reading(in_head);
        self.clock.head(in_head, progress.heads > 0);
        match progress.step {
            Step::More => {}
            Step::Http2 => self.mode = Mode::Http2,
            Step::Hold => {
                self.mode = Mode::Held;
                self.control.hold(self.has_early_bytes());
            }
            Step::Refuse {
                refusal,
                head_request,
            } => self.refuse(refusal, head_request),
            Step::Abort(refusal) => {
                self.pending.truncate(self.passed);
                self.mode = Mode::Aborted(refusal);
                self.control.abort(refusal);
            }
        }
    }

    /// Puts the sentinel where the refused head was.
    fn refuse(&mut self, refusal: Refusal, head_request: bool) {
        self.control.refuse(refusal);
        self.pending.truncate(self.passed);
        self.pending.extend_from_slice(sentinel(head_request));
        self.passed = self.pending.len();
        self.mode = Mode::Stopped;
    }

    /// Whether the client sent more than its handshake. The body of one that has a body is part of it.
    fn has_early_bytes(&self) -> bool {
        !self.framing.in_body() && self.pending.len() > self.passed
    }

    /// Hands out what passed.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.min(buf.remaining());
        buf.put_slice(self.pending.get(..count).unwrap_or_default());
        self.pending.advance(count);
        self.passed -= count;
    }

    /// Whether what the client sent so far was read and answered to its end.
    fn is_clean(&self) -> bool {
        self.mode == Mode::Open && self.pending.is_empty() && !self.framing.in_body()
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads at most `most` bytes behind what is in `buf`.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if buf.remaining() <= most {
            let before = buf.filled().len();
            ready!(stream.poll_read(cx, buf))?;
            return Poll::Ready(Ok(buf.filled().len() - before));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(stream.poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Reads and checks. Ready when there is something to look at again.
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        // A handshake may end anywhere behind the body being read, and no more than this may be read behind it.
        let early = self.framing.limits().early_bytes;
        let most = self.framing.remaining().saturating_add(early);
        match self.poll_fill(cx, buf, most)? {
            Poll::Ready(0) => self.mode = Mode::Ended,
            Poll::Ready(_) => self.admit(buf, start),
            Poll::Pending => ready!(self.poll_clock(cx)),
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when a time limit ended the reading. Only asked when there is nothing to read: a client is
    /// not slow while its bytes wait here.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (head, idle) = {
            let limits = self.framing.limits();
            (limits.head_time, limits.keep_alive_time)
        };
        if self.framing.in_head() {
            ready!(self.clock.poll_head(cx, head));
            let head_request = self.pending.starts_with(b"HEAD ");
            self.passed = 0;
            self.refuse(Refusal::HeadTimeout, head_request);
            return Poll::Ready(());
        }
        if self.pending.is_empty() {
            // An idle connection holds no buffer.
            self.pending = BytesMut::new();
        }
        if self.framing.in_body() || self.control.is_busy() {
            self.clock.look_again(cx, idle);
            return Poll::Pending;
        }
        let limit = if self.control.is_used() { idle } else { head };
        ready!(self.clock.poll_idle(cx, limit));
        self.mode = Mode::Ended;
        Poll::Ready(())
    }

    /// Waits for the verdict and for a client that goes away. Ready when the mode changed.
    fn poll_held(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.control.held(self.has_early_bytes(), cx.waker()) {
                Held::Waiting => {}
                Held::Tunnel => return Poll::Pending,
                Held::Resume => {
                    self.mode = Mode::Open;
                    self.look();
                    return Poll::Ready(Ok(()));
                }
                Held::Close => {
                    self.pending = BytesMut::new();
                    self.mode = Mode::Stopped;
                    return Poll::Ready(Ok(()));
                }
            }
            let early = self.framing.limits().early_bytes;
            let room = early.saturating_sub(self.pending.len());
            if room == 0 {
                return self.poll_clock(cx).map(Ok);
            }
            let start = buf.filled().len();
            match self.poll_fill(cx, buf, room)? {
                Poll::Ready(0) => {
                    self.mode = Mode::Ended;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(_) => {
                    self.clock.touch();
                    let fresh = buf.filled().get(start..).unwrap_or_default();
                    self.pending.extend_from_slice(fresh);
                    buf.set_filled(start);
                }
                Poll::Pending => return self.poll_clock(cx).map(Ok),
            }
        }
    }

    /// Waits for the end of the connection, which hyper brings about when it has written the last answer.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = self.framing.limits().keep_alive_time;
        if self.control.is_busy() {
            self.clock.look_again(cx, limit);
            return Poll::Pending;
        }
        ready!(self.clock.poll_idle(cx, limit));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Discards what the client still sends, after FIN.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while let Shutdown::Discarding(count) = self.shutdown {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let count = count + buf.filled().len();
                    self.shutdown = if count < DISCARD_BYTES {
                        Shutdown::Discarding(count)
                    } else {
                        Shutdown::Done
                    };
                }
                // Nothing is there, and nothing was promised.
                Poll::Pending if count == 0 && self.is_clean() => self.shutdown = Shutdown::Done,
                Poll::Pending => {
                    ready!(self.clock.poll_idle(cx, DISCARD_TIME));
                    self.shutdown = Shutdown::Done;
                }
                Poll::Ready(_) => self.shutdown = Shutdown::Done,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.passed > 0 {
                this.hand_out(buf);
            }
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
            match this.mode {
                Mode::Open => ready!(this.poll_open(cx, buf))?,
                Mode::Held => ready!(this.poll_held(cx, buf))?,
                Mode::Stopped => return this.poll_stopped(cx).map(Err),
                Mode::Aborted(refusal) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
                Mode::Ended | Mode::Http2 => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.control.unwritten(true);
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.clock.touch();
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.control.unwritten(true);
        let count = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bytes))?;
        this.clock.touch();
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.control.unwritten(false);
        Poll::Ready(Ok(()))
    }

    /// Sends FIN unless the stream is for HTTP/2, then discards what the client still sends: 1 MiB or one second at most, and only when the
    /// client's last request was not read to its end or something is there.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.mode == Mode::Http2 {
            return Poll::Ready(Ok(()));
        }
        if this.shutdown == Shutdown::No {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.clock.touch();
            this.shutdown = if this.mode == Mode::Ended {
                Shutdown::Done
            } else {
                Shutdown::Discarding(0)
            };
        }
        ready!(this.poll_discard(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
