//! Pings of our own (`keepalive`): between frames, one at a time and side, their pongs swallowed.

use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use crate::ir;

/// The pings of a tunnel. How often and how long is with the policy of the route.
#[derive(Debug)]
pub(super) struct Pings {
    next: Instant,
    client: Option<Ping>,
    backend: Option<Ping>,
}

/// The pings to one side.
#[derive(Debug, Default)]
struct Ping {
    /// When the one that is not answered left.
    sent: Option<Instant>,
    /// It left more than once: nobody knows which one the answer is to.
    again: bool,
    /// How long the last answer took, µs; not told yet.
    round_trip: Option<u32>,
}

/// A side that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silent {
    Client,
    Backend,
}

impl Pings {
    /// `None` where there are none.
    pub(super) fn new(keepalive: &ir::Keepalive, now: Instant) -> Option<Self> {
        let interval = keepalive.interval.value?;
        let target = keepalive.target.value;
        let side = |wanted: bool| wanted.then(Ping::default);
        Some(Self {
            next: now.checked_add(interval)?,
            client: side(target != ir::PingTarget::Backend),
            backend: side(target != ir::PingTarget::Client),
        })
    }

    /// When something is due.
    pub(super) fn deadline(&self, up: &Flow, down: &Flow, keepalive: &ir::Keepalive) -> Instant {
        let pongs = [(&self.client, up), (&self.backend, down)].into_iter();
        let pongs = pongs.filter_map(|(ping, from)| {
            let since = ping.as_ref()?.waits_since(from)?;
            since.checked_add(keepalive.timeout.value?)
        });
        pongs.fold(self.next, Instant::min)
    }

    /// Follows what has moved. `up` and `down` are the directions to the backend and to the client.
    pub(super) fn follow(&mut self, up: &mut Flow, down: &mut Flow, now: Instant) {
        if let Some(ping) = &mut self.client {
            ping.follow(down, up, now);
        }
        if let Some(ping) = &mut self.backend {
            ping.follow(up, down, now);
        }
    }

    /// Who did not answer in time.
    pub(super) fn late(
        &mut self,
        up: &mut Flow,
        down: &mut Flow,
        keepalive: &ir::Keepalive,
        now: Instant,
    ) -> Option<Silent> {
        let timeout = keepalive.timeout.value?;
        let late = |ping: &mut Option<Ping>, to: &mut Flow, from: &mut Flow| {
            ping.as_mut()
                .is_some_and(|ping| ping.is_late(to, from, timeout, now))
        };
        if late(&mut self.client, down, up) {
            return Some(Silent::Client);
        }
        late(&mut self.backend, up, down).then_some(Silent::Backend)
    }

    /// Sends what is due.
    pub(super) fn send(
        &mut self,
        up: &mut Flow,
        down: &mut Flow,
        keepalive: &ir::Keepalive,
        now: Instant,
    ) {
        if let Some(interval) = keepalive.interval.value
            && now >= self.next
        {
            self.next = now + interval;
            let waits = keepalive.timeout.value.is_some();
            if let Some(ping) = &mut self.client {
                ping.send(down, up, waits);
            }
            if let Some(ping) = &mut self.backend {
                ping.send(up, down, waits);
            }
        }
    }

    /// How long the last answers of client and backend took, each told once.
    pub(super) fn take_round_trips(&mut self) -> [Option<Duration>; 2] {
        let take = |ping: &mut Option<Ping>| {
            let took = ping.as_mut()?.round_trip.take()?;
            Some(Duration::from_micros(took.into()))
        };
        [take(&mut self.client), take(&mut self.backend)]
    }
}

impl Ping {
    /// `to` carries the ping, `from` its answer.
    fn follow(&mut self, to: &Flow, from: &mut Flow, now: Instant) {
        match self.sent {
            None if from.passage.awaits_pong() && !to.ping_waits() => {
                from.take_heard();
                self.sent = Some(now);
            }
            Some(sent) if !from.passage.awaits_pong() => {
                self.sent = None;
                if !std::mem::take(&mut self.again) {
                    let took = now.saturating_duration_since(sent).as_micros();
                    self.round_trip = Some(u32::try_from(took).unwrap_or(u32::MAX));
                }
            }
            _ => {}
        }
    }

    /// Since when the answer could have been read.
    fn waits_since(&self, from: &Flow) -> Option<Instant> {
        self.sent
            .map(|sent| from.withheld().map_or(sent, |until| until.max(sent)))
    }

    fn is_late(&mut self, to: &mut Flow, from: &mut Flow, timeout: Duration, now: Instant) -> bool {
        let late = self
            .waits_since(from)
            .is_some_and(|since| now.saturating_duration_since(since) >= timeout);
        // Who sends one long frame cannot put a pong into it, who reads slowly has not got the ping yet, and where the other
        // side reads slowly the answer is not read.
        if !late {
            return false;
        }
        let heard = from.take_heard();
        let is_blocked = to.blocked().is_some() || from.blocked().is_some();
        if !heard && !is_blocked {
            return true;
        }
        self.sent = Some(now);
        // Of several pings the last one may be the only one that is answered (RFC 6455 section 5.5.3), and another one
        // may have come from the other side.
        self.repeat(to, from);
        false
    }

    /// Sends a ping. While one is still to be answered only where nobody `waits` for answers, and then the same one.
    fn send(&mut self, to: &mut Flow, from: &mut Flow, waits: bool) {
        if !from.passage.awaits_pong() {
            let payload = fastrand::u64(..).to_be_bytes();
            if to.put_ping(payload) {
                from.passage.expect_pong(payload);
            }
        } else if !waits {
            self.repeat(to, from);
        }
    }

    /// Sends the last ping again, unless it has not left yet.
    fn repeat(&mut self, to: &mut Flow, from: &Flow) {
        if let (false, Some(payload)) = (to.ping_waits(), from.passage.pinged()) {
            self.again |= to.put_ping(payload);
        }
    }
}
