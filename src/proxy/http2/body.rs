//! The body of an answer, in pieces that hold the stream's slot until its client took them.
//!
//! h2 takes a piece whole as soon as its client has room for one byte of it, and the last piece is the end of the answer for
//! everybody but the client.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{stamp::Stamp, tasks};

/// Most bytes of a piece: those of one frame, unless a client wants larger ones (RFC 9113 section 4.2).
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// The pieces of a connection that its client has not taken.
pub(super) struct Pieces {
    count: AtomicUsize,
    /// When one was taken, or the first one handed on.
    moved: Stamp,
}

impl Pieces {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            moved: Stamp::new(),
        }
    }

    /// Since when the client has taken none of those that there are; `None` without any.
    pub(super) fn wait_since(&self) -> Option<Instant> {
        (self.count.load(Ordering::Acquire) > 0).then(|| self.moved.last())
    }
}

/// What a piece holds.
#[derive(Clone)]
pub(super) struct Hold {
    /// The slot of the stream.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
    /// Where it counts.
    pieces: Arc<Pieces>,
}

impl Hold {
    /// The slot of a stream, in the connection that has these pieces.
    pub(super) fn new(permit: Option<Arc<OwnedSemaphorePermit>>, pieces: Arc<Pieces>) -> Self {
        Self {
            _permit: permit,
            pieces,
        }
    }
}

pin_project! {
    /// Cuts the pieces of another body.
    pub(in crate::proxy) struct Body<B> {
        #[pin]
        inner: B,
        // Not handed on.
        rest: Bytes,
        hold: Hold,
    }
}

impl<B> Body<B> {
    /// Whose pieces hold this.
    pub(super) fn new(inner: B, hold: Hold) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            hold,
        }
    }
}

/// A piece, as long as it is somewhere.
struct Held {
    bytes: Bytes,
    hold: Hold,
}

impl Held {
    fn new(bytes: Bytes, hold: &Hold) -> Self {
        let pieces = &hold.pieces;
        // One more is no sign of life of those that wait.
        if pieces.count.load(Ordering::Acquire) == 0 {
            pieces.moved.touch();
        }
        pieces.count.fetch_add(1, Ordering::Release);
        Self {
            bytes,
            hold: hold.clone(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let pieces = &self.hold.pieces;
        pieces.moved.touch();
        pieces.count.fetch_sub(1, Ordering::Release);
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Body<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            let polled = this.inner.poll_frame(cx);
            tasks::waits_for_client(polled.is_ready());
            match ready!(polled).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => *this.rest = bytes,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        } else {
            tasks::waits_for_client(true);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        let piece = Bytes::from_owner(Held::new(piece, this.hold));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
