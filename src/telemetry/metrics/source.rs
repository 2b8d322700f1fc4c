//! Series about the source of objects.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::time::Instant;

type Kind = [(&'static str, &'static str); 1];

/// Series about the source of objects. Those with a kind are absent until a cluster is watched.
#[derive(Debug)]
pub struct Source {
    connected: Family<Kind, Gauge>,
    refused: Family<Kind, Gauge<u64, AtomicU64>>,
    restarts: Family<[(&'static str, &'static str); 2], Counter>,
    holds: Family<Kind, Counter>,
    failures: Counter,
    staleness: Staleness,
}

impl Source {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let source = Self {
            connected: Family::default(),
            refused: Family::default(),
            restarts: Family::default(),
            holds: Family::default(),
            failures: Counter::default(),
            staleness: Staleness::default(),
        };
        registry.register(
            "source_connected",
            "Whether all watches of a kind are open: 0 or 1",
            source.connected.clone(),
        );
        registry.register(
            "source_refused_objects",
            "Objects of the cluster whose newest version cannot be read",
            source.refused.clone(),
        );
        registry.register(
            "source_restarts",
            "Watches that ended before their time, or could not begin, by reason",
            source.restarts.clone(),
        );
        registry.register(
            "relist_guard_holds",
            "Complete lists that would have removed too much and wait for a second one",
            source.holds.clone(),
        );
        registry.register(
            "translation_failures",
            "Objects, or groups of changes, that made Hawser itself fail; please report what the log says of them",
            source.failures.clone(),
        );
        registry.register_with_unit(
            "source_staleness",
            "Time since the API server last said anything, for the watch that has heard nothing for longest",
            Unit::Seconds,
            source.staleness.clone(),
        );
        source
    }

    /// `source_connected{kind}`.
    pub fn connected(&self, kind: &'static str, connected: bool) {
        let labels = [("kind", kind)];
        self.connected
            .get_or_create(&labels)
            .set(i64::from(connected));
    }

    /// `source_refused_objects{kind}`.
    pub fn refused(&self, kind: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.refused.get_or_create(&[("kind", kind)]).set(count);
    }

    /// `source_restarts_total{kind,reason}`.
    pub fn restart(&self, kind: &'static str, reason: &'static str) {
        let labels = [("kind", kind), ("reason", reason)];
        self.restarts.get_or_create(&labels).inc();
    }

    /// `relist_guard_holds_total{kind}`.
    pub fn guard_hold(&self, kind: &'static str) {
        self.holds.get_or_create(&[("kind", kind)]).inc();
    }

    /// `translation_failures_total`.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// `source_staleness_seconds`: the watch with this number has just heard of the server.
    pub fn heard(&self, watch: usize) {
        self.staleness.0.lock().insert(watch, Instant::now());
    }
}

/// When each watch last heard of the server; read at each scrape.
#[derive(Debug, Clone, Default)]
struct Staleness(Arc<Mutex<BTreeMap<usize, Instant>>>);

impl EncodeMetric for Staleness {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let oldest = self.0.lock().values().min().copied();
        let age = oldest.map_or(0.0, |oldest| oldest.elapsed().as_secs_f64());
        encoder.encode_gauge(&age)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
