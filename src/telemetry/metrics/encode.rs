//! The series of rules and backends in `OpenMetrics` text. The library adds `_total`, the unit and the prefix.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use super::{
    BackendState, MESSAGE_TYPES, counts::Counts, histogram::Histogram, route::Labels,
    routes::Routes,
};
use crate::ir;

/// Above this many backends their `service` and `port` are dropped and the endpoints of a namespace counted together.
pub(super) const MAX_BACKENDS: usize = 2_000;

/// Values of the label `direction`, in the order of [`super::Direction`].
const DIRECTIONS: [&str; 2] = ["client_to_backend", "backend_to_client"];

/// Labels of one series: those of its rule and some more.
struct Series<'a> {
    rule: &'a Labels,
    more: &'a [(&'static str, &'a str)],
}

impl EncodeLabelSet for Series<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("kind", self.rule.kind).encode(encoder.encode_label())?;
        ("namespace", &*self.rule.namespace).encode(encoder.encode_label())?;
        ("route", &*self.rule.route).encode(encoder.encode_label())?;
        if let Some(rule) = &self.rule.rule {
            ("rule", &**rule).encode(encoder.encode_label())?;
        }
        for label in self.more {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Writes the series of one family.
struct Family<'a> {
    encoder: MetricEncoder<'a>,
}

type Label<'a> = (&'static str, &'a str);

impl Family<'_> {
    fn counter(&mut self, rule: &Labels, more: &[Label<'_>], value: u64) -> fmt::Result {
        let labels = Series { rule, more };
        let mut series = self.encoder.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn seconds(&mut self, rule: &Labels, value: f64) -> fmt::Result {
        let labels = Series { rule, more: &[] };
        let mut series = self.encoder.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge(&mut self, rule: &Labels, value: u64) -> fmt::Result {
        let labels = Series { rule, more: &[] };
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    fn histogram(&mut self, rule: &Labels, more: &[Label<'_>], value: &Histogram) -> fmt::Result {
        if value.is_empty() {
            return Ok(());
        }
        let labels = Series { rule, more };
        let mut series = self.encoder.encode_family(&labels)?;
        let (sum, count) = (value.sum(), value.count());
        series.encode_histogram::<NoLabelSet>(sum, count, &value.buckets(), None)
    }
}

/// Encodes the series of all rules at each scrape.
#[derive(Debug)]
pub(super) struct RouteCollector(pub(super) Arc<Routes>);

impl Collector for RouteCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sets = self.0.collect();
        websockets(&mut encoder, &sets)?;
        websocket_traffic(&mut encoder, &self.0, &sets)?;
        http(&mut encoder, &sets)
    }
}

type Sets = BTreeMap<Labels, Counts>;

fn websockets(encoder: &mut DescriptorEncoder<'_>, sets: &Sets) -> fmt::Result {
    let sets = || sets.iter().filter(|(_, counts)| counts.has_websockets());

    let mut connections = family(
        encoder,
        "websocket_connections",
        "WebSocket connections that are open.",
        None,
        MetricType::Gauge,
    )?;
    for (rule, counts) in sets() {
        connections.gauge(rule, counts.open)?;
    }

    let mut stalled = family(
        encoder,
        "websocket_stalled",
        "Open WebSocket connections one side of which has taken nothing for 5 s (all of `limits.writeStall` or half of `timeouts.idle`, where that is less) although something waits for it.",
        None,
        MetricType::Gauge,
    )?;
    for (rule, counts) in sets() {
        stalled.gauge(rule, counts.stalled)?;
    }

    let mut handshakes = family(
        encoder,
        "websocket_handshakes",
        "WebSocket handshakes by result; the reason of a refusal is the word that Proxy-Status and the access log have.",
        None,
        MetricType::Counter,
    )?;
    for (rule, counts) in sets() {
        for ((accepted, reason), count) in &counts.handshakes {
            let result = if *accepted { "accepted" } else { "refused" };
            handshakes.counter(rule, &[("result", result), ("reason", reason)], *count)?;
        }
    }

    let mut closes = family(
        encoder,
        "websocket_closes",
        "WebSocket connections that ended, by cause and close code (1000 to 1015, 3xxx, 4xxx, other, none).",
        None,
        MetricType::Counter,
    )?;
    for (rule, counts) in sets() {
        for ((cause, code), count) in &counts.closes {
            let code = code.label();
            closes.counter(rule, &[("cause", cause), ("code", &code)], *count)?;
        }
    }

    Ok(())
}

fn websocket_traffic(
    encoder: &mut DescriptorEncoder<'_>,
    routes: &Routes,
    sets: &Sets,
) -> fmt::Result {
    let sets = || sets.iter().filter(|(_, counts)| counts.has_websockets());

    let mut bytes = family(
        encoder,
        "websocket",
        "Bytes that came over WebSocket connections, frame headers included, also those that go no further: answers to Hawser's own pings, and what comes behind a Close.",
        Some(&Unit::Bytes),
        MetricType::Counter,
    )?;
    for (rule, counts) in sets() {
        let [to_backend, to_client] = counts.bytes;
        let [up, down] = DIRECTIONS;
        bytes.counter(rule, &[("direction", up)], to_backend)?;
        bytes.counter(rule, &[("direction", down)], to_client)?;
    }

    let mut messages = family(
        encoder,
        "websocket_messages",
        "Messages and control frames through WebSocket connections, by type; Hawser's own and the answers to them do not count.",
        None,
        MetricType::Counter,
    )?;
    for (rule, counts) in sets() {
        for (direction, counts) in DIRECTIONS.into_iter().zip(counts.messages) {
            for (kind, count) in MESSAGE_TYPES.into_iter().zip(counts) {
                if count > 0 {
                    let more = [("direction", direction), ("type", kind)];
                    messages.counter(rule, &more, count)?;
                }
            }
        }
    }

    let mut time = family(
        encoder,
        "websocket_connection",
        "Age of all WebSocket connections together; moves while they are open.",
        Some(&Unit::Seconds),
        MetricType::Counter,
    )?;
    for (rule, counts) in sets() {
        let age = counts.connection_time(routes.now());
        time.seconds(rule, age.as_secs_f64())?;
    }

    let mut durations = family(
        encoder,
        "websocket_duration",
        "Age of WebSocket connections at their end.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (rule, counts) in sets() {
        durations.histogram(rule, &[], &counts.durations)?;
    }

    let mut pings = family(
        encoder,
        "websocket_ping_rtt",
        "Time from a ping of Hawser's to its pong, by target: client or backend.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (rule, counts) in sets() {
        pings.histogram(rule, &[("target", "client")], &counts.client_pings)?;
        pings.histogram(rule, &[("target", "backend")], &counts.backend_pings)?;
    }
    Ok(())
}

fn http(encoder: &mut DescriptorEncoder<'_>, sets: &Sets) -> fmt::Result {
    let mut requests = family(
        encoder,
        "http_requests",
        "HTTP requests, refused handshakes included, by status code.",
        None,
        MetricType::Counter,
    )?;
    for (rule, counts) in sets {
        for (code, count) in &counts.requests {
            requests.counter(rule, &[("code", &code.label())], *count)?;
        }
    }

    let mut latencies = family(
        encoder,
        "http_request_duration",
        "Time from the head of an HTTP request to the end of its response; never the time of a tunnel.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (rule, counts) in sets {
        latencies.histogram(rule, &[], &counts.latencies)?;
    }
    Ok(())
}

fn family<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    unit: Option<&'e Unit>,
    kind: MetricType,
) -> Result<Family<'e>, fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, unit, kind)?;
    Ok(Family { encoder })
}

type ReadBackends = Box<dyn Fn() -> Vec<BackendState> + Send + Sync>;

/// Encodes `backend_endpoints` at each scrape.
#[derive(Default)]
pub(super) struct Backends {
    read: RwLock<Option<ReadBackends>>,
}

impl Backends {
    /// Tells where backends are read from.
    pub(super) fn set(&self, read: ReadBackends) {
        *self.read.write() = Some(read);
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

impl Collector for Backends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let backends = self.read.read().as_ref().map(|read| read());
        let backends = backends.unwrap_or_default();
        let detailed = backends.len() <= MAX_BACKENDS;
        let mut counts: BTreeMap<(Arc<str>, Arc<str>, String), [u64; 3]> = BTreeMap::new();
        for backend in &backends {
            let id = &backend.id;
            let (service, port) = if detailed {
                (Arc::clone(&id.service), id.port.to_string())
            } else {
                (Arc::from(""), String::new())
            };
            let sum = counts.entry((Arc::clone(&id.namespace), service, port));
            let [ready, not_ready, terminating] = sum.or_default();
            for endpoint in &backend.endpoints {
                match state(endpoint) {
                    State::Ready => *ready += 1,
                    State::NotReady => *not_ready += 1,
                    State::Terminating => *terminating += 1,
                }
            }
        }
        let mut endpoints = encoder.encode_descriptor(
            "backend_endpoints",
            "Endpoints of a port of a Service that a route names, by state: ready (take new connections), not_ready, terminating.",
            None,
            MetricType::Gauge,
        )?;
        for ((namespace, service, port), [ready, not_ready, terminating]) in &counts {
            for (state, count) in [
                ("ready", ready),
                ("not_ready", not_ready),
                ("terminating", terminating),
            ] {
                let labels = [
                    ("namespace", &**namespace),
                    ("service", &**service),
                    ("port", port),
                    ("state", state),
                ];
                // Without service and port the first and the last label are left.
                let short = [("namespace", &**namespace), ("state", state)];
                let labels: &[(&str, &str)] = if detailed { &labels } else { &short };
                endpoints.encode_family(&labels)?.encode_gauge(count)?;
            }
        }
        Ok(())
    }
}

enum State {
    Ready,
    NotReady,
    Terminating,
}

fn state(endpoint: &ir::Endpoint) -> State {
    if endpoint.terminating {
        State::Terminating
    } else if endpoint.ready {
        State::Ready
    } else {
        State::NotReady
    }
}
