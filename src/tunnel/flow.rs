//! One direction of a tunnel: bytes from a source to a destination, and what may stand among them.
//!
//! Nothing is buffered but what the destination did not take, and while there is such a rest the source
//! is not read: that is the back-pressure.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{io::ReadBuf, net::TcpStream, time::Instant};

use super::{
    counts::Counts,
    out::Out,
    outcome::Loss,
    passage::{Passage, Place, To},
    rates::Rates,
    side::Side,
    splice::Pipe,
};
use crate::{
    ir,
    ws::{
        close,
        frame::{LONGEST_HEADER, LONGEST_HELD, Rules},
    },
};

/// One read: what a socket buffer typically holds; larger ones bring no more throughput.
const READ_BYTES: usize = 64 * 1024;

/// One read where frames are so small that the work is theirs and not that of their bytes: others wait for a turn no
/// longer than where they are large.
const DENSE_READ_BYTES: usize = 4 * 1024;

/// Frames are small where they have fewer bytes than this on average, their headers among them.
const DENSE_FRAME_BYTES: usize = 16;

/// Room for one read and what was held before it.
pub(super) const SCRATCH_BYTES: usize = READ_BYTES + LONGEST_HELD;

/// State of the side that a flow reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    /// After anything but a FIN it cannot be written either.
    Lost(Loss),
}

/// What was read last.
#[derive(Debug, Clone, Copy)]
enum Last {
    Ordinary,
    /// Full of small frames.
    Dense,
}

impl Last {
    fn of(bytes: usize, frames: u32) -> Self {
        if bytes >= DENSE_READ_BYTES / 2 && frames as usize > bytes / DENSE_FRAME_BYTES {
            Self::Dense
        } else {
            Self::Ordinary
        }
    }

    /// Most bytes of the next read.
    fn next_read(self) -> usize {
        match self {
            Self::Ordinary => READ_BYTES,
            Self::Dense => DENSE_READ_BYTES,
        }
    }
}

/// What a flow works with while it is polled: nothing of it is the flow's own, or every idle tunnel would have it.
pub(super) struct Turn<'t, 'c> {
    pub(super) cx: &'t mut Context<'c>,
    /// At least [`SCRATCH_BYTES`].
    pub(super) scratch: &'t mut [u8],
    /// What moves.
    pub(super) counts: &'t mut Counts,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// What of the source goes on.
    pub(super) passage: Passage,
    /// The beginning of a header or of a control frame, at most [`LONGEST_HELD`] bytes.
    held: Box<[u8]>,
    out: Out,
    source: Source,
    /// Large frames are moved without a copy, where both ends are sockets.
    splice: bool,
    /// Something was read.
    heard: bool,
    last: Last,
    /// What of the source is let through per second.
    rates: Option<Box<Rates>>,
    /// The source was not read because its share is used up.
    refused: bool,
}

impl Flow {
    /// A flow that has nothing yet.
    pub(super) fn new(to: To, splice: bool, rates: Option<Rates>) -> Self {
        Self {
            passage: Passage::new(to),
            held: Box::default(),
            out: Out::new(),
            source: Source::Open,
            splice,
            heard: false,
            last: Last::Ordinary,
            rates: rates.map(Box::new),
            refused: false,
        }
    }

    /// Takes what the source sent before the tunnel began.
    pub(super) fn take_early(
        &mut self,
        early: &[u8],
        rules: &Rules,
        limits: &ir::Limits,
        counts: &mut Counts,
    ) {
        let before = *counts;
        counts.bytes += early.len() as u64;
        let out = &mut self.out;
        let done = self
            .passage
            .pass(early, rules, counts, |bytes, _| out.push(bytes));
        self.held = early.get(done..).unwrap_or_default().into();
        if let Some(rates) = &mut self.rates {
            rates.spend(limits, &counts.since(&before), Instant::now());
        }
    }

    /// Writes what it has, then reads and writes once. Whether anything moved; if not, the waker is registered
    /// wherever something may move later, but for [`Flow::resumes`].
    pub(super) fn poll<S: Side, D: Side>(
        &mut self,
        turn: &mut Turn<'_, '_>,
        source: &mut S,
        destination: &mut D,
        rules: &Rules,
        limits: &ir::Limits,
    ) -> bool {
        let Some(rates) = &mut self.rates else {
            return self.poll_once(turn, source, destination, rules, usize::MAX);
        };
        let now = Instant::now();
        let allowance = rates.allowance(limits, self.passage.left(), now);
        self.refused = allowance == 0;
        if self.refused {
            rates.withheld = rates.ready(limits);
        }
        let before = *turn.counts;
        let moved = self.poll_once(turn, source, destination, rules, allowance);
        let read = turn.counts.since(&before);
        if let Some(rates) = &mut self.rates {
            rates.spend(limits, &read, now);
        }
        moved
    }

    /// The same, reading at most `allowance` bytes.
    fn poll_once<S: Side, D: Side>(
        &mut self,
        turn: &mut Turn<'_, '_>,
        source: &mut S,
        destination: &mut D,
        rules: &Rules,
        allowance: usize,
    ) -> bool {
        let Turn {
            cx,
            scratch,
            counts,
        } = turn;
        let mut moved = self.poll_out(cx, destination);
        if allowance == 0
            || self.source != Source::Open
            || !(self.passage.is_cut() || self.is_flushed())
        {
            return moved;
        }
        let sockets = match (self.splice, source.socket(), destination.socket()) {
            (true, Some(from), Some(_)) if !self.passage.is_cut() => Some(from),
            _ => None,
        };
        if let Some(from) = sockets
            && self.passage.is_large()
            && let Some(pipe) = Pipe::take()
        {
            return self.poll_pipe(turn, from, destination, pipe, allowance) || moved;
        }
        let kept = self.held.len();
        let wanted = match self.passage.may_be_followed() {
            // Only to the end of the next header, however the frames lay in what was read before: the rest of the next
            // large frame is not copied.
            Some(left) if sockets.is_some() && kept < LONGEST_HEADER => {
                let header = LONGEST_HEADER - kept;
                usize::try_from(left).map_or(READ_BYTES, |left| left.saturating_add(header))
            }
            _ => READ_BYTES,
        }
        .min(self.last.next_read());
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
            Poll::Ready(Err(error)) => {
                self.source = Source::Lost(Loss::of(&error));
                0
            }
            Poll::Ready(Ok(())) => {
                if buffer.filled().is_empty() {
                    self.source = Source::Lost(Loss::Fin);
                }
                buffer.filled().len()
            }
        };
        moved = true;
        if read == 0 {
            // A frame that never became whole goes no further.
            self.held = Box::default();
        } else {
            self.heard = true;
            counts.bytes += read as u64;
            let bytes = scratch.get(..kept + read).unwrap_or_default();
            let (out, splice) = (&mut self.out, self.splice);
            let before = counts.charged();
            let done = self.passage.pass(bytes, rules, counts, |bytes, more| {
                out.write(cx, destination, bytes, more && splice);
            });
            let frames = counts.charged().wrapping_sub(before);
            self.last = Last::of(read, frames);
            let held = bytes.get(done..).unwrap_or_default();
            if !(held.is_empty() && kept == 0) {
                self.held = held.into();
            }
        }
        self.poll_out(cx, destination);
        moved
    }

    /// Writes what waits. Whether anything moved.
    fn poll_out<D: Side>(&mut self, cx: &mut Context<'_>, destination: &mut D) -> bool {
        let more = self.passage.left() > 0 && !self.passage.is_cut();
        let was_blocked = self.blocked().is_some();
        let moved = self.out.poll(cx, destination, more);
        if moved && was_blocked {
            // It was full of what the application sent before: what of it moves is no less a sign of life than a read.
            self.passage.set_active();
        }
        if self.out.is_broken() {
            // There is nobody to write to, but the source goes on being read.
            self.passage.cut_off();
        }
        moved
    }

    /// Moves payload of a large frame without a copy. Whether anything moved.
    fn poll_pipe<D: Side>(
        &mut self,
        turn: &mut Turn<'_, '_>,
        from: &TcpStream,
        to: &mut D,
        mut pipe: Pipe,
        allowance: usize,
    ) -> bool {
        let cx = &mut *turn.cx;
        let limit = self.passage.left().min(allowance as u64);
        let filled = pipe.fill(cx, from, limit);
        match filled {
            Poll::Pending => {
                pipe.give_back();
                return false;
            }
            Poll::Ready(Err(error)) => self.source = Source::Lost(Loss::of(&error)),
            Poll::Ready(Ok(0)) => self.source = Source::Lost(Loss::Fin),
            Poll::Ready(Ok(bytes)) => {
                self.heard = true;
                turn.counts.bytes += bytes as u64;
                let own = self.passage.skip(bytes as u64, turn.counts);
                self.out.push_pipe(pipe);
                if let Some(own) = own {
                    self.out.push(&own);
                }
                self.poll_out(cx, to);
                return true;
            }
        }
        pipe.give_back();
        true
    }

    /// Asks for a Close of our own, or for another place for it. Whether it was put right now. If the source has
    /// ended inside of a frame there will be no place.
    pub(super) fn put_close(&mut self, own: close::Status, place: Place) -> bool {
        if self.out.is_broken() || self.out.is_finished() {
            return false;
        }
        let ended = self.source != Source::Open;
        let close = self.passage.put_close(own, place, ended);
        if let Some(close) = &close {
            self.out.push(close);
        }
        close.is_some()
    }

    /// Asks for a ping of our own at the next place where a frame may start. Whether there can be one.
    pub(super) fn put_ping(&mut self, payload: [u8; 8]) -> bool {
        let ping = self.passage.put_ping(payload);
        if let Ok(Some(ping)) = &ping {
            self.out.push(ping);
        }
        ping.is_ok()
    }

    /// Whether a ping of our own waits for its place, or for the destination to take it.
    pub(super) fn ping_waits(&self) -> bool {
        self.passage.ping_waits() || !self.is_flushed()
    }

    /// Whether nothing about it is a matter of time.
    pub(super) fn is_steady(&self) -> bool {
        self.rates.is_none() && self.blocked().is_none()
    }

    /// When the source is to be read again, where it was not read because its share is used up; it may be time already.
    pub(super) fn resumes(&self) -> Option<Instant> {
        self.withheld().filter(|_| self.refused)
    }

    /// Until when the source was, or will be, withheld.
    pub(super) fn withheld(&self) -> Option<Instant> {
        self.rates.as_ref()?.withheld
    }

    /// Whether the destination got a Close.
    pub(super) fn gave_close(&self) -> bool {
        self.passage.is_closed() && self.is_flushed() && !self.out.is_lossy()
    }

    /// Why the destination takes nothing any more.
    pub(super) fn broken_by(&self) -> Option<Loss> {
        self.out.broken_by()
    }

    /// No limits of rate from now on. Whether that is news: then it may be time to read.
    pub(super) fn lift_rates(&mut self) -> bool {
        self.refused = false;
        self.rates.take().is_some()
    }

    /// Whether anything was read since this was asked last.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Ends the flow: what is not written is forgotten, FIN goes out, what comes is dropped.
    pub(super) fn abandon(&mut self) {
        self.passage.cut_off();
        self.out.abandon();
    }

    /// The destination took something of what waits in the kernel.
    pub(super) fn progressed(&mut self, now: Instant) {
        self.out.progressed(now);
    }

    /// The destination is waited for no longer: what it has not taken, it never gets.
    pub(super) fn give_up(&mut self) {
        if !self.is_sent() && !self.is_broken() {
            self.out.lose();
        }
    }

    /// Declares the source dead although it was not read to its end.
    pub(super) fn fail_source(&mut self, loss: Loss) {
        self.source = Source::Lost(loss);
        self.held = Box::default();
    }

    /// Passes the end of the source on, once everything is written. Whether that is news.
    pub(super) fn pass_fin(&mut self) -> bool {
        self.source != Source::Open && !self.passage.close_waits() && self.out.finish()
    }

    /// How the source was lost, where it was.
    pub(super) fn loss(&self) -> Option<Loss> {
        match self.source {
            Source::Open => None,
            Source::Lost(loss) => Some(loss),
        }
    }

    /// FIN or RST came.
    pub(super) fn source_ended(&self) -> bool {
        self.source != Source::Open
    }

    /// RST and the like came.
    pub(super) fn source_failed(&self) -> bool {
        self.loss().is_some_and(|loss| loss != Loss::Fin)
    }

    /// The destination does not take anything any more.
    pub(super) fn is_broken(&self) -> bool {
        self.out.is_broken()
    }

    /// Something of what was to be written never was.
    pub(super) fn is_lossy(&self) -> bool {
        self.out.is_lossy()
    }

    /// FIN was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_finished()
    }

    /// Nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_flushed()
    }

    /// Since when the destination takes nothing although something waits.
    pub(super) fn blocked(&self) -> Option<Instant> {
        self.out.blocked()
    }
}
