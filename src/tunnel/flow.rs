//! One direction of a tunnel: bytes from a source to a destination, and what may stand among them.
//!
//! Nothing is buffered but what the destination did not take, and while there is such a rest the source
//! is not read: that is the back-pressure.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ws::{
    close,
    frame::{Close, Walk, starts_close},
};

/// State of the side that a flow reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    /// FIN.
    Ended,
    /// RST and the like: it cannot be written either.
    Failed,
}

/// Passing on the end of the source as FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    No,
    /// As soon as the rest is written.
    Wanted,
    Done,
}

/// Where a flow goes. Frames of our own to the backend are masked (RFC 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Client,
    Backend,
}

/// Where a Close of our own may be put. A Close of the source is replaced by it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Only where a Close of the source comes.
    AtClose,
    /// Where no frame and no fragmented message is open.
    MessageStart,
    /// Where no frame is open.
    FrameStart,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    walk: Walk,
    rest: Vec<u8>,
    /// How much of `rest` is written.
    written: usize,
    to: To,
    source: Source,
    fin: Fin,
    /// The destination does not take anything any more.
    broken: bool,
    /// A Close was passed on or put.
    closed: bool,
    /// Nothing more of the source is passed on; it is read and dropped.
    cut: bool,
    /// A Close of our own that waits for its place.
    own: Option<(close::Status, Place)>,
    /// The code of the one that was put.
    put: Option<u16>,
    /// Bytes read since they were last taken.
    pub(super) count: u64,
}

impl Flow {
    /// A flow that has read `early` already.
    pub(super) fn new(to: To, early: &[u8]) -> Self {
        let mut flow = Self {
            walk: Walk::default(),
            rest: Vec::new(),
            written: 0,
            to,
            source: Source::Open,
            fin: Fin::No,
            broken: false,
            closed: false,
            cut: false,
            own: None,
            put: None,
            count: early.len() as u64,
        };
        let (pass, close) = flow.pass(early);
        flow.rest.extend_from_slice(pass);
        flow.rest.extend_from_slice(&close);
        flow
    }

    /// Writes what it has, then reads and writes once. Whether anything moved; if not, the waker is registered
    /// wherever something may move later.
    pub(super) fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        destination: &mut D,
        scratch: &mut [u8],
    ) -> bool
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        let mut moved = self.poll_rest(cx, destination);
        if self.source == Source::Open && (self.cut || self.is_flushed()) {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(source).poll_read(cx, &mut buffer) {
                Poll::Pending => return moved,
                Poll::Ready(Err(_)) => self.source = Source::Failed,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.source = Source::Ended,
                Poll::Ready(Ok(())) => {
                    let bytes = buffer.filled();
                    self.count += bytes.len() as u64;
                    let (pass, close) = self.pass(bytes);
                    self.write(cx, destination, pass);
                    self.rest.extend_from_slice(&close);
                }
            }
            moved = true;
            self.poll_rest(cx, destination);
        }
        moved
    }

    /// What of `bytes` goes on, and the Close that is to be put after it.
    fn pass<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], Vec<u8>) {
        let mut end = 0;
        let mut close = Vec::new();
        while !self.cut {
            let next = bytes.get(end..).unwrap_or_default();
            if let Some(own) = self.place_own(next.first().copied()) {
                close = own;
            } else if next.is_empty() {
                break;
            } else {
                end += self.walk.frame(next);
                if self.walk.close().is_some() {
                    self.closed = true;
                    self.cut = true;
                }
            }
        }
        let (pass, dropped) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        // Still followed, for the Close in it.
        self.walk.advance(dropped);
        (pass, close)
    }

    /// The Close of our own, if this is the place for it; `next` is the next byte of the source.
    fn place_own(&mut self, next: Option<u8>) -> Option<Vec<u8>> {
        let (close::Status { code, reason }, place) = self.own?;
        let here = match place {
            Place::AtClose => false,
            Place::MessageStart => self.walk.at_message_start(),
            Place::FrameStart => self.walk.at_frame_start(),
        };
        let replaces = self.walk.at_frame_start() && next.is_some_and(starts_close);
        if !(here || replaces) {
            return None;
        }
        self.own = None;
        self.put = Some(code);
        self.closed = true;
        self.cut = true;
        Some(match self.to {
            To::Client => close::frame(code, reason),
            // The payload is ours, so no attacker gains by knowing the mask.
            To::Backend => close::masked_frame(code, reason, fastrand::u32(..).to_be_bytes()),
        })
    }

    /// Asks for a Close of our own, or for another place for it. Whether it was put right now. If the source has
    /// ended inside of a frame there will be no place.
    pub(super) fn put_close(&mut self, own: close::Status, place: Place) -> bool {
        if self.cut {
            return false;
        }
        self.own = Some((own, place));
        let close = self.place_own(None);
        if let Some(close) = &close {
            self.rest.extend_from_slice(close);
        } else if self.source != Source::Open {
            self.own = None;
        }
        close.is_some()
    }

    /// Writes at once what the destination takes; the rest waits.
    fn write<D: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut D, bytes: &[u8]) {
        if bytes.is_empty() || self.broken {
            return;
        }
        let taken = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Pending => 0,
            Poll::Ready(Ok(taken)) if taken > 0 => taken,
            Poll::Ready(_) => return self.break_off(),
        };
        self.rest
            .extend_from_slice(bytes.get(taken..).unwrap_or_default());
    }

    /// Writes the rest and the FIN. Whether anything moved.
    fn poll_rest<D: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut D) -> bool {
        let mut moved = false;
        while let Some(bytes @ [_, ..]) = self.rest.get(self.written..) {
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(taken)) if taken > 0 => self.written += taken,
                Poll::Ready(_) => self.break_off(),
            }
            moved = true;
        }
        if !self.rest.is_empty() {
            self.forget_rest();
        }
        if self.fin == Fin::Wanted && !self.broken {
            moved |= self.poll_fin(cx, to).is_ready();
        }
        moved
    }

    /// Sends FIN. A failure says what a read of that side will say too.
    fn poll_fin<D: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut D) -> Poll<()> {
        let result = ready!(Pin::new(to).poll_shutdown(cx));
        self.broken |= result.is_err();
        self.fin = Fin::Done;
        Poll::Ready(())
    }

    /// Writing failed: there is nobody to write to, but the source goes on being read.
    fn break_off(&mut self) {
        self.broken = true;
        self.cut = true;
        self.forget_rest();
    }

    fn forget_rest(&mut self) {
        self.rest = Vec::new();
        self.written = 0;
    }

    /// Ends the flow: what is not written is forgotten, FIN goes out, what comes is dropped.
    pub(super) fn abandon(&mut self) {
        self.cut = true;
        self.own = None;
        self.forget_rest();
        if self.fin == Fin::No {
            self.fin = Fin::Wanted;
        }
    }

    /// Declares the source dead although it was not read to its end.
    pub(super) fn fail_source(&mut self) {
        self.source = Source::Failed;
    }

    /// Passes the end of the source on, once everything is written. Whether that is news.
    pub(super) fn pass_fin(&mut self) -> bool {
        let news = self.source != Source::Open && self.own.is_none() && self.fin == Fin::No;
        if news {
            self.fin = Fin::Wanted;
        }
        news
    }

    /// The first Close of the source.
    pub(super) fn seen(&self) -> Option<Close> {
        self.walk.close()
    }

    /// The destination got a Close (or gets it with the rest).
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// FIN or RST came.
    pub(super) fn source_ended(&self) -> bool {
        self.source != Source::Open
    }

    /// RST and the like came.
    pub(super) fn source_failed(&self) -> bool {
        self.source == Source::Failed
    }

    /// The destination does not take anything any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.rest.is_empty()
    }

    /// The code of the Close of our own that was put.
    pub(super) fn own_code(&self) -> Option<u16> {
        self.put
    }
}
