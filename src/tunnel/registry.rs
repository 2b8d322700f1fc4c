//! All live tunnels, and the last ones that ended.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    Info, Route,
    counts::Counts,
    drain::Plan,
    outcome::{Cause, Loss, Order, Outcome, Verdict},
    pump::News,
    recent::Recent,
    way::{Found, Way},
};
use crate::{
    ir,
    telemetry::{
        access,
        metrics::{Direction, OpenTunnel, PingTarget, RouteMetrics, StalledTunnel},
    },
    upstream::{Endpoint, Standing, TunnelGuard},
};

/// All live tunnels. Their number is bounded by the limit of client connections.
#[derive(Debug, Default)]
pub struct Registry {
    live: Mutex<Live>,
    recent: Mutex<Recent>,
    last_id: AtomicU64,
    /// When tunnels are told to end.
    pub(super) plan: Plan,
    /// The process ends: a new tunnel has its place in the plan.
    pub(super) draining: AtomicBool,
    /// All tunnels end at once.
    pub(super) cut: AtomicBool,
    /// The last tunnel has gone.
    pub(super) empty: Notify,
    /// Generation of the last table that the watch has seen.
    pub(super) seen: AtomicU64,
    late: Notify,
}

#[derive(Debug, Default)]
struct Live {
    tunnels: HashMap<u64, Arc<Entry>>,
    /// How they came, and how many came so.
    ways: HashMap<Arc<Way>, usize>,
}

impl Live {
    /// The one that all share who came this way.
    fn share(&mut self, way: Way) -> Arc<Way> {
        if let Some((way, count)) = self.ways.get_key_value_mut(&way) {
            *count += 1;
            return Arc::clone(way);
        }
        let way = Arc::new(way);
        self.ways.insert(Arc::clone(&way), 1);
        way
    }

    fn remove(&mut self, entry: &Entry) {
        self.tunnels.remove(&entry.id);
        if let Some(count) = self.ways.get_mut(&entry.way) {
            *count -= 1;
            if *count == 0 {
                self.ways.remove(&entry.way);
            }
        }
    }
}

impl Registry {
    /// Live tunnels as the admin API shows them, the oldest first.
    pub fn list(&self) -> Vec<Snapshot> {
        let mut entries = self.entries();
        entries.sort_unstable_by_key(|entry| entry.id);
        entries.iter().map(|entry| entry.snapshot()).collect()
    }

    /// The last tunnels that ended, some of each route, the newest first.
    pub fn recently_closed(&self) -> Vec<Closed> {
        self.recent.lock().list()
    }

    /// How many are open of each object.
    pub fn count_by_object(&self) -> HashMap<ir::ObjectId, u64> {
        let mut counts = HashMap::new();
        for entry in self.live.lock().tunnels.values() {
            *counts
                .entry(entry.route.rule.id.object.clone())
                .or_insert(0) += 1;
        }
        counts
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.live.lock().tunnels.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All live tunnels. They are looked at outside of the lock: to wake one is to run foreign code.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.live.lock().tunnels.values().cloned().collect()
    }

    /// One live tunnel.
    pub(super) fn entry(&self, id: u64) -> Option<Arc<Entry>> {
        self.live.lock().tunnels.get(&id).cloned()
    }

    /// How the live tunnels came.
    pub(super) fn ways(&self) -> Vec<Arc<Way>> {
        self.live.lock().ways.keys().cloned().collect()
    }

    /// Returns when a tunnel opened that was on its way while its route or endpoint changed. For one caller.
    pub(super) async fn late(&self) {
        self.late.notified().await;
    }
}

/// A live tunnel, as those see it who choose some of all.
#[derive(Debug, Clone, Copy)]
pub struct Open<'a> {
    /// Number of the tunnel in this process.
    pub id: u64,
    /// Route.
    pub route: &'a ir::RouteId,
    /// Endpoint.
    pub endpoint: SocketAddr,
    /// `drain.window` of the route.
    pub window: Duration,
}

/// One live tunnel.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Snapshot {
    /// Number of the tunnel in this process.
    pub id: u64,
    /// Route.
    pub route: ir::RouteId,
    /// Endpoint.
    pub endpoint: SocketAddr,
    /// Facts.
    #[serde(flatten)]
    pub info: Info,
    /// Since the 101.
    pub age: Duration,
    /// Bytes from client to backend so far.
    pub bytes_from_client: u64,
    /// Bytes from backend to client so far.
    pub bytes_from_backend: u64,
    /// Text and binary messages from client to backend so far.
    pub messages_from_client: u64,
    /// Text and binary messages from backend to client so far.
    pub messages_from_backend: u64,
}

/// One tunnel that ended.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Closed {
    /// Number of the tunnel in this process.
    pub id: u64,
    /// Route.
    pub route: ir::RouteId,
    /// Endpoint.
    pub endpoint: SocketAddr,
    /// Facts.
    #[serde(flatten)]
    pub info: Info,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What the registry knows of a live tunnel, and how it reaches its task.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    info: Info,
    pub(super) route: Arc<Route>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) way: Arc<Way>,
    since: Instant,
    from_client: Total,
    from_backend: Total,
    /// The [`Order`] to end, packed; 0 = none.
    order: AtomicU32,
    /// Bits of the causes that the watch has found, and [`LATE`].
    noted: AtomicU32,
    task: AtomicWaker,
}

/// What one side has sent.
#[derive(Debug, Default)]
struct Total {
    bytes: AtomicU64,
    messages: AtomicU64,
}

/// It opened after the watch had looked at what it was opened with.
const LATE: u32 = 1 << 31;

impl Entry {
    /// Tells the tunnel to end. The first order counts.
    pub(super) fn give(&self, order: Order) {
        let first = self
            .order
            .compare_exchange(0, order.pack(), SeqCst, Relaxed);
        if first.is_ok() {
            self.wake();
        }
    }

    /// Has its task look at what it is told.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// Whether it has an order to end.
    pub(super) fn is_ending(&self) -> bool {
        self.order.load(SeqCst) != 0
    }

    /// Notes that there is this cause to end it. `false` where it was noted before.
    pub(super) fn note(&self, cause: Cause) -> bool {
        self.noted.fetch_or(cause.bit(), Relaxed) & cause.bit() == 0
    }

    /// Whether it opened after the watch had looked. Only the first time.
    pub(super) fn was_late(&self) -> bool {
        self.noted.load(Relaxed) & LATE != 0 && self.noted.fetch_and(!LATE, Relaxed) & LATE != 0
    }

    /// Facts.
    pub(super) fn info(&self) -> &Info {
        &self.info
    }

    /// What a filter sees.
    pub(super) fn open(&self) -> Open<'_> {
        Open {
            id: self.id,
            route: &self.route.rule.id,
            endpoint: self.endpoint.address(),
            window: self.route.rule.policy.drain.window.value,
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.id,
            route: self.route.rule.id.clone(),
            endpoint: self.endpoint.address(),
            info: self.info.clone(),
            age: self.since.elapsed(),
            bytes_from_client: self.from_client.bytes.load(Relaxed),
            bytes_from_backend: self.from_backend.bytes.load(Relaxed),
            messages_from_client: self.from_client.messages.load(Relaxed),
            messages_from_backend: self.from_backend.messages.load(Relaxed),
        }
    }

    fn line(&self) -> access::Tunnel<'_> {
        access::Tunnel {
            id: self.id,
            request_id: self.info.request_id,
            client: self.info.client,
            host: &self.info.host,
            path: &self.info.path,
            route: &self.route.rule.id,
            endpoint: self.endpoint.address(),
        }
    }
}

/// A tunnel's place in the registry. Ends with exactly one outcome, also when it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
    metrics: Arc<RouteMetrics>,
    /// Gone with the tunnel.
    counted: Option<(OpenTunnel, TunnelGuard)>,
    stalled: Option<StalledTunnel>,
}

impl Registration {
    /// Registers a tunnel and writes its first access line.
    pub(super) fn new(
        registry: Arc<Registry>,
        info: Info,
        route: Arc<Route>,
        found: Found,
        endpoint: &Arc<Endpoint>,
        metrics: Arc<RouteMetrics>,
    ) -> Self {
        let mut live = registry.live.lock();
        let entry = Arc::new(Entry {
            id: registry.last_id.fetch_add(1, Relaxed) + 1,
            info,
            route,
            endpoint: Arc::clone(endpoint),
            way: live.share(found.way),
            since: Instant::now(),
            from_client: Total::default(),
            from_backend: Total::default(),
            order: AtomicU32::new(0),
            noted: AtomicU32::new(0),
            task: AtomicWaker::new(),
        });
        live.tunnels.insert(entry.id, Arc::clone(&entry));
        drop(live);
        let counted = Some((metrics.open(), endpoint.tunnel()));
        // It is in the map and counted before anything is read that others write: one of both sides sees the other.
        registry.welcome(&entry);
        let overtaken = found.generation < registry.seen.load(SeqCst);
        if overtaken || endpoint.standing() != Standing::There {
            entry.noted.fetch_or(LATE, Relaxed);
            registry.late.notify_one();
        }
        access::tunnel_open(&entry.line());
        Self {
            registry,
            entry,
            counted,
            stalled: None,
            metrics,
        }
    }

    /// The order to end, if there is one. `task` is woken when one comes.
    pub(super) fn order(&self, task: &Waker) -> Option<Order> {
        self.entry.task.register(task);
        Order::unpack(self.entry.order.load(SeqCst))
    }

    /// The end of a tunnel that must not wait for anything any more.
    pub(super) fn cut(&self) -> Option<Cause> {
        let cut = self.registry.cut.load(SeqCst);
        cut.then(|| {
            let order = Order::unpack(self.entry.order.load(SeqCst));
            order.map_or(Cause::Drain, |order| order.cause)
        })
    }

    /// How the route treats the tunnel.
    pub(super) fn policy(&self) -> &ir::Policy {
        &self.entry.route.rule.policy
    }

    /// Counts what happened.
    pub(super) fn count(&mut self, news: &News) {
        let count = |total: &Total, direction, counts: &Counts| {
            if counts.bytes > 0 || counts.messages != [0; 5] {
                total.bytes.fetch_add(counts.bytes, Relaxed);
                total.messages.fetch_add(counts.data().into(), Relaxed);
                self.metrics.moved(direction, counts.bytes, counts.messages);
            }
        };
        let entry = &self.entry;
        count(&entry.from_client, Direction::ClientToBackend, &news.up);
        count(&entry.from_backend, Direction::BackendToClient, &news.down);
        let targets = [PingTarget::Client, PingTarget::Backend];
        for (target, round_trip) in targets.into_iter().zip(news.round_trips) {
            if let Some(round_trip) = round_trip {
                self.metrics.ping(target, round_trip);
            }
        }
        if news.stalled != self.stalled.is_some() {
            self.stalled = news.stalled.then(|| self.metrics.stalled());
        }
    }

    /// Ends it: metrics, access line, outcome; then it is no longer registered.
    pub(super) fn finish(mut self, verdict: Verdict) -> Outcome {
        self.record(verdict)
    }

    fn record(&mut self, verdict: Verdict) -> Outcome {
        let entry = &self.entry;
        let outcome = Outcome {
            initiator: verdict.cause.initiator(),
            cause: verdict.cause,
            loss: verdict.loss,
            code: verdict.code,
            client_got_close: verdict.client_got_close,
            backend_got_close: verdict.backend_got_close,
            bytes_from_client: entry.from_client.bytes.load(Relaxed),
            bytes_from_backend: entry.from_backend.bytes.load(Relaxed),
            messages_from_client: entry.from_client.messages.load(Relaxed),
            messages_from_backend: entry.from_backend.messages.load(Relaxed),
            duration: entry.since.elapsed(),
        };
        self.counted = None;
        self.metrics
            .close(outcome.cause.as_str(), outcome.code, outcome.duration);
        access::tunnel_close(
            &entry.line(),
            &access::End {
                initiator: outcome.initiator.as_str(),
                cause: outcome.cause.as_str(),
                loss: outcome.loss.map(Loss::as_str),
                code: outcome.code,
                client_got_close: outcome.client_got_close,
                backend_got_close: outcome.backend_got_close,
                bytes_from_client: outcome.bytes_from_client,
                bytes_from_backend: outcome.bytes_from_backend,
                messages_from_client: outcome.messages_from_client,
                messages_from_backend: outcome.messages_from_backend,
                duration: outcome.duration,
            },
        );
        self.registry.close(entry, &outcome);
        outcome
    }
}

impl Drop for Registration {
    /// The task was aborted or panicked before the tunnel had ended: Hawser let go of it.
    fn drop(&mut self) {
        if self.counted.is_some() {
            self.record(Verdict::new(Cause::Drain, None));
        }
    }
}

impl Registry {
    fn close(&self, entry: &Entry, outcome: &Outcome) {
        let closed = Closed {
            id: entry.id,
            route: entry.route.rule.id.clone(),
            endpoint: entry.endpoint.address(),
            info: entry.info.clone(),
            outcome: outcome.clone(),
        };
        self.recent.lock().push(closed);
        let mut live = self.live.lock();
        live.remove(entry);
        if live.tunnels.is_empty() {
            self.empty.notify_waiters();
        }
        drop(live);
        self.plan.forget(entry.id);
    }
}
