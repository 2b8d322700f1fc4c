//! The series that belong to the process as a whole.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};

use super::histogram::{BUILD_BOUNDS, CONNECT_BOUNDS, PROPAGATION_BOUNDS};

/// The metrics of the process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) connections: Gauge,
    pub(super) connections_refused: Counter,
    pub(super) connection_panics: Counter,
    accept_errors: Family<[(&'static str, String); 1], Counter>,
    connected: Histogram,
    not_connected: Histogram,
    table_generation: Gauge<u64, AtomicU64>,
    table_hash: Gauge<u64, AtomicU64>,
    table_build: Histogram,
    table_objects: Family<[(&'static str, &'static str); 1], Gauge<u64, AtomicU64>>,
    propagation: Histogram,
    source_last_event: Timestamp,
    source_errors: Gauge<u64, AtomicU64>,
}

impl Process {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let connect = Family::<_, Histogram, _>::new_with_constructor(|| histogram(CONNECT_BOUNDS));
        let connected = connect.get_or_create_owned(&[("result", "ok")]);
        let not_connected = connect.get_or_create_owned(&[("result", "failed")]);
        registry.register_with_unit(
            "backend_connect",
            "Time of one attempt to connect to an endpoint",
            Unit::Seconds,
            connect,
        );
        Self {
            connections: put(
                registry,
                "connections",
                "Client connections that are open, tunnels included",
                Gauge::default(),
            ),
            connections_refused: put(
                registry,
                "connections_refused",
                "Client connections that were closed at once because --max-connections was reached",
                Counter::default(),
            ),
            connection_panics: put(
                registry,
                "connection_panics",
                "Client connections that ended by a panic: a defect of Hawser, please report it",
                Counter::default(),
            ),
            accept_errors: put(
                registry,
                "accept_errors",
                "Errors of accept(2) by listener",
                Family::default(),
            ),
            connected,
            not_connected,
            table_generation: put(
                registry,
                "table_generation",
                "Generation of the live routing table; 0 before the first",
                Gauge::default(),
            ),
            table_hash: put(
                registry,
                "table_hash",
                "32 bits that stand for the WebSocketRoute and Ingress objects (UID, generation) that are decided about: replicas of one version that know the same ones have the same",
                Gauge::default(),
            ),
            table_build: seconds(
                registry,
                "table_build",
                "Time to translate and compile a routing table",
                histogram(BUILD_BOUNDS),
            ),
            table_objects: put(
                registry,
                "table_objects",
                "Objects that the live routing table was made of",
                Family::default(),
            ),
            propagation: seconds(
                registry,
                "propagation",
                "Time from the first event of a batch to the live routing table",
                histogram(PROPAGATION_BOUNDS),
            ),
            source_last_event: seconds(
                registry,
                "source_last_event_timestamp",
                "Unix time of the last event of the source of objects",
                Timestamp::default(),
            ),
            source_errors: put(
                registry,
                "source_errors",
                "Files or objects of the source that are broken at the moment",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn accept_error(&self, listener: SocketAddr) {
        let labels = [("listener", listener.to_string())];
        self.accept_errors.get_or_create(&labels).inc();
    }

    pub(super) fn backend_connect(&self, took: Duration, ok: bool) {
        let histogram = if ok {
            &self.connected
        } else {
            &self.not_connected
        };
        histogram.observe(took.as_secs_f64());
    }

    /// What the live table is made from.
    pub(super) fn table_hash(&self, hash: u32) {
        self.table_hash.set(hash.into());
    }

    pub(super) fn table(
        &self,
        generation: u64,
        build: Duration,
        objects: &[(&'static str, usize)],
    ) {
        self.table_generation.set(generation);
        self.table_build.observe(build.as_secs_f64());
        for (kind, count) in objects {
            let count = u64::try_from(*count).unwrap_or(u64::MAX);
            self.table_objects
                .get_or_create(&[("kind", *kind)])
                .set(count);
        }
    }

    pub(super) fn propagation(&self, took: Duration) {
        self.propagation.observe(took.as_secs_f64());
    }

    pub(super) fn source_event(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.source_last_event.set(now.unwrap_or_default());
    }

    pub(super) fn source_errors(&self, broken: usize) {
        self.source_errors
            .set(u64::try_from(broken).unwrap_or(u64::MAX));
    }
}

fn histogram(bounds: &'static [f64]) -> Histogram {
    Histogram::new(bounds.iter().copied())
}

pub(super) fn put<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// A Unix time as a gauge that is absent before it is set: 1970 would raise alarms.
#[derive(Debug, Clone, Default)]
struct Timestamp {
    milliseconds: Arc<AtomicU64>,
}

impl Timestamp {
    fn set(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }
}

impl EncodeMetric for Timestamp {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get().as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.get().is_zero()
    }
}
