//! What of a stream goes on, and where frames of our own stand in it. No I/O.
//!
//! What is passed on never ends inside of a header or a control frame: the beginning of one is to be held until the
//! rest of it is there.

use crate::ws::{
    close,
    frame::{Control, Kind, LONGEST_HELD, Rules, Step, Tracker, Violation},
};

use super::counts::Counts;

/// From this payload on a frame is moved without a copy. Measured: at 16 KiB two more calls cost what the copy costs,
/// at 64 KiB a third of it.
pub(super) const LARGE_FRAME: u64 = 32 * 1024;

/// A fragment of up to this many bytes, its header among them, costs what a message costs.
const SMALL_FRAME: u64 = LONGEST_HELD as u64;

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

/// What may still be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more of the source.
    Cut,
    /// Nothing at all: a Close was passed on or put.
    Closed,
}

/// The answer to a ping of ours. It is swallowed also when it comes twice, because the ping was sent twice.
#[derive(Debug, Clone, Copy)]
struct Pong {
    payload: [u8; 8],
    awaited: bool,
}

/// The way of one stream through a tunnel.
#[derive(Debug)]
pub(super) struct Passage {
    tracker: Tracker,
    to: To,
    state: State,
    /// The last frame was large, so the next one may be.
    large: bool,
    /// Boxed: hardly ever there, and every tunnel has two of these.
    own: Option<Box<Own>>,
    /// The code of the Close of our own that was put.
    put: Option<u16>,
    /// The first Close of the source.
    seen: Option<Close>,
    violation: Option<Violation>,
    /// The payload of our ping that the source has to answer. The answer goes no further.
    pong: Option<Pong>,
    /// A byte of the application was passed on.
    active: bool,
}

impl Passage {
    /// At the beginning of a stream.
    pub(super) fn new(to: To) -> Self {
        Self {
            tracker: Tracker::default(),
            to,
            state: State::Open,
            large: false,
            own: None,
            put: None,
            seen: None,
            violation: None,
            pong: None,
            active: false,
        }
    }

    /// Hands on what of `bytes` goes on, and frames of our own where they have their place. Returns up to where: the
    /// rest is to be held.
    ///
    /// `write` also learns whether more payload of a large frame follows.
    pub(super) fn pass(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        counts: &mut Counts,
        mut write: impl FnMut(&[u8], bool),
    ) -> usize {
        let (mut from, mut at) = (0, 0);
        loop {
            let next = bytes.get(at..).unwrap_or_default();
            if let Some(frame) = self.place_own() {
                write(bytes.get(from..at).unwrap_or_default(), false);
                write(&frame, false);
                from = at;
                continue;
            }
            if next.is_empty() {
                break;
            }
            let dropped = self.is_cut();
            let starts = self.tracker.at_frame_start();
            let rules = if dropped { &Rules::NONE } else { rules };
            match self.tracker.next(next, rules) {
                Step::More => break,
                Step::Data { bytes, ended } => {
                    at += bytes;
                    if !dropped {
                        self.active = true;
                        counts.message(ended);
                    }
                    if starts {
                        // Any length may be announced, also 2^64 - 1.
                        let length = self.tracker.left().saturating_add(bytes as u64);
                        self.large = length >= LARGE_FRAME;
                        if !dropped && length <= SMALL_FRAME && !self.tracker.ends_message(ended) {
                            counts.small = counts.small.wrapping_add(1);
                        }
                    }
                }
                Step::Control(control) => {
                    self.large = false;
                    let end = at + control.bytes;
                    match self.control(&control, counts) {
                        Fate::Passes => {}
                        Fate::Goes => {
                            write(bytes.get(from..at).unwrap_or_default(), false);
                            from = end;
                        }
                        Fate::Becomes(frame) => {
                            write(bytes.get(from..at).unwrap_or_default(), false);
                            write(&frame, false);
                            from = end;
                        }
                    }
                    at = end;
                    if self.is_cut() && !dropped {
                        write(bytes.get(from..at).unwrap_or_default(), false);
                        from = at;
                    }
                }
                Step::Broken(violation) => {
                    write(bytes.get(from..at).unwrap_or_default(), false);
                    from = at;
                    self.violation = Some(violation);
                    self.state = State::Cut;
                }
            }
            if dropped {
                from = at;
            }
        }
        write(bytes.get(from..at).unwrap_or_default(), self.is_large());
        at
    }

    /// What becomes of a control frame of the source.
    fn control(&mut self, control: &Control<'_>, counts: &mut Counts) -> Fate {
        if control.kind == Some(Kind::Pong)
            && let Some(pong) = &mut self.pong
            && control.says(&pong.payload)
        {
            pong.awaited = false;
            return Fate::Goes;
        }
        if self.is_cut() {
            if control.kind == Some(Kind::Close) {
                let code = control.close_code();
                self.seen.get_or_insert(Close { code });
            }
            return Fate::Goes;
        }
        self.active = true;
        if control.kind.is_some() {
            counts.message(control.kind);
        } else {
            counts.small = counts.small.wrapping_add(1);
        }
        if control.kind != Some(Kind::Close) {
            return Fate::Passes;
        }
        let code = control.close_code();
        self.seen = Some(Close { code });
        match (self.own.take().map(|own| *own), code) {
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
        self.state = State::Closed;
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
        match *self.own.as_deref()? {
            Own::Ping(payload) if !self.is_cut() && self.tracker.at_frame_start() => {
                self.own = None;
                Some(match self.to {
                    To::Client => close::ping(payload),
                    To::Backend => close::masked_ping(payload, fastrand::u32(..).to_be_bytes()),
                })
            }
            Own::Close(own, place) => {
                // What broke a rule was not passed on, so the destination stands at a frame start.
                let broken = self.violation.is_some();
                let here = match place {
                    Place::AtClose => false,
                    Place::MessageStart => broken || self.tracker.at_message_start(),
                    Place::FrameStart => broken || self.tracker.at_frame_start(),
                };
                here.then(|| {
                    self.own = None;
                    self.put(own)
                })
            }
            Own::Ping(_) => None,
        }
    }

    /// Asks for a Close of our own, or for another place for it: the frame, where its place is here. `ended` = nothing
    /// more comes, so inside of a frame there will be no place.
    pub(super) fn put_close(
        &mut self,
        own: close::Status,
        place: Place,
        ended: bool,
    ) -> Option<Vec<u8>> {
        if self.is_closed() {
            return None;
        }
        self.own = Some(Box::new(Own::Close(own, place)));
        let close = self.place_own();
        if close.is_none() && ended {
            self.own = None;
        }
        close
    }

    /// Asks for a ping of our own at the next place where a frame may start: the frame, where that is here. An error
    /// where there can be none.
    pub(super) fn put_ping(&mut self, payload: [u8; 8]) -> Result<Option<Vec<u8>>, NoPlace> {
        if self.is_cut() || self.own.is_some() {
            return Err(NoPlace);
        }
        self.own = Some(Box::new(Own::Ping(payload)));
        Ok(self.place_own())
    }

    /// Nothing more is passed on or put.
    pub(super) fn cut_off(&mut self) {
        if self.state == State::Open {
            self.state = State::Cut;
        }
        self.own = None;
    }

    /// Passes over payload that was moved without a look at it. The frame of our own that has its place behind it.
    pub(super) fn skip(&mut self, bytes: u64, counts: &mut Counts) -> Option<Vec<u8>> {
        self.active = true;
        counts.message(self.tracker.skip(bytes));
        self.place_own()
    }

    /// The source is to answer this ping; the answer goes no further.
    pub(super) fn expect_pong(&mut self, payload: [u8; 8]) {
        self.pong = Some(Pong {
            payload,
            awaited: true,
        });
    }

    /// Whether the answer is still to come.
    pub(super) fn awaits_pong(&self) -> bool {
        self.pong.is_some_and(|pong| pong.awaited)
    }

    /// The payload of the last ping of ours.
    pub(super) fn pinged(&self) -> Option<[u8; 8]> {
        self.pong.map(|pong| pong.payload)
    }

    /// The destination took something that it was waited for.
    pub(super) fn set_active(&mut self) {
        self.active = true;
    }

    /// Whether a byte of the application was passed on since this was asked last.
    pub(super) fn take_active(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Payload of the current frame that is still to come.
    pub(super) fn left(&self) -> u64 {
        self.tracker.left()
    }

    /// Whether so much of the current frame is to come that it is not worth a copy.
    pub(super) fn is_large(&self) -> bool {
        self.left() >= LARGE_FRAME
    }

    /// Behind a large frame, of which so many bytes are to come, there may be another one.
    pub(super) fn may_be_followed(&self) -> Option<u64> {
        self.large.then(|| self.left())
    }

    /// Whether a Close of our own waits for its place.
    pub(super) fn close_waits(&self) -> bool {
        matches!(self.own.as_deref(), Some(Own::Close(..)))
    }

    /// Whether a ping of our own waits for its place.
    pub(super) fn ping_waits(&self) -> bool {
        matches!(self.own.as_deref(), Some(Own::Ping(_)))
    }

    /// Nothing more of the source is passed on.
    pub(super) fn is_cut(&self) -> bool {
        self.state != State::Open
    }

    /// The destination got a Close, or gets it with what was handed on.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The first Close of the source.
    pub(super) fn seen(&self) -> Option<Close> {
        self.seen
    }

    /// What of the source must not pass: nothing after it does.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The code of the Close of our own that was put.
    pub(super) fn own_code(&self) -> Option<u16> {
        self.put
    }
}

/// A frame of our own cannot be put any more.
#[derive(Debug)]
pub(super) struct NoPlace;

/// What becomes of a control frame.
enum Fate {
    Passes,
    /// It goes no further.
    Goes,
    Becomes(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_is_expected_only_right_behind_one() {
        let mut passage = Passage::new(To::Client);
        let mut pass = |first: u8, payload: usize| {
            let length = u16::try_from(payload).unwrap().to_be_bytes();
            let mut frame = vec![first, 126, length[0], length[1]];
            frame.resize(4 + payload, 7);
            let done = passage.pass(&frame, &Rules::NONE, &mut Counts::default(), |_, _| {});
            assert_eq!(done, frame.len());
            passage.may_be_followed()
        };
        assert_eq!(pass(0x82, 40_000), Some(0));
        assert_eq!(pass(0x82, 200), None);
        assert_eq!(pass(0x82, 40_000), Some(0));
        // Or each read of a flood would be as small as a header.
        assert_eq!(pass(0x89, 0), None);
        passage.pass(
            &[0x82, 126, 0xff, 0xff],
            &Rules::NONE,
            &mut Counts::default(),
            |_, _| {},
        );
        passage.skip(65_525, &mut Counts::default());
        assert_eq!(passage.may_be_followed(), Some(10));
    }
}
