//! The body of a backend's answer.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{SendBody, idle::Idle, link::Link};

/// The body of an answer to a request with a body of type `B`. Dropped at its end, it gives its connection back; dropped
/// before, it closes it.
pub struct AnswerBody<B: SendBody> {
    incoming: Incoming,
    held: Option<Held<B>>,
    /// Something was given that its reader may have kept: the head, to begin with.
    given: bool,
    /// Why it broke off.
    failed: Option<hyper::Error>,
}

/// The connection that the body comes from.
pub(super) struct Held<B: SendBody> {
    pub(super) link: Box<Link<B>>,
    /// Where it goes: the key of its endpoint, and the pool.
    pub(super) home: Option<(u64, Arc<Idle<B>>)>,
}

impl<B: SendBody> Held<B> {
    /// Moves it until the answer was read or dropped, in a task of its own.
    pub(super) async fn move_on(mut self) {
        if self.link.ready().await {
            self.give_back();
        }
    }

    fn give_back(self) {
        if let Some((key, idle)) = self.home {
            idle.put(key, self.link);
        }
    }
}

impl<B: SendBody> AnswerBody<B> {
    pub(super) fn new(incoming: Incoming, held: Option<Held<B>>) -> Self {
        Self {
            incoming,
            held,
            given: true,
            failed: None,
        }
    }
}

/// Of a connection that a task looks after.
impl<B: SendBody> From<Incoming> for AnswerBody<B> {
    fn from(incoming: Incoming) -> Self {
        Self::new(incoming, None)
    }
}

impl<B: SendBody> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self {
            incoming,
            held,
            given,
            failed,
        } = &mut *self;
        if let Some(error) = failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match held {
            Some(held) => held.link.poll_body(cx, incoming),
            None => Pin::new(incoming).poll_frame(cx),
        };
        let was_given = std::mem::replace(given, polled.is_ready());
        match polled {
            // hyper's server forgets what it has not written when a body fails.
            Poll::Ready(Some(Err(error))) if was_given => {
                *failed = Some(error);
                *given = false;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B: SendBody> fmt::Debug for AnswerBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.incoming.fmt(f)
    }
}

impl<B: SendBody> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back();
        }
    }
}
