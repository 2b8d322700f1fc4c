//! The body of an answer, in pieces that hold the stream's slot until its client took them.
//!
//! h2 takes a piece whole as soon as its client has room for one byte of it, and the last piece is the end of the answer for
//! everybody but the client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;

use super::tasks;

/// Most bytes of a piece: those of one frame, unless a client wants larger ones (RFC 9113 section 4.2).
pub(super) const PIECE_BYTES: usize = 16 * 1024;

pin_project! {
    /// Cuts the pieces of another body.
    pub(in crate::proxy) struct Body<B> {
        #[pin]
        inner: B,
        // Not handed on.
        rest: Bytes,
        permit: Option<Arc<OwnedSemaphorePermit>>,
    }
}

impl<B> Body<B> {
    /// Of the stream that has this slot.
    pub(super) fn new(inner: B, permit: Option<Arc<OwnedSemaphorePermit>>) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
            permit,
        }
    }
}

/// Bytes that take a slot as long as they are somewhere.
struct Held {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
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
        let mut piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        if let Some(permit) = this.permit {
            piece = Bytes::from_owner(Held {
                bytes: piece,
                _permit: Arc::clone(permit),
            });
        }
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
