//! Metrics in `OpenMetrics` text, prefix `hawser_`. Names: `docs/metrics.md`.
//!
//! Invariant: the number of series is bounded, whatever clients, backends or manifests do.

mod counts;
mod encode;
mod events;
mod histogram;
mod peers;
mod process;
mod route;
mod routes;
mod source;
mod status;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::{encoding::text, metrics::gauge::Gauge, registry::Registry};

use self::{
    encode::{Backends, RouteCollector},
    process::Process,
    routes::Routes,
};
use crate::ir;

pub use self::{
    events::{EventResult, Events},
    peers::Peers,
    route::{OpenTunnel, RouteMetrics, StalledTunnel},
    source::Source,
    status::Status,
};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Process,
    routes: Arc<Routes>,
    backends: Arc<Backends>,
    source: Source,
    status: Status,
    peers: Peers,
    events: Events,
}

/// Direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `client_to_backend`.
    ClientToBackend,
    /// `backend_to_client`.
    BackendToClient,
}

/// Values of the label `type` of `websocket_messages_total`.
pub const MESSAGE_TYPES: [&str; 5] = ["text", "binary", "ping", "pong", "close"];

/// Who gets a ping of Hawser's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingTarget {
    /// `client`.
    Client,
    /// `backend`.
    Backend,
}

/// Endpoints of a backend, to be counted by state.
#[derive(Debug, Clone)]
pub struct BackendState {
    /// The backend.
    pub id: ir::BackendId,
    /// Its endpoints.
    pub endpoints: Vec<ir::Endpoint>,
}

impl Metrics {
    /// Empty metrics, with `build_info`.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("hawser");
        let process = Process::new(&mut registry);
        let routes = Arc::new(Routes::new());
        let backends = Arc::new(Backends::default());
        registry.register_collector(Box::new(RouteCollector(Arc::clone(&routes))));
        registry.register_collector(Box::new(Arc::clone(&backends)));
        let source = Source::new(&mut registry);
        let status = Status::new(&mut registry);
        let peers = Peers::new(&mut registry);
        let events = Events::new(&mut registry);
        Arc::new(Self {
            registry,
            process,
            routes,
            backends,
            source,
            status,
            peers,
            events,
        })
    }

    /// Series about the source of objects.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Series about what is written to the API server.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Series about leadership and the other replicas.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Series about events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// `backend_endpoints` is read at scrape time through this.
    pub fn set_backends(&self, read: Box<dyn Fn() -> Vec<BackendState> + Send + Sync>) {
        self.backends.set(read);
    }

    /// `OpenMetrics` text. May take some milliseconds when there are thousands of rules.
    pub fn encode(&self) -> String {
        let mut buffer = String::new();
        match text::encode(&mut buffer, &self.registry) {
            Ok(()) => buffer,
            Err(error) => {
                tracing::error!(%error, "metrics could not be written");
                "# EOF\n".to_owned()
            }
        }
    }

    /// Series of a rule. Costs one read of a map: keep the result for the request or tunnel.
    pub fn route(&self, id: &ir::RouteId) -> Arc<RouteMetrics> {
        self.routes.get(id)
    }

    /// Series of requests that no route took: all labels of the route are empty.
    pub fn unrouted(&self) -> Arc<RouteMetrics> {
        self.routes.unrouted()
    }

    /// Tells which rules exist; series of others go 10 minutes after their last tunnel. The same rule may come more
    /// than once.
    pub fn set_rules(&self, rules: &mut dyn Iterator<Item = &ir::RouteId>) {
        self.routes.set_rules(rules);
    }

    /// The same for a change of some.
    pub fn change_rules(&self, added: &[ir::RouteId], removed: &[ir::RouteId]) {
        self.routes.change_rules(added, removed);
    }

    /// `accept_errors_total`.
    pub fn accept_error(&self, listener: SocketAddr) {
        self.process.accept_error(listener);
    }

    /// `connections_refused_total`: `--max-connections` was reached.
    pub fn connection_refused(&self) {
        self.process.connections_refused.inc();
    }

    /// `connection_panics_total`: the task of a client connection panicked.
    pub fn connection_panic(&self) {
        self.process.connection_panics.inc();
    }

    /// A client connection is open until the guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.process.connections)
    }

    /// `backend_connect_seconds{result}`: result is `ok` or `failed`.
    pub fn backend_connect(&self, took: Duration, ok: bool) {
        self.process.backend_connect(took, ok);
    }

    /// A table went live: `table_generation`, `table_build_seconds`, `table_objects{kind}`. A kind that is not named
    /// keeps its number.
    pub fn table(&self, generation: u64, build: Duration, objects: &[(&'static str, usize)]) {
        self.process.table(generation, build, objects);
    }

    /// `table_hash`.
    pub fn table_hash(&self, hash: u32) {
        self.process.table_hash(hash);
    }

    /// `propagation_seconds`: from the first event of a batch to the live table.
    pub fn propagation(&self, took: Duration) {
        self.process.propagation(took);
    }

    /// `source_last_event_timestamp_seconds`: now.
    pub fn source_event(&self) {
        self.process.source_event();
    }

    /// `source_errors`: how many files or objects are broken at the moment.
    pub fn source_errors(&self, broken: usize) {
        self.process.source_errors(broken);
    }
}

/// Counts a client connection as open until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    fn new(connections: &Gauge) -> Self {
        connections.inc();
        Self(connections.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
