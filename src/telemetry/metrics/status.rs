//! Series about what is written to the API server.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type WriteLabels = [(&'static str, &'static str); 3];
type QueueLabels = [(&'static str, &'static str); 1];

/// Series about what is written to the API server.
#[derive(Debug)]
pub struct Status {
    writes: Family<WriteLabels, Counter>,
    queue: Family<QueueLabels, Gauge<u64, AtomicU64>>,
    retries: Counter,
    throttled: Counter,
}

impl Status {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let status = Self {
            writes: Family::default(),
            queue: Family::default(),
            retries: Counter::default(),
            throttled: Counter::default(),
        };
        registry.register(
            "status_writes",
            "Writes of statuses by result: ok, gone, conflict, forbidden, invalid, throttled, failed",
            status.writes.clone(),
        );
        registry.register(
            "status_queue",
            "Objects whose status is to be written, by field manager",
            status.queue.clone(),
        );
        registry.register(
            "status_retries",
            "Writes of statuses that are tried again later",
            status.retries.clone(),
        );
        registry.register(
            "status_throttled",
            "Writes of statuses for which the API server asked for fewer requests",
            status.throttled.clone(),
        );
        status
    }

    /// `status_writes_total{kind,manager,result}`.
    pub fn write(&self, kind: &str, manager: &'static str, result: &'static str) {
        let kind = if kind == "Ingress" {
            "Ingress"
        } else {
            "WebSocketRoute"
        };
        let labels = [("kind", kind), ("manager", manager), ("result", result)];
        self.writes.get_or_create(&labels).inc();
    }

    /// `status_queue{manager}`.
    pub fn queue(&self, manager: &'static str, objects: usize) {
        let objects = u64::try_from(objects).unwrap_or(u64::MAX);
        let labels = [("manager", manager)];
        self.queue.get_or_create(&labels).set(objects);
    }

    /// `status_retries_total`.
    pub fn retry(&self) {
        self.retries.inc();
    }

    /// `status_throttled_total`.
    pub fn throttled(&self) {
        self.throttled.inc();
    }
}
