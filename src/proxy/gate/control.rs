//! What the gate of a connection and the service of its requests tell each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use http::{HeaderMap, Version, header, request::Parts};
use parking_lot::Mutex;

use super::{Refusal, field};

/// Target of the request that stands for a refused head: the gate refuses it from clients.
const SENTINEL_PATH: &str = "*";
/// The whole sentinel. Its answer may have a body.
const SENTINEL: &[u8] = b"GET * HTTP/1.1\r\n\r\n";
/// The sentinel for a HEAD request, whose answer must not have a body.
const SENTINEL_HEAD: &[u8] = b"HEAD * HTTP/1.1\r\n\r\n";

/// The bytes that stand for a refused head.
pub(super) fn sentinel(head_request: bool) -> &'static [u8] {
    if head_request {
        SENTINEL_HEAD
    } else {
        SENTINEL
    }
}

/// Whether the gate holds what follows this request until [`Control::upgrade`] is called: HTTP/1.1, Connection with
/// `upgrade`, Upgrade with `websocket` (perhaps among others). Other upgrades are never switched to, so there
/// is nothing to hold: some HTTP clients ask for h2c on every first request.
pub fn asks_for_tunnel(parts: &Parts) -> bool {
    let has = |name, token| has_token(&parts.headers, name, token);
    parts.version == Version::HTTP_11
        && has(header::UPGRADE, b"websocket")
        && has(header::CONNECTION, b"upgrade")
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .any(|value| field::has_token(value.as_bytes(), token))
}

/// What becomes of a request that asks for a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered with 101.
    Tunnel,
    /// It is answered with anything else.
    Refused,
}

/// The service's end of a [`Gate`](super::Gate). Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Heads that passed, sentinels included.
    admitted: AtomicUsize,
    /// Requests that reached the service.
    begun: AtomicUsize,
    /// Requests whose answer has ended.
    finished: AtomicUsize,
    /// hyper has bytes that the stream has not taken.
    unwritten: AtomicBool,
    /// A head has begun and not ended.
    reading: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    refusal: Option<Refusal>,
    aborted: Option<Refusal>,
    hold: Hold,
    /// Which one that is, or was: its place among those that passed.
    held: usize,
    early: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// No request is held.
    #[default]
    Open,
    /// One waits for its verdict.
    Waiting,
    /// It is there.
    Decided(Verdict),
}

/// How a held connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// No verdict yet.
    Waiting,
    /// The stream will be taken out of the gate.
    Tunnel,
    /// By framing.
    Resume,
    /// Not at all: what was read early is dropped, the connection closes after the answer.
    Close,
}

/// One request is being served while this lives.
#[derive(Debug)]
pub struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
    }
}

impl Control {
    /// Why this request is a refused one. Ask first of all, for every request; answer with the status and close.
    pub fn refusal(&self, parts: &Parts) -> Option<Refusal> {
        if parts.uri.path() != SENTINEL_PATH {
            return None;
        }
        self.0.state.lock().refusal
    }

    /// Why the body of the last request broke off. Ask when reading a request body failed: with a
    /// refusal the answer, if none has begun, is its status, and the connection closes.
    pub fn aborted(&self) -> Option<Refusal> {
        self.0.state.lock().aborted
    }

    /// Call once per request, sentinels included, when it reaches the service. Keep what comes back until
    /// the body of the answer has ended (put it into the body): the connection is not idle as long.
    pub fn begin(&self) -> InFlight {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// The verdict on the request that is being served. Call it for every request for which
    /// [`asks_for_tunnel`] is true, before its 101 or as soon as it is known that there will be none (and before
    /// its body is read). For others it does nothing, nor for a second time: what is held may be a later one.
    pub fn upgrade(&self, verdict: Verdict) {
        let mut state = self.0.state.lock();
        if state.hold == Hold::Waiting && self.serves(&state) {
            state.hold = Hold::Decided(verdict);
            // hyper does not poll a blocked read again by itself.
            let reader = state.reader.take();
            drop(state);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
    }

    /// Whether the last request that passed may become a tunnel, or does.
    pub fn may_be_tunnel(&self) -> bool {
        let hold = self.0.state.lock().hold;
        matches!(hold, Hold::Waiting | Hold::Decided(Verdict::Tunnel))
    }

    /// Whether the client sent bytes behind its handshake without waiting for the answer. Ask after a refusing
    /// [`Control::upgrade`]: if true the bytes are dropped, and the answer must say `Connection: close`.
    pub fn early_bytes(&self) -> bool {
        let state = self.0.state.lock();
        state.early && self.serves(&state)
    }

    /// Whether the held request is the one that is being served: they are served in their order, one at a time.
    fn serves(&self, state: &State) -> bool {
        state.held == self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether hyper still holds bytes of an answer: it flushes after it has written all it has.
    pub fn has_unwritten(&self) -> bool {
        self.0.unwritten.load(Ordering::Relaxed)
    }

    pub(super) fn unwritten(&self, unwritten: bool) {
        self.0.unwritten.store(unwritten, Ordering::Relaxed);
    }

    pub(super) fn admit(&self, heads: usize) {
        if heads > 0 {
            self.0.admitted.fetch_add(heads, Ordering::Relaxed);
        }
    }

    /// Whether a request that passed is not answered.
    pub(super) fn is_busy(&self) -> bool {
        let finished = self.0.finished.load(Ordering::Relaxed);
        self.0.admitted.load(Ordering::Relaxed) > finished
    }

    /// Whether a part of a head is here.
    pub fn is_reading(&self) -> bool {
        self.0.reading.load(Ordering::Relaxed)
    }

    pub(super) fn reading(&self, reading: bool) {
        self.0.reading.store(reading, Ordering::Relaxed);
    }

    /// Whether any head has passed.
    pub fn is_used(&self) -> bool {
        self.0.admitted.load(Ordering::Relaxed) > 0
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.0.state.lock().refusal = Some(refusal);
        self.admit(1);
    }

    pub(super) fn abort(&self, refusal: Refusal) {
        self.0.state.lock().aborted = Some(refusal);
    }

    /// A held request passed; `early` if bytes came with it.
    pub(super) fn hold(&self, early: bool) {
        let mut state = self.0.state.lock();
        state.hold = Hold::Waiting;
        state.held = self.0.admitted.load(Ordering::Relaxed);
        state.early = early;
    }

    /// The verdict, or a place for the reader to be woken. `early` as in [`Control::hold`].
    pub(super) fn held(&self, early: bool, reader: &Waker) -> Held {
        let mut state = self.0.state.lock();
        match state.hold {
            Hold::Waiting => {
                state.early = early;
                match &mut state.reader {
                    Some(known) => known.clone_from(reader),
                    unknown => *unknown = Some(reader.clone()),
                }
                Held::Waiting
            }
            Hold::Decided(Verdict::Tunnel) => Held::Tunnel,
            Hold::Decided(Verdict::Refused) if state.early => Held::Close,
            Hold::Decided(Verdict::Refused) | Hold::Open => {
                state.hold = Hold::Open;
                Held::Resume
            }
        }
    }
}
