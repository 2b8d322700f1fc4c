//! One direction of a tunnel: bytes from a source to a destination, and what may stand among them.
//!
//! Nothing is buffered but what the destination did not take, and while there is such a rest the source
//! is not read: that is the back-pressure.

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

use super::{
    counts::Counts,
    passage::{Passage, Place, To},
    rates::Rates,
    side::Side,
    splice::Pipe,
};
use crate::ws::{
    close,
    frame::{LONGEST_HEADER, LONGEST_HELD, Rules},
};

/// One read: what a socket buffer typically holds; larger ones bring no more throughput.
const READ_BYTES: usize = 64 * 1024;

/// Room for one read and what was held before it.
pub(super) const SCRATCH_BYTES: usize = READ_BYTES + LONGEST_HELD;

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

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// What of the source goes on.
    pub(super) passage: Passage,
    /// The beginning of a header or of a control frame, at most [`LONGEST_HELD`] bytes.
    held: Vec<u8>,
    /// Payload on its way without a copy; goes before `rest`.
    pipe: Option<Pipe>,
    rest: Vec<u8>,
    /// How much of `rest` is written.
    written: usize,
    source: Source,
    fin: Fin,
    /// The destination does not take anything any more.
    broken: bool,
    /// Large frames are moved without a copy, where both ends are sockets.
    splice: bool,
    /// Something was read.
    heard: bool,
    /// Since when the destination takes nothing although something waits.
    blocked: Option<Instant>,
    /// What of the source is let through per second.
    rates: Option<Box<Rates>>,
    /// Since they were last taken.
    pub(super) counts: Counts,
}

impl Flow {
    /// A flow that has nothing yet.
    pub(super) fn new(to: To, splice: bool, rates: Option<Rates>) -> Self {
        Self {
            passage: Passage::new(to),
            held: Vec::new(),
            pipe: None,
            rest: Vec::new(),
            written: 0,
            source: Source::Open,
            fin: Fin::No,
            broken: false,
            splice,
            heard: false,
            blocked: None,
            rates: rates.map(Box::new),
            counts: Counts::default(),
        }
    }

    /// Takes what the source sent before the tunnel began.
    pub(super) fn take_early(&mut self, early: &[u8], rules: &Rules) {
        self.counts.bytes += early.len() as u64;
        let mut pass = Vec::new();
        let held = self
            .passage
            .pass(early, rules, &mut self.counts, |bytes, _| {
                pass.extend_from_slice(bytes);
            });
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
        if allowance == 0
            || self.source != Source::Open
            || !(self.passage.is_cut() || self.is_flushed())
        {
            return moved;
        }
        let sockets = match (self.splice, source.socket(), destination.socket()) {
            (true, Some(from), Some(to)) if !self.passage.is_cut() => Some((from, to)),
            _ => None,
        };
        if let Some((from, to)) = sockets
            && self.passage.is_large()
            && let Some(pipe) = self.pipe.take().or_else(Pipe::take)
        {
            return self.poll_pipe(cx, from, to, pipe, allowance) || moved;
        }
        // Of the next large frame only the header is read here.
        let header_only =
            sockets.is_some() && self.passage.expects_large() && self.held.len() < LONGEST_HEADER;
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
            let mut passed = std::mem::take(&mut self.counts);
            let mut passage = std::mem::replace(&mut self.passage, Passage::new(To::Client));
            let done = passage.pass(bytes, rules, &mut passed, |bytes, more| {
                self.write(cx, destination, bytes, more);
            });
            self.passage = passage;
            self.counts = passed;
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
        let limit = self.passage.left().min(allowance as u64);
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
                self.counts.bytes += bytes as u64;
                self.passage.skip(bytes as u64, &mut self.counts);
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
            let more = self.passage.left() > 0 && !self.passage.is_cut();
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

    /// Asks for a Close of our own, or for another place for it. Whether it was put right now. If the source has
    /// ended inside of a frame there will be no place.
    pub(super) fn put_close(&mut self, own: close::Status, place: Place) -> bool {
        if self.broken || self.fin == Fin::Done {
            return false;
        }
        let ended = self.source != Source::Open;
        let close = self.passage.put_close(own, place, ended);
        self.rest.extend(close.iter().flatten());
        close.is_some()
    }

    /// Asks for a ping of our own at the next place where a frame may start. Whether there can be one.
    pub(super) fn put_ping(&mut self, payload: [u8; 8]) -> bool {
        let ping = self.passage.put_ping(payload);
        if let Ok(Some(ping)) = &ping {
            self.rest.extend_from_slice(ping);
        }
        ping.is_ok()
    }

    /// Whether a ping of our own waits for its place, or for the destination to take it.
    pub(super) fn ping_waits(&self) -> bool {
        self.passage.ping_waits() || !self.is_flushed()
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

    /// Whether anything was read since this was asked last.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Writes at once what the destination takes; the rest waits.
    fn write<D: Side>(&mut self, cx: &mut Context<'_>, to: &mut D, bytes: &[u8], more: bool) {
        if bytes.is_empty() || self.broken {
            return;
        }
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            return;
        }
        // The payload follows by another call; without this the header would be a packet of its own.
        let sent = match to.socket().filter(|_| more && self.splice) {
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
        self.passage.cut_off();
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
        self.passage.cut_off();
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
        let waits = self.passage.close_waits();
        let news = self.source != Source::Open && !waits && self.fin == Fin::No;
        if news {
            self.fin = Fin::Wanted;
        }
        news
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
