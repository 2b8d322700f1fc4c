//! Bodies on their way: counted, their trailers cleaned, never kept.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::upstream;

use super::{headers, record::Record};

/// How far a request body has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    ended: AtomicBool,
    end: Notify,
}

impl Progress {
    /// Bytes that came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when the body is complete. For one waiter.
    pub(super) async fn ended(&self) {
        while !self.ended.load(Ordering::Acquire) {
            self.end.notified().await;
        }
    }

    fn set_ended(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.end.notify_one();
        }
    }
}

pin_project! {
    /// The body of a request on its way to a backend.
    pub(super) struct RequestBody {
        #[pin]
        inner: Incoming,
        progress: Arc<Progress>,
    }
}

impl RequestBody {
    /// Counts into `progress`.
    pub(super) fn new(inner: Incoming, progress: Arc<Progress>) -> Self {
        if inner.is_end_stream() {
            progress.set_ended();
        }
        Self { inner, progress }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let bytes = data.remaining() as u64;
                    this.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                if this.inner.is_end_stream() {
                    this.progress.set_ended();
                }
                Poll::Ready(Some(Ok(cleaned(frame))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                this.progress.set_ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a backend's answer.
pub(super) type BackendBody = upstream::AnswerBody<RequestBody>;

pin_project! {
    /// The body of a response on its way to the client. Its end writes the access line.
    pub(super) struct ResponseBody {
        #[pin]
        source: Source,
        record: Option<Box<Record>>,
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source {
        Own { #[pin] body: Full<Bytes> },
        Backend { #[pin] body: BackendBody },
    }
}

impl ResponseBody {
    /// An answer of Hawser's own.
    pub(super) fn own(body: Bytes, record: Box<Record>) -> Self {
        Self {
            source: Source::Own { body: body.into() },
            record: Some(record),
        }
    }

    /// The body of a 101: what follows is a tunnel, which keeps its own record.
    pub(super) fn tunnel() -> Self {
        Self {
            source: Source::Own {
                body: Full::default(),
            },
            record: None,
        }
    }

    /// Takes the bytes of an answer of Hawser's own away, before any was sent.
    pub(super) fn clear(&mut self) {
        self.source = Source::Own {
            body: Full::default(),
        };
    }

    /// A backend's answer.
    pub(super) fn backend(body: BackendBody, record: Box<Record>) -> Self {
        Self {
            source: Source::Backend { body },
            record: Some(record),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.project();
        let polled = match this.source.project() {
            SourceProjection::Own { body } => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            SourceProjection::Backend { body } => body.poll_frame(cx),
        };
        let frame = ready!(polled);
        if let Some(record) = this.record {
            match &frame {
                Some(Ok(frame)) => record.sent(frame.data_ref().map_or(0, Buf::remaining)),
                Some(Err(error)) => {
                    record.broke_off("http_response_incomplete", error.to_string());
                }
                None => {}
            }
        }
        Poll::Ready(frame.map(|frame| frame.map(cleaned)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own { body } => body.is_end_stream(),
            Source::Backend { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own { body } => body.size_hint(),
            Source::Backend { body } => body.size_hint(),
        }
    }
}

fn cleaned(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::clean_trailers(trailers);
    }
    frame
}
