//! The admin and status addresses: probes, metrics, JSON views. GET only; never on the traffic port.
//!
//! Invariant: nothing here changes anything, and a web page that a browser shows cannot read it: names other than
//! localhost are refused (DNS rebinding) and no answer allows another origin.

mod answer;
mod host;
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
}

/// Which surface an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `--admin`: everything.
    Admin,
    /// `--status`: `/livez`, `/readyz`, `/metrics`, the peer endpoint, nothing else.
    Status,
}
