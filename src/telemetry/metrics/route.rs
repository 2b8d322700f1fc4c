//! The series of one rule.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Direction, MESSAGE_TYPES, PingTarget,
    counts::{CloseCode, Counts, StatusCode},
};
use crate::ir;

/// The series of one rule. Fetched once per request or tunnel; lives while anybody holds it.
#[derive(Debug)]
pub struct RouteMetrics {
    labels: Labels,
    epoch: Instant,
    /// Apart from `live`, because every read and write of a tunnel counts here.
    moved: [Moved; 2],
    live: Mutex<Live>,
}

/// What tunnels passed on in one direction.
#[derive(Debug, Default)]
struct Moved {
    bytes: AtomicU64,
    messages: [AtomicU64; MESSAGE_TYPES.len()],
}

#[derive(Debug, Default)]
struct Live {
    counts: Counts,
    last_end: Option<Instant>,
}

impl RouteMetrics {
    pub(super) fn new(labels: Labels, epoch: Instant) -> Arc<Self> {
        Arc::new(Self {
            labels,
            epoch,
            moved: Default::default(),
            live: Mutex::default(),
        })
    }

    /// `websocket_handshakes_total{result,reason}`; result is `accepted` or `refused`.
    pub fn handshake(&self, accepted: bool, reason: &'static str) {
        let mut live = self.live.lock();
        let key = (accepted, reason);
        *live.counts.handshakes.entry(key).or_default() += 1;
    }

    /// `websocket_connections` and `websocket_connection_seconds_total`.
    pub fn open(self: &Arc<Self>) -> OpenTunnel {
        let started = Instant::now();
        let offset = started.duration_since(self.epoch);
        self.live.lock().counts.opened(offset);
        OpenTunnel {
            route: Arc::clone(self),
            started,
        }
    }

    /// `websocket_bytes_total{direction}` and `websocket_messages_total{direction,type}`, while the tunnel is open.
    /// `messages` in the order of [`MESSAGE_TYPES`].
    pub fn moved(&self, direction: Direction, bytes: u64, messages: [u32; MESSAGE_TYPES.len()]) {
        let [to_backend, to_client] = &self.moved;
        let moved = match direction {
            Direction::ClientToBackend => to_backend,
            Direction::BackendToClient => to_client,
        };
        moved.bytes.fetch_add(bytes, Ordering::Relaxed);
        for (total, count) in moved.messages.iter().zip(messages) {
            if count > 0 {
                total.fetch_add(count.into(), Ordering::Relaxed);
            }
        }
    }

    /// `websocket_ping_rtt_seconds{target}`; target is `client` or `backend`.
    pub fn ping(&self, target: PingTarget, round_trip: Duration) {
        let mut live = self.live.lock();
        let histogram = match target {
            PingTarget::Client => &mut live.counts.client_pings,
            PingTarget::Backend => &mut live.counts.backend_pings,
        };
        histogram.observe(round_trip);
    }

    /// `websocket_stalled`, until the guard is dropped.
    pub fn stalled(self: &Arc<Self>) -> StalledTunnel {
        self.live.lock().counts.stalled += 1;
        StalledTunnel(Arc::clone(self))
    }

    /// `websocket_closes_total{cause,code}` and `websocket_duration_seconds`.
    pub fn close(&self, cause: &'static str, code: Option<u16>, duration: Duration) {
        let mut live = self.live.lock();
        let key = (cause, CloseCode::new(code));
        *live.counts.closes.entry(key).or_default() += 1;
        live.counts.durations.observe(duration);
    }

    /// `http_requests_total{code}` and `http_request_duration_seconds`.
    pub fn http(&self, status: u16, duration: Duration) {
        let mut live = self.live.lock();
        let key = StatusCode::new(status);
        *live.counts.requests.entry(key).or_default() += 1;
        live.counts.latencies.observe(duration);
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// When the last tunnel ended, if any did.
    pub(super) fn last_end(&self) -> Option<Instant> {
        self.live.lock().last_end
    }

    /// The numbers as they are now.
    pub(super) fn snapshot(&self) -> Counts {
        let mut counts = self.live.lock().counts.clone();
        for (direction, moved) in self.moved.iter().enumerate() {
            if let Some(total) = counts.bytes.get_mut(direction) {
                *total = total.wrapping_add(moved.bytes.load(Ordering::Relaxed));
            }
            let messages = counts.messages.get_mut(direction).into_iter().flatten();
            for (total, count) in messages.zip(&moved.messages) {
                *total = total.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        counts
    }

    /// Takes over the numbers of series that go.
    pub(super) fn absorb(&self, other: &Self) {
        let theirs = other.snapshot();
        let mut live = self.live.lock();
        live.counts.add(&theirs);
        live.last_end = live.last_end.max(other.last_end());
    }
}

/// Counts a tunnel as open until it is dropped: the gauge and the connection seconds.
#[derive(Debug)]
pub struct OpenTunnel {
    route: Arc<RouteMetrics>,
    started: Instant,
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let now = Instant::now();
        let epoch = self.route.epoch;
        let mut live = self.route.live.lock();
        live.counts.ended(
            self.started.duration_since(epoch),
            now.duration_since(epoch),
        );
        live.last_end = Some(now);
    }
}

/// Counts a tunnel as stalled until it is dropped.
#[derive(Debug)]
pub struct StalledTunnel(Arc<RouteMetrics>);

impl Drop for StalledTunnel {
    fn drop(&mut self) {
        let mut live = self.0.live.lock();
        live.counts.stalled = live.counts.stalled.saturating_sub(1);
    }
}

/// The labels that name a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    /// `WebSocketRoute`, `Ingress`, empty for requests that no route took, `other` above the limit of series.
    pub(super) kind: &'static str,
    /// Namespace of the object.
    pub(super) namespace: Arc<str>,
    /// Name of the object.
    pub(super) route: Arc<str>,
    /// Name of the rule; `None` = the label is dropped.
    pub(super) rule: Option<Arc<str>>,
}

impl Labels {
    /// Of one rule.
    pub(super) fn rule(id: &ir::RouteId) -> Self {
        Self {
            rule: Some(Arc::clone(&id.rule)),
            ..Self::object(&id.object)
        }
    }

    /// Of all rules of an object.
    pub(super) fn object(id: &ir::ObjectId) -> Self {
        Self {
            kind: id.kind.as_str(),
            namespace: Arc::clone(&id.namespace),
            route: Arc::clone(&id.name),
            rule: None,
        }
    }

    /// Of no object in particular.
    pub(super) fn nothing(kind: &'static str) -> Self {
        let empty: Arc<str> = Arc::from("");
        Self {
            kind,
            namespace: Arc::clone(&empty),
            route: Arc::clone(&empty),
            rule: Some(empty),
        }
    }
}
