//! Both directions of a tunnel in one state machine, and how it comes to its end.
//!
//! ```text
//!   Open ──► Finishing (a peer closed or was lost) ──► Lingering ──► ended
//!     └────► Ending (idle, drain: our own Close) ──────┘
//! ```

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep},
};

use super::{
    flow::{Flow, Place, To},
    outcome::{Cause, Order, Verdict},
};
use crate::ws::close;

/// One read: what a socket buffer typically holds; larger ones bring no more throughput.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Rounds of both directions before other tasks get their turn: at most 2 MiB.
const MAX_ROUNDS: usize = 16;

/// For the answer to a peer's Close, and for the other direction after a FIN: long enough for a slow mobile
/// network, short enough that a broken peer does not hold two sockets for long.
const FINISH: Duration = Duration::from_secs(10);

/// From the decision to end a tunnel until its Close may interrupt a fragmented message: most messages are
/// over by then.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(2);

/// From the decision until the backend gets its Close if the client has not answered: frames that were on
/// their way have arrived by then.
const CLIENT_PATIENCE: Duration = Duration::from_secs(3);

/// The whole of an ending, to the FIN.
const ENDING: Duration = Duration::from_secs(5);

/// After the FINs: closing a socket that has unread bytes sends RST, and RST can destroy what the peer has
/// not read yet. One round trip of a slow network.
const LINGER: Duration = Duration::from_secs(1);

/// A Close of our own.
fn own(cause: Cause, code: u16) -> close::Status {
    close::Status {
        code,
        reason: cause.reason(),
    }
}

thread_local! {
    /// What is read on this thread. Between two polls it holds nothing of anybody.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Open,
    /// A peer closed or was lost; until then the other direction may go on.
    Finishing(Instant),
    /// Hawser closes the tunnel.
    Ending(Ending),
    /// FIN was sent to both; then it is over, if the peers do not end before.
    Lingering(Instant),
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Ending {
    own: close::Status,
    since: Instant,
    patience: Patience,
}

/// What an ending waits for.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// The end of a message to the client.
    Message,
    /// The client's Close.
    Client,
    /// Both answers.
    Answers,
}

impl Ending {
    fn deadline(&self) -> Instant {
        self.since
            + match self.patience {
                Patience::Message => MESSAGE_PATIENCE,
                Patience::Client => CLIENT_PATIENCE,
                Patience::Answers => ENDING,
            }
    }
}

/// Two sockets and all that happens between them.
#[derive(Debug)]
pub(super) struct Pump<C, B> {
    client: C,
    backend: B,
    /// Client to backend.
    up: Flow,
    /// Backend to client.
    down: Flow,
    phase: Phase,
    verdict: Option<Verdict>,
    idle: Option<Duration>,
    /// When a byte moved last.
    active: Instant,
    /// When the timer fires. Never set later than needed, but often earlier: nothing is done to it when
    /// a byte moves.
    armed: Option<Instant>,
}

impl<C, B> Pump<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// A pump whose sides have sent their early bytes already.
    pub(super) fn new(
        client: C,
        client_early: &[u8],
        backend: B,
        backend_early: &[u8],
        idle: Option<Duration>,
    ) -> Self {
        Self {
            client,
            backend,
            up: Flow::new(To::Backend, client_early),
            down: Flow::new(To::Client, backend_early),
            phase: Phase::Open,
            verdict: None,
            idle,
            active: Instant::now(),
            armed: None,
        }
    }

    /// Moves what can be moved, and ends the tunnel when it is told to. Ready when both sockets may be closed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        order: Option<Order>,
    ) -> Poll<Verdict> {
        let mut scratch = SCRATCH.take();
        scratch.resize(SCRATCH_BYTES, 0);
        let mut rounds = 0;
        let result = loop {
            let moved = self.round(cx, &mut scratch);
            if moved {
                self.active = Instant::now();
            }
            rounds += 1;
            let last = rounds >= MAX_ROUNDS;
            let mut changed = self.step(moved, order);
            if last || !(moved || changed) {
                changed |= self.poll_timer(cx, sleep.as_mut());
            }
            if let (Phase::Over, Some(verdict)) = (self.phase, self.verdict) {
                break Poll::Ready(verdict);
            }
            if !(moved || changed) {
                break Poll::Pending;
            }
            if last {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
        };
        SCRATCH.set(scratch);
        result
    }

    /// Bytes from the client and from the backend since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        let counts = (self.up.count, self.down.count);
        (self.up.count, self.down.count) = (0, 0);
        counts
    }

    fn round(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> bool {
        let (client, backend) = (&mut self.client, &mut self.backend);
        let up = self.up.poll(cx, client, backend, scratch);
        let down = self.down.poll(cx, backend, client, scratch);
        up || down
    }

    /// Judges what has been seen. Whether that changed anything.
    fn step(&mut self, moved: bool, order: Option<Order>) -> bool {
        match self.phase {
            Phase::Open => self.judge(moved, order),
            Phase::Finishing(until) => {
                let soon = Instant::now() + ENDING;
                if order.is_some() && until > soon {
                    self.phase = Phase::Finishing(soon);
                }
                let passed = self.up.pass_fin() | self.down.pass_fin();
                passed || (self.is_finished() && self.linger())
            }
            Phase::Ending(Ending { own, .. }) => {
                if self.down.source_ended() {
                    self.down.put_close(own, Place::FrameStart);
                }
                if self.up.source_ended() {
                    self.up.put_close(own, Place::FrameStart);
                }
                let passed = self.up.pass_fin() | self.down.pass_fin();
                passed || (self.is_answered() && self.linger())
            }
            Phase::Lingering(_) if self.up.source_ended() && self.down.source_ended() => {
                self.phase = Phase::Over;
                true
            }
            Phase::Lingering(_) | Phase::Over => false,
        }
    }

    /// Whether and how an open tunnel ends. A Close first: what comes with it is only its consequence.
    fn judge(&mut self, moved: bool, order: Option<Order>) -> bool {
        // A side that takes nothing any more may have said why: it is read as far as it goes.
        if self.up.is_broken() && !moved {
            self.down.fail_source();
        }
        if self.down.is_broken() && !moved {
            self.up.fail_source();
        }
        let code = |flow: &Flow| flow.seen().and_then(|close| close.code);
        if self.up.is_closed() {
            self.finish(Cause::ClientClosed, code(&self.up))
        } else if self.down.is_closed() {
            self.finish(Cause::BackendClosed, code(&self.down))
        } else if self.up.source_ended() {
            let own = own(Cause::ClientLost, close::GOING_AWAY);
            let put = self.up.put_close(own, Place::FrameStart);
            self.finish(Cause::ClientLost, put.then_some(own.code))
        } else if self.down.source_ended() {
            let own = own(Cause::BackendLost, close::BAD_GATEWAY);
            let put = self.down.put_close(own, Place::FrameStart);
            self.finish(Cause::BackendLost, put.then_some(own.code))
        } else if let Some(Order { cause, code }) = order {
            self.end(cause, code)
        } else {
            false
        }
    }

    fn finish(&mut self, cause: Cause, code: Option<u16>) -> bool {
        self.verdict = Some(Verdict { cause, code });
        self.phase = Phase::Finishing(Instant::now() + FINISH);
        true
    }

    /// Begins an ending: Close to the client as soon as it has a place, to the backend when the client has
    /// answered.
    fn end(&mut self, cause: Cause, code: u16) -> bool {
        let own = own(cause, code);
        self.verdict = Some(Verdict { cause, code: None });
        self.phase = Phase::Ending(Ending {
            own,
            since: Instant::now(),
            patience: Patience::Message,
        });
        self.down.put_close(own, Place::MessageStart);
        self.up.put_close(own, Place::AtClose);
        true
    }

    /// After a peer's Close or loss: both directions have passed on their last.
    fn is_finished(&self) -> bool {
        let over = |flow: &Flow, back: &Flow| {
            flow.is_flushed()
                && (flow.is_closed()
                    || flow.is_broken()
                    || flow.source_ended()
                    // A reset side takes nothing.
                    || back.source_failed())
        };
        over(&self.up, &self.down) && over(&self.down, &self.up)
    }

    /// In an ending: both sides have closed too, or are gone.
    fn is_answered(&self) -> bool {
        let answered = |flow: &Flow, back: &Flow| {
            flow.is_flushed() && (flow.seen().is_some() || flow.source_ended() || back.is_broken())
        };
        answered(&self.up, &self.down) && answered(&self.down, &self.up)
    }

    /// Sends FIN to both and drops what still comes.
    fn linger(&mut self) -> bool {
        if let (Phase::Ending(_), Some(verdict)) = (self.phase, &mut self.verdict) {
            let seen = self.down.seen().or(self.up.seen());
            let put = self.down.own_code().or(self.up.own_code());
            verdict.code = put.or(seen.and_then(|close| close.code));
        }
        self.up.abandon();
        self.down.abandon();
        self.phase = Phase::Lingering(Instant::now() + LINGER);
        true
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => self.active.checked_add(self.idle?),
            Phase::Finishing(until) | Phase::Lingering(until) => Some(until),
            Phase::Ending(ending) => Some(ending.deadline()),
            Phase::Over => None,
        }
    }

    /// Looks at the clock, only when the timer fires. Whether that changed anything.
    fn poll_timer(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> bool {
        while let Some(deadline) = self.deadline() {
            if self.armed.is_none_or(|armed| armed > deadline) {
                sleep.as_mut().reset(deadline);
                self.armed = Some(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.armed = None;
            if Instant::now() >= deadline {
                self.run_out();
                return true;
            }
        }
        false
    }

    /// The deadline of the phase has passed.
    fn run_out(&mut self) {
        match self.phase {
            Phase::Open => {
                self.end(Cause::IdleTimeout, close::GOING_AWAY);
            }
            Phase::Finishing(_) => {
                self.linger();
            }
            Phase::Ending(ending) => {
                let patience = match ending.patience {
                    Patience::Message => {
                        self.down.put_close(ending.own, Place::FrameStart);
                        Patience::Client
                    }
                    Patience::Client => {
                        self.up.put_close(ending.own, Place::FrameStart);
                        Patience::Answers
                    }
                    Patience::Answers => {
                        self.linger();
                        return;
                    }
                };
                self.phase = Phase::Ending(Ending { patience, ..ending });
            }
            Phase::Lingering(_) | Phase::Over => self.phase = Phase::Over,
        }
    }
}
