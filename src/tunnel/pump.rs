//! Both directions of a tunnel in one state machine, and how it comes to its end.
//!
//! ```text
//!   Open ──► Finishing (a peer closed or was lost) ──► Lingering ──► ended
//!     └────► Ending (limits, orders: our own Close) ───┘
//! ```

mod clock;

use std::{
    cell::Cell,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    counts::Counts,
    flow::{Flow, SCRATCH_BYTES, Turn},
    outcome::{Cause, Initiator, Loss, Order, Verdict},
    passage::{Place, To},
    phase::{ENDING, Ending, MESSAGE_PATIENCE, Patience, Phase},
    pings::{Pings, Silent},
    rates::Rates,
    side::Side,
    stall::{self, Look},
};
use crate::{
    ir,
    ws::{
        close,
        frame::{Extensions, Rules, Strict, Violation},
    },
};

/// Rounds of both directions before other tasks get their turn: at most 2 MiB.
const MAX_ROUNDS: usize = 16;

/// The same in messages and small frames, which cost what they cost however few bytes they are.
const MAX_MESSAGES: u32 = 1024;

/// Share of `timeouts.maxLifetime` over which the ends of a fleet are spread.
const LIFETIME_SPREAD: f64 = 0.1;

/// For the answer to a peer's Close, and for the other direction after a FIN: long enough for a slow mobile
/// network, short enough that a broken peer does not hold two sockets for long.
const FINISH: Duration = Duration::from_secs(10);

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

/// What becomes of a tunnel in which a rule was broken.
fn broken(violation: Violation) -> (Cause, close::Status) {
    let (cause, code) = if violation.is_limit() {
        (Cause::MessageTooBig, close::TOO_BIG)
    } else {
        (Cause::ProtocolError, close::PROTOCOL_ERROR)
    };
    let reason = violation.reason();
    (cause, close::Status { code, reason })
}

/// What a tunnel is to know when it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// How its route treats it.
    pub(super) policy: &'a ir::Policy,
    /// Which were negotiated.
    pub(super) extensions: Extensions,
    /// Large frames may be moved without a copy.
    pub(super) splice: bool,
}

thread_local! {
    /// What is read on this thread. Between two polls it holds nothing of anybody.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
    extensions: Extensions,
    /// A side has taken nothing for some time.
    stalled: bool,
    /// The client has sent so much at once that it may do so again.
    uploads: bool,
    /// When a byte of the application moved last.
    active: Instant,
    /// When `timeouts.maxLifetime` ends it.
    lifetime: Option<Instant>,
    pings: Option<Box<Pings>>,
    /// Rarely there, so boxed.
    doubts: Option<Box<Doubts>>,
    /// When the timer fires. Never set later than needed, but often earlier: nothing is done to it when
    /// a byte moves.
    armed: Option<Instant>,
}

/// About a side that may be gone.
#[derive(Debug, Default)]
struct Doubts {
    /// Why one seems to be gone, and when it is looked at again.
    second_look: Option<(Cause, Instant)>,
    /// Since when one takes nothing any more and nothing came from it.
    broken: Option<Instant>,
    /// The last look at one that is stalled.
    stall: Option<Look>,
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct News {
    /// From the client.
    pub(super) up: Counts,
    /// From the backend.
    pub(super) down: Counts,
    /// How long the last pongs of client and backend took.
    pub(super) round_trips: [Option<Duration>; 2],
    /// A side takes nothing.
    pub(super) stalled: bool,
}

impl News {
    /// Messages and small frames of both directions.
    fn charged(&self) -> u32 {
        self.up.charged().wrapping_add(self.down.charged())
    }
}

impl<C: Side, B: Side> Pump<C, B> {
    /// A pump whose sides have sent their early bytes already. They are the first `news`.
    pub(super) fn new(
        client: C,
        client_early: &[u8],
        backend: B,
        backend_early: &[u8],
        start: Start<'_>,
        news: &mut News,
    ) -> Self {
        let now = Instant::now();
        let Start { policy, .. } = start;
        stall::prepare(&client, &backend, policy.limits.write_stall.value);
        let rates = || Rates::new(&policy.limits, now);
        let mut pump = Self {
            client,
            backend,
            up: Flow::new(To::Backend, start.splice, rates()),
            down: Flow::new(To::Client, start.splice, rates()),
            phase: Phase::Open,
            verdict: None,
            extensions: start.extensions,
            stalled: false,
            uploads: false,
            active: now,
            lifetime: policy.timeouts.max_lifetime.value.and_then(|longest| {
                // A fleet that connected together does not end together, and a Close may have to wait for its place.
                let spread = longest.mul_f64(LIFETIME_SPREAD);
                let wait = MESSAGE_PATIENCE.min(spread / 2);
                let early = wait + spread.saturating_sub(wait).mul_f64(fastrand::f64());
                now.checked_add(longest.saturating_sub(early))
            }),
            pings: Pings::new(&policy.keepalive, now).map(Box::new),
            doubts: None,
            armed: None,
        };
        let (up, down) = pump.rules(policy);
        let limits = &policy.limits;
        pump.up.take_early(client_early, &up, limits, &mut news.up);
        pump.down
            .take_early(backend_early, &down, limits, &mut news.down);
        pump
    }

    /// Moves what can be moved, and ends the tunnel when it is told to. Adds what happened to `news`. Ready when both
    /// sockets may be closed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        policy: &ir::Policy,
        order: Option<Order>,
        news: &mut News,
    ) -> Poll<Verdict> {
        let mut scratch = SCRATCH.take();
        scratch.resize(SCRATCH_BYTES, 0);
        let rules = self.rules(policy);
        let mut rounds = 0;
        let before = news.charged();
        let mut due = (true, true);
        let result = loop {
            due = self.round(cx, &mut scratch, &rules, policy, due, news);
            let moved = due.0 || due.1;
            rounds += 1;
            let handled = news.charged().wrapping_sub(before);
            let last = rounds >= MAX_ROUNDS || handled > MAX_MESSAGES;
            let mut changed = self.step(moved, order);
            if last || !(moved || changed) {
                changed |= self.poll_timer(cx, sleep.as_mut(), policy);
            }
            if let (Phase::Over, Some(verdict)) = (&self.phase, self.verdict()) {
                break Poll::Ready(verdict);
            }
            if !(moved || changed) {
                break Poll::Pending;
            }
            if last {
                // Not the waker: the runtime would come back sixty times before it asks who else has something.
                let _pending = pin!(tokio::task::yield_now()).poll(cx);
                break Poll::Pending;
            }
            if changed {
                due = (true, true);
            }
        };
        SCRATCH.set(scratch);
        if let Some(pings) = &mut self.pings {
            news.round_trips = pings.take_round_trips();
        }
        news.stalled = self.stalled;
        result
    }

    /// What is to be said about the end: as far as it has come, `None` before it has begun.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let verdict = self.verdict?;
        let flows = [&self.down, &self.up];
        // A code of ours that reached nobody is none.
        let mut given = flows.iter().filter(|flow| flow.gave_close());
        let given = given.find_map(|flow| flow.passage.own_code());
        let seen = |flow: &&Flow| flow.passage.seen()?.code;
        let code = match verdict.cause.initiator() {
            Initiator::Hawser => given.or(flows.iter().find_map(seen)),
            // A peer's own Close, or ours about its loss.
            _ if flows
                .iter()
                .filter_map(seen)
                .any(|code| verdict.code == Some(code)) =>
            {
                verdict.code
            }
            _ => given,
        };
        Some(Verdict {
            code,
            client_got_close: self.down.gave_close(),
            backend_got_close: self.up.gave_close(),
            ..verdict
        })
    }

    /// Both ends.
    #[cfg(test)]
    pub(super) fn sides(&mut self) -> (&mut C, &mut B) {
        (&mut self.client, &mut self.backend)
    }

    /// What may come from the client, and what from the backend.
    fn rules(&self, policy: &ir::Policy) -> (Rules, Rules) {
        let upgrade = &policy.upgrade;
        let rules = |masked| Rules {
            frame: upgrade.max_frame_bytes.value.unwrap_or(u64::MAX),
            message: upgrade.max_message_bytes.value.unwrap_or(u64::MAX),
            strict: upgrade.strict.value.then_some(Strict {
                masked,
                extensions: self.extensions,
            }),
        };
        (rules(true), rules(false))
    }

    /// Polls the flows that are due, to the backend and to the client. Which of them moved: those are due again. One
    /// that did not has registered its waker and cannot move because the other did.
    fn round(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        rules: &(Rules, Rules),
        policy: &ir::Policy,
        due: (bool, bool),
        news: &mut News,
    ) -> (bool, bool) {
        let (client, backend, limits) = (&mut self.client, &mut self.backend, &policy.limits);
        let mut turn = Turn {
            cx,
            scratch,
            counts: &mut news.up,
        };
        let up = due.0 && self.up.poll(&mut turn, client, backend, &rules.0, limits);
        turn.counts = &mut news.down;
        let down = due.1 && self.down.poll(&mut turn, backend, client, &rules.1, limits);
        let moved = up || down;
        if moved {
            let now = Instant::now();
            // A pong to a ping of ours is no sign of life of the application.
            if self.up.passage.take_active() | self.down.passage.take_active() {
                self.active = now;
            }
            if let Some(pings) = &mut self.pings {
                pings.follow(&mut self.up, &mut self.down, now);
            }
            if news.up.bytes >= stall::UPLOAD && !self.uploads {
                self.uploads = true;
                stall::uploads(&self.client, &self.backend);
            }
            let gone = [&self.up, &self.down].map(|flow| flow.is_broken() || flow.source_ended());
            if gone == [false; 2]
                && let Some(doubts) = &mut self.doubts
                && let Some(last) = doubts.stall
                && !(stall::still_waits(&self.up, last) || stall::still_waits(&self.down, last))
            {
                doubts.stall = None;
                self.set_stalled(false, limits.write_stall.value);
            }
        }
        (up, down)
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
                // What breaks a rule from here on is cut off, and a Close of ours stands for the one behind it.
                let mut put = false;
                for flow in [&mut self.up, &mut self.down] {
                    if let Some(violation) = flow.passage.violation() {
                        let (_, close) = broken(violation);
                        put |= flow.put_close(close, Place::FrameStart);
                    }
                }
                let passed = self.up.pass_fin() | self.down.pass_fin();
                put || passed || (self.is_finished() && self.linger())
            }
            Phase::Ending(ref ending) => {
                let own = ending.own;
                let mut put = false;
                if self.down.source_ended() {
                    put |= self.down.put_close(own, Place::FrameStart);
                }
                // Who broke a rule is not asked for an answer: nothing more of it is read.
                let broke_a_rule = self.up.passage.violation().is_some();
                if self.up.source_ended() || (broke_a_rule && self.down.passage.is_closed()) {
                    put |= self.up.put_close(own, Place::FrameStart);
                }
                let passed = self.up.pass_fin() | self.down.pass_fin();
                put || passed || (self.is_answered() && self.linger())
            }
            Phase::Lingering(_) | Phase::Leaving(_)
                if self.up.source_ended() && self.down.source_ended() && self.is_sent() =>
            {
                self.phase = Phase::Over;
                true
            }
            Phase::Leaving(_) if self.is_sent() => {
                self.phase = Phase::Lingering(Instant::now() + LINGER);
                true
            }
            Phase::Lingering(_) | Phase::Leaving(_) | Phase::Over => false,
        }
    }

    /// Whether and how an open tunnel ends. A Close first: what comes with it is only its consequence.
    fn judge(&mut self, moved: bool, order: Option<Order>) -> bool {
        let mut lifted = false;
        if self.up.is_broken() || self.down.is_broken() {
            // A side that takes nothing any more may have said why: it is read as far as it goes, from now on.
            lifted |= self.up.is_broken() && self.down.lift_rates();
            lifted |= self.down.is_broken() && self.up.lift_rates();
            let doubts = self.doubts.get_or_insert_default();
            if moved || doubts.broken.is_none() {
                doubts.broken = Some(Instant::now());
            }
        }
        let code = |flow: &Flow| flow.passage.seen().and_then(|close| close.code);
        if self.up.passage.is_closed() {
            self.finish(Cause::ClientClosed, code(&self.up), None)
        } else if self.down.passage.is_closed() {
            self.finish(Cause::BackendClosed, code(&self.down), None)
        } else if let Some(violation) = self
            .up
            .passage
            .violation()
            .or(self.down.passage.violation())
        {
            let (cause, close) = broken(violation);
            self.end(cause, close)
        } else if self.up.source_ended() {
            self.lose(Silent::Client, Cause::ClientLost, None)
        } else if self.down.source_ended() {
            self.lose(Silent::Backend, Cause::BackendLost, None)
        } else if let Some(Order { cause, code }) = order {
            self.end(cause, own(cause, code))
        } else {
            lifted
        }
    }

    /// A side is gone: the other one is told. `declared` = how, where its socket has not said so.
    fn lose(&mut self, side: Silent, cause: Cause, declared: Option<Loss>) -> bool {
        let (flow, back, code) = match side {
            Silent::Client => (&mut self.up, &self.down, close::GOING_AWAY),
            Silent::Backend => (&mut self.down, &self.up, close::BAD_GATEWAY),
        };
        // Of an error the kernel tells once: whoever reads after a write that failed sees an end.
        let loss = match (flow.loss(), back.broken_by()) {
            (Some(Loss::Fin), Some(by)) => Some(by),
            (loss, _) => loss.or(declared),
        };
        // It had as long as `limits.writeStall` grants, and nobody knows whether it lives.
        let stalled = self.stalled && (back.blocked().is_some() || back.is_lossy());
        let loss = match loss {
            Some(Loss::TcpTimeout) if stalled => Some(Loss::WriteStall),
            loss => loss,
        };
        if !flow.source_ended() {
            flow.fail_source(declared.unwrap_or(Loss::Reset));
        }
        let put = flow.put_close(own(cause, code), Place::FrameStart);
        self.finish(cause, put.then_some(code), loss)
    }

    fn finish(&mut self, cause: Cause, code: Option<u16>, loss: Option<Loss>) -> bool {
        self.verdict = Some(Verdict {
            loss,
            ..Verdict::new(cause, code)
        });
        self.phase = Phase::Finishing(Instant::now() + FINISH);
        self.lift_rates();
        true
    }

    /// Begins an ending: Close to the client as soon as it has a place, to the backend when the client has
    /// answered.
    fn end(&mut self, cause: Cause, own: close::Status) -> bool {
        self.verdict = Some(Verdict::new(cause, None));
        self.phase = Phase::Ending(Box::new(Ending {
            own,
            since: Instant::now(),
            patience: Patience::Message,
        }));
        self.lift_rates();
        self.down.put_close(own, Place::MessageStart);
        self.up.put_close(own, Place::AtClose);
        true
    }

    fn lift_rates(&mut self) {
        self.up.lift_rates();
        self.down.lift_rates();
    }

    /// After a peer's Close or loss: both directions have passed on their last.
    fn is_finished(&self) -> bool {
        let over = |flow: &Flow, back: &Flow| {
            // A reset side takes nothing.
            back.source_failed()
                || (flow.is_flushed()
                    && (flow.passage.is_closed() || flow.is_broken() || flow.source_ended()))
        };
        over(&self.up, &self.down) && over(&self.down, &self.up)
    }

    /// In an ending: both sides have closed too, or are gone.
    fn is_answered(&self) -> bool {
        let answered = |flow: &Flow, back: &Flow| {
            flow.is_flushed()
                && (flow.passage.seen().is_some() || flow.source_ended() || back.is_broken())
        };
        answered(&self.up, &self.down) && answered(&self.down, &self.up)
    }

    /// Whether FIN went to both, as far as they take anything.
    fn is_sent(&self) -> bool {
        let flows = [&self.up, &self.down];
        flows.iter().all(|flow| flow.is_sent() || flow.is_broken())
    }

    /// Whether Hawser ends it.
    fn is_ours(&self) -> bool {
        let initiator = self.verdict.map(|verdict| verdict.cause.initiator());
        initiator == Some(Initiator::Hawser)
    }

    /// Sends FIN to both and drops what still comes.
    fn linger(&mut self) -> bool {
        self.up.abandon();
        self.down.abandon();
        self.phase = Phase::Lingering(Instant::now() + LINGER);
        true
    }
}
