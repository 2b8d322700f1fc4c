//! The admin and status addresses: probes, metrics, JSON views; on the admin address also orders. Never on the traffic
//! port.
//!
//! Invariant: only `orders.rs` changes anything, never on the status address and never without `--admin-write`. A web
//! page that a browser shows can neither read nor give an order: names other than localhost are refused (DNS
//! rebinding), no answer allows another origin, and orders of another origin are refused (CSRF).

mod answer;
mod host;
mod orders;
mod origin;
mod query;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::{table, telemetry, tunnel, upstream};

pub use orders::Orders;
pub use server::serve;

/// Answers other replicas below `/peer/v1/`; `app` passes it in, so that this module needs no arrow to `source`.
pub type PeerService =
    Arc<dyn Fn(Request<()>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// What the admin server shows.
#[derive(Clone)]
pub struct State {
    /// Live table.
    pub live: Arc<table::Handle<Arc<upstream::Backend>>>,
    /// Backends.
    pub backends: Arc<upstream::Registry>,
    /// Tunnels.
    pub tunnels: Arc<tunnel::Registry>,
    /// Metrics.
    pub metrics: Arc<telemetry::metrics::Metrics>,
    /// The source's verdicts as JSON: `app` passes them in, so that this module needs no arrow to `source`.
    pub verdicts: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The peer endpoint of the status address; `None` without `--peer-service`.
    pub peers: Option<PeerService>,
    /// True while draining.
    pub draining: Arc<dyn Fn() -> bool + Send + Sync>,
    /// `--admin-write`: the admin address takes orders.
    pub orders: Option<Orders>,
}

/// Which surface an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `--admin`: everything, orders too.
    Admin,
    /// `--status`: `/livez`, `/readyz`, `/metrics`, the peer endpoint, nothing else.
    Status,
}
