//! The proxy: from a client's socket to a backend's.
//!
//! ```text
//! listener ─ slots ─► connection ─ gate ─┬─ hyper ─► service ─► upgrade ─► tunnel
//!                                        └─ http2 ─►    │  └──► forward ─► upstream::pool
//!                                                       └─ error ─► reply
//! ```
//! [`service`] tells the story of one request from top to bottom; start reading there.

mod admission;
mod ask;
mod body;
mod connection;
mod error;
mod failover;
mod forward;
pub mod gate;
mod headers;
mod http2;
mod listener;
mod order;
mod record;
mod reply;
mod rewrite;
mod route;
mod service;
mod slots;
mod target;
mod timer;
mod upgrade;
pub mod validate;

use std::{sync::Arc, time::Duration};

use crate::{telemetry::metrics::Metrics, tunnel, upstream};

pub use listener::Listener;
pub use order::Order;

/// Endpoints that one request tries before it gives up: the first and at most two more.
const MAX_ATTEMPTS: usize = 3;

/// Limits of the process and of each connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections at the same time, tunnels included. Those beyond get 503.
    pub max_connections: usize,
    /// Limits of a request head.
    pub gate: gate::Limits,
    /// Whether large frames of tunnels may be moved by splice(2).
    pub splice: bool,
    /// An answer over HTTP/2 of which the client takes nothing for so long ends by a reset of its stream.
    pub stream_stall: Duration,
}

/// As servers of HTTP/1 do it.
const STREAM_STALL: Duration = Duration::from_secs(30);

/// Where nobody says otherwise: what fits into 4 GiB of memory at 64 KiB each, the most that a connection in
/// the middle of a request may hold.
const MAX_CONNECTIONS: usize = 65_536;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            gate: gate::Limits::default(),
            splice: true,
            stream_stall: STREAM_STALL,
        }
    }
}

/// What all listeners share.
pub struct Proxy {
    live: Arc<route::Live>,
    tunnels: Arc<tunnel::Registry>,
    metrics: Arc<Metrics>,
    limits: Limits,
    slots: slots::Slots,
    admission: Arc<admission::Admission>,
    pool: upstream::Pool<body::RequestBody>,
}

impl Proxy {
    /// A proxy that serves `live` and enters its tunnels into `tunnels`.
    pub fn new(
        live: Arc<route::Live>,
        tunnels: Arc<tunnel::Registry>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Self {
        Self {
            slots: slots::Slots::new(limits.max_connections, metrics.clone()),
            admission: Arc::default(),
            pool: upstream::Pool::new({
                let metrics = metrics.clone();
                move |took, ok| metrics.backend_connect(took, ok)
            }),
            live,
            tunnels,
            metrics,
            limits,
        }
    }
}
