//! One direction of a tunnel: bytes from a source to a destination, and what may stand among them.
//!
//! Nothing is buffered but what the destination did not take, and while there is such a rest the source
//! is not read: that is the back-pressure. What is passed on never ends inside of a header or a control frame: the
//! beginning of one is held until the rest of it is there.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::SendFlags;
use tokio::{
    io::{AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{counts::Counts, rates::Rates, side::Side, splice::Pipe};
use crate::ws::{
    close,
    frame::{Control, Kind, LONGEST_HEADER, LONGEST_HELD, Rules, Step, Tracker, Violation},
};

/// One read: what a socket buffer typically holds; larger ones bring no more throughput.
const READ_BYTES: usize = 64 * 1024;

/// Room for one read and what was held before it.
pub(super) const SCRATCH_BYTES: usize = READ_BYTES + LONGEST_HELD;

/// From this payload on a frame is moved without a copy. Measured: at 16 KiB two more calls cost what the copy costs,
/// at 64 KiB a third of it.
const LARGE_FRAME: u64 = 32 * 1024;

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

/// A frame of our own that waits for its place.
#[derive(Debug, Clone, Copy)]
enum Own {
    Ping([u8; 8]),
    Close(close::Status, Place),
}

/// A Close frame that the source sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Close {
    /// Its status code; `None` when the body was too short for one.
    pub(super) code: Option<u16>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    tracker: Tracker,
    /// The beginning of a header or of a control frame, at most [`LONGEST_HELD`] bytes.
    held: Vec<u8>,
    /// Payload on its way without a copy; goes before `rest`.
    pipe: Option<Pipe>,
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
    /// Large frames are moved without a copy, where both ends are sockets.
    splice: bool,
    /// The last frame was large, so the next one may be.
    large: bool,
    own: Option<Own>,
    /// The code of the Close of our own that was put.
    put: Option<u16>,
    /// The first Close of the source.
    seen: Option<Close>,
    violation: Option<Violation>,
    /// The payload of our ping that the source has to answer. The answer goes no further.
    pong: Option<[u8; 8]>,
    /// Something was read.
    heard: bool,
    /// Since when the destination takes nothing although something waits.
    blocked: Option<Instant>,
    /// What of the source is let through per second.
    rates: Option<Box<Rates>>,
    /// A byte of the application was passed on.
    active: bool,
    /// Since they were last taken.
    pub(super) counts: Counts,
}

impl Flow {
    /// A flow that has nothing yet.
    pub(super) fn new(to: To, splice: bool, rates: Option<Rates>) -> Self {
        Self {
            tracker: Tracker::default(),
            held: Vec::new(),
            pipe: None,
            rest: Vec::new(),
            written: 0,
            to,
            source: Source::Open,
            fin: Fin::No,
            broken: false,
            closed: false,
            cut: false,
            splice,
            large: false,
            own: None,
            put: None,
            seen: None,
            violation: None,
            pong: None,
            heard: false,
            blocked: None,
            rates: rates.map(Box::new),
            active: false,
            counts: Counts::default(),
        }
    }

    /// Takes what the source sent before the tunnel began.
    pub(super) fn take_early(&mut self, early: &[u8], rules: &Rules) {
        self.counts.bytes += early.len() as u64;
        let mut pass = Vec::new();
        let held = self.pass(early, rules, |_, bytes| pass.extend_from_slice(bytes));
        self.held = early.get(held..).unwrap_or_default().to_vec();
        self.rest = pass;
    }

    /// Writes what it has, then reads and writes once. Whether anything moved; if not, the waker is registered
    /// wherever something may move later, but for [`Flow::resumes`].
    pub(super) fn poll<S: Side, D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        destination: &mut D,
        scratch: &mut [u8],
        rules: &Rules,
    ) -> bool {
        let Some(rates) = &self.rates else {
            return self.poll_once(cx, source, destination, scratch, rules, usize::MAX);
        };
        let now = Instant::now();
        let allowance = rates.allowance(now);
        let before = self.counts;
        let moved = self.poll_once(cx, source, destination, scratch, rules, allowance);
        let read = self.counts.since(&before);
        if let Some(rates) = &mut self.rates {
            rates.spend(&read, now);
        }
        moved
    }

    /// The same, reading at most `allowance` bytes.
    fn poll_once<S: Side, D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        destination: &mut D,
        scratch: &mut [u8],
        rules: &Rules,
        allowance: usize,
    ) -> bool {
        let mut moved = self.poll_rest(cx, destination);
        if allowance == 0 || self.source != Source::Open || !(self.cut || self.is_flushed()) {
            return moved;
        }
        let sockets = match (self.splice, source.socket(), destination.socket()) {
            (true, Some(from), Some(to)) if !self.cut => Some((from, to)),
            _ => None,
        };
        if let Some((from, to)) = sockets
            && self.tracker.left() >= LARGE_FRAME
            && let Some(pipe) = self.pipe.take().or_else(Pipe::take)
        {
            return self.poll_pipe(cx, from, to, pipe, allowance) || moved;
        }
        // Of the next large frame only the header is read here.
        let header_only = sockets.is_some()
            && self.large
            && self.tracker.at_frame_start()
            && self.held.len() < LONGEST_HEADER;
        let wanted = if header_only {
            LONGEST_HEADER - self.held.len()
        } else {
            READ_BYTES
        };
        let kept = self.held.len();
        let end = scratch.len().min(kept + wanted.min(allowance));
        let (Some(front), true) = (scratch.get_mut(..kept), kept < end) else {
            return moved;
        };
        front.copy_from_slice(&self.held);
        let Some(room) = scratch.get_mut(kept..end) else {
            return moved;
        };
        let mut buffer = ReadBuf::new(room);
        let read = match Pin::new(&mut *source).poll_read(cx, &mut buffer) {
            Poll::Pending => return moved,
            Poll::Ready(Err(_)) => {
                self.source = Source::Failed;
                0
            }
            Poll::Ready(Ok(())) => {
                if buffer.filled().is_empty() {
                    self.source = Source::Ended;
                }
                buffer.filled().len()
            }
        };
        moved = true;
        if read == 0 {
            // A frame that never became whole goes no further.
            self.held = Vec::new();
        } else {
            self.heard = true;
            self.counts.bytes += read as u64;
            let bytes = scratch.get(..kept + read).unwrap_or_default();
            let done = self.pass(bytes, rules, |flow, bytes| {
                flow.write(cx, destination, bytes);
            });
            let held = bytes.get(done..).unwrap_or_default();
            if !(held.is_empty() && kept == 0) {
                self.held = held.to_vec();
            }
        }
        self.poll_rest(cx, destination);
        moved
    }

    /// Moves payload of a large frame without a copy. Whether anything moved.
    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        mut pipe: Pipe,
        allowance: usize,
    ) -> bool {
        let limit = self.tracker.left().min(allowance as u64);
        let filled = pipe.fill(cx, from, limit);
        match filled {
            Poll::Pending => {
                pipe.give_back();
                return false;
            }
            Poll::Ready(Err(_)) => self.source = Source::Failed,
            Poll::Ready(Ok(0)) => self.source = Source::Ended,
            Poll::Ready(Ok(bytes)) => {
                self.heard = true;
                self.active = true;
                self.counts.bytes += bytes as u64;
                let ended = self.tracker.skip(bytes as u64);
                self.counts.message(ended);
                self.pipe = Some(pipe);
                self.poll_pipe_rest(cx, to);
                return true;
            }
        }
        pipe.give_back();
        true
    }

    /// Writes what is in the pipe. Whether anything moved.
    fn poll_pipe_rest(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> bool {
        let mut moved = false;
        while let Some(pipe) = &mut self.pipe {
            if pipe.is_empty() {
                if let Some(pipe) = self.pipe.take() {
                    pipe.give_back();
                }
                break;
            }
            let more = self.tracker.left() > 0 && !self.cut;
            match pipe.empty(cx, to, more) {
                Poll::Pending => {
                    self.block(moved);
                    return moved;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => self.break_off(),
            }
            moved = true;
        }
        moved
    }

    /// Hands on what of `bytes` goes on, and frames of our own where they have their place. Returns up to where: the
    /// rest is to be held.
    fn pass(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        mut write: impl FnMut(&mut Self, &[u8]),
    ) -> usize {
        let (mut from, mut at) = (0, 0);
        loop {
            let next = bytes.get(at..).unwrap_or_default();
            if let Some(frame) = self.place_own() {
                write(self, bytes.get(from..at).unwrap_or_default());
                write(self, &frame);
                from = at;
                continue;
            }
            if next.is_empty() {
                break;
            }
            let dropped = self.cut;
            let starts = self.tracker.at_frame_start();
            let rules = if dropped { &Rules::NONE } else { rules };
            match self.tracker.next(next, rules) {
                Step::More => break,
                Step::Data { bytes, ended } => {
                    at += bytes;
                    if !dropped {
                        self.active = true;
                        self.counts.message(ended);
                    }
                    if starts {
                        self.large = bytes as u64 + self.tracker.left() >= LARGE_FRAME;
                    }
                }
                Step::Control(control) => {
                    let end = at + control.bytes;
                    match self.control(&control) {
                        Fate::Passes => {}
                        Fate::Goes => {
                            write(self, bytes.get(from..at).unwrap_or_default());
                            from = end;
                        }
                        Fate::Becomes(frame) => {
                            write(self, bytes.get(from..at).unwrap_or_default());
                            write(self, &frame);
                            from = end;
                        }
                    }
                    at = end;
                    if self.cut && !dropped {
                        write(self, bytes.get(from..at).unwrap_or_default());
                        from = at;
                    }
                }
                Step::Broken(violation) => {
                    write(self, bytes.get(from..at).unwrap_or_default());
                    from = at;
                    self.violation = Some(violation);
                    self.cut = true;
                }
            }
            if dropped {
                from = at;
            }
        }
        write(self, bytes.get(from..at).unwrap_or_default());
        at
    }

    /// What becomes of a control frame of the source.
    fn control(&mut self, control: &Control<'_>) -> Fate {
        if control.kind == Some(Kind::Pong)
            && self.pong.is_some_and(|payload| control.says(&payload))
        {
            self.pong = None;
            return Fate::Goes;
        }
        if self.cut {
            if control.kind == Some(Kind::Close) {
                let code = control.close_code();
                self.seen.get_or_insert(Close { code });
            }
            return Fate::Goes;
        }
        self.active = true;
        self.counts.message(control.kind);
        if control.kind != Some(Kind::Close) {
            return Fate::Passes;
        }
        let code = control.close_code();
        self.seen = Some(Close { code });
        match (self.own.take(), code) {
            (Some(Own::Close(own, _)), _) => Fate::Becomes(self.put(own)),
            // Never on the wire (RFC 6455 section 7.4.1), so not from us either.
            (_, Some(code)) if close::is_never_sent(code) => {
                self.end_with_close();
                Fate::Becomes(self.close_frame(code, ""))
            }
            _ => {
                self.end_with_close();
                Fate::Passes
            }
        }
    }

    fn end_with_close(&mut self) {
        self.closed = true;
        self.cut = true;
    }

    /// Puts a Close of our own: the frame.
    fn put(&mut self, own: close::Status) -> Vec<u8> {
        self.put = Some(own.code);
        self.end_with_close();
        self.close_frame(own.code, own.reason)
    }

    fn close_frame(&self, code: u16, reason: &str) -> Vec<u8> {
        match self.to {
            To::Client => close::frame(code, reason),
            // The payload is ours, so no attacker gains by knowing the mask.
            To::Backend => close::masked_frame(code, reason, fastrand::u32(..).to_be_bytes()),
        }
    }

    /// The frame of our own that waits, if this is the place for it.
    fn place_own(&mut self) -> Option<Vec<u8>> {
        match self.own? {
            Own::Ping(payload) if !self.cut && self.tracker.at_frame_start() => {
                self.own = None;
                Some(match self.to {
                    To::Client => close::ping(payload),
                    To::Backend => close::masked_ping(payload, fastrand::u32(..).to_be_bytes()),
                })
            }
            Own::Close(own, place) => {
                // What broke a rule was not passed on, so the destination stands at a frame start.
                let here = self.violation.is_some()
                    || match place {
                        Place::AtClose => false,
                        Place::MessageStart => self.tracker.at_message_start(),
                        Place::FrameStart => self.tracker.at_frame_start(),
                    };
                here.then(|| {
                    self.own = None;
                    self.put(own)
                })
            }
            Own::Ping(_) => None,
        }
    }

    /// Asks for a Close of our own, or for another place for it. Whether it was put right now. If the source has
    /// ended inside of a frame there will be no place.
    pub(super) fn put_close(&mut self, own: close::Status, place: Place) -> bool {
        if self.closed || self.broken || self.fin == Fin::Done {
            return false;
        }
        self.own = Some(Own::Close(own, place));
        let close = self.place_own();
        if let Some(close) = &close {
            self.rest.extend_from_slice(close);
        } else if self.source != Source::Open {
            self.own = None;
        }
        close.is_some()
    }

    /// Asks for a ping of our own at the next place where a frame may start. Whether there can be one.
    pub(super) fn put_ping(&mut self, payload: [u8; 8]) -> bool {
        if self.cut || self.own.is_some() {
            return false;
        }
        self.own = Some(Own::Ping(payload));
        if let Some(ping) = self.place_own() {
            self.rest.extend_from_slice(&ping);
        }
        true
    }

    /// Whether a ping of our own waits for its place, or for the destination to take it.
    pub(super) fn ping_waits(&self) -> bool {
        matches!(self.own, Some(Own::Ping(_))) || !self.is_flushed()
    }

    /// The source is to answer this ping; the answer goes no further.
    pub(super) fn expect_pong(&mut self, payload: [u8; 8]) {
        self.pong = Some(payload);
    }

    /// When the source is read again, where it has used up its share.
    pub(super) fn resumes(&self, now: Instant) -> Option<Instant> {
        let ready = self.rates.as_ref()?.ready()?;
        (ready > now).then_some(ready)
    }

    /// No limits of rate from now on.
    pub(super) fn lift_rates(&mut self) {
        self.rates = None;
    }

    /// Whether a byte of the application was passed on since this was asked last.
    pub(super) fn take_active(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Whether anything was read since this was asked last.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Whether the answer is still to come.
    pub(super) fn awaits_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// Writes at once what the destination takes; the rest waits.
    fn write<D: Side>(&mut self, cx: &mut Context<'_>, to: &mut D, bytes: &[u8]) {
        if bytes.is_empty() || self.broken {
            return;
        }
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            return;
        }
        // The payload follows by another call; without this the header would be a packet of its own.
        let more = self.splice && self.tracker.left() >= LARGE_FRAME;
        let sent = match to.socket().filter(|_| more) {
            Some(socket) => send_more(cx, socket, bytes),
            None => Pin::new(to).poll_write(cx, bytes),
        };
        let taken = match sent {
            Poll::Pending => 0,
            Poll::Ready(Ok(taken)) if taken > 0 => taken,
            Poll::Ready(_) => return self.break_off(),
        };
        self.rest
            .extend_from_slice(bytes.get(taken..).unwrap_or_default());
    }

    /// Writes the rest and the FIN. Whether anything moved.
    fn poll_rest<D: Side>(&mut self, cx: &mut Context<'_>, to: &mut D) -> bool {
        let mut moved = false;
        if self.pipe.is_some()
            && let Some(socket) = to.socket()
        {
            moved = self.poll_pipe_rest(cx, socket);
            if self.pipe.is_some() {
                return moved;
            }
        }
        while let Some(bytes @ [_, ..]) = self.rest.get(self.written..) {
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Pending => {
                    self.block(moved);
                    return moved;
                }
                Poll::Ready(Ok(taken)) if taken > 0 => self.written += taken,
                Poll::Ready(_) => self.break_off(),
            }
            moved = true;
        }
        if !self.rest.is_empty() {
            self.forget_rest();
        }
        self.blocked = None;
        if self.fin == Fin::Wanted && !self.broken {
            moved |= self.poll_fin(cx, to).is_ready();
        }
        moved
    }

    /// The destination takes nothing at the moment; `moved` = just before it took something.
    fn block(&mut self, moved: bool) {
        if moved || self.blocked.is_none() {
            self.blocked = Some(Instant::now());
        }
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
        self.own = None;
        self.forget_rest();
    }

    fn forget_rest(&mut self) {
        self.rest = Vec::new();
        self.written = 0;
        self.pipe = None;
        self.blocked = None;
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
        self.held = Vec::new();
    }

    /// Passes the end of the source on, once everything is written. Whether that is news.
    pub(super) fn pass_fin(&mut self) -> bool {
        let waits = matches!(self.own, Some(Own::Close(..)));
        let news = self.source != Source::Open && !waits && self.fin == Fin::No;
        if news {
            self.fin = Fin::Wanted;
        }
        news
    }

    /// The first Close of the source.
    pub(super) fn seen(&self) -> Option<Close> {
        self.seen
    }

    /// What of the source must not pass: nothing after it does.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation
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
        self.rest.is_empty() && self.pipe.is_none()
    }

    /// Since when the destination takes nothing although something waits.
    pub(super) fn blocked(&self) -> Option<Instant> {
        self.blocked
    }

    /// The code of the Close of our own that was put.
    pub(super) fn own_code(&self) -> Option<u16> {
        self.put
    }
}

/// What becomes of a control frame.
enum Fate {
    Passes,
    /// It goes no further.
    Goes,
    Becomes(Vec<u8>),
}

/// Writes what more of the same frame follows at once.
fn send_more(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    bytes: &[u8],
) -> Poll<std::io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let sent = socket.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(socket, bytes, flags)?)
        });
        match sent {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
