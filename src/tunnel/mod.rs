//! Tunnels: both sockets, the route they were opened with, and one `Outcome` at the end.
//!
//! `run` is the life of one tunnel; `pump` moves its bytes and decides how it ends, in `phase`s; `flow` is one direction
//! of it, `passage` what of it goes on, `out` what waits, `splice` its short cut for large frames; `pings`, `rates` and
//! `stall` are what a policy may ask for; `registry` knows all tunnels; `drain` tells them to end, spread over time;
//! `watch` finds those whose route or endpoint is gone.

mod counts;
mod drain;
mod flow;
mod out;
mod outcome;
mod passage;
mod phase;
mod pings;
mod pump;
mod rates;
mod recent;
mod registry;
mod side;
mod splice;
mod stall;
mod tcp;
#[cfg(test)]
mod tests;
mod watch;
mod way;

use std::{future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::{
    table,
    telemetry::{RequestId, metrics::RouteMetrics},
    upstream,
    ws::frame::Extensions,
};

pub use outcome::{Cause, Initiator, Loss, Order, Outcome};
pub use registry::{Closed, Open, Registry, Snapshot};
pub use side::Side;
pub use splice::{MAX_PIPES, limit_pipes};
pub use stall::UNSENT_BYTES;
pub use watch::{GivenAway, Watch};
pub use way::{Found, Way};

use outcome::Verdict;
use pump::{News, Pump, Start};
use registry::Registration;

/// The routes of the live table.
pub type Route = table::Route<Arc<upstream::Backend>>;

/// What a tunnel is made of.
#[derive(Debug)]
pub struct Parts<C> {
    /// The client's side.
    pub client: C,
    /// Bytes that the client sent before the 101 was verified; they go first.
    pub client_early: Bytes,
    /// The backend's socket.
    pub backend: TcpStream,
    /// Bytes that came glued to the backend's 101; they go first.
    pub backend_early: Bytes,
    /// What the 101 negotiates.
    pub extensions: Extensions,
    /// Whether large frames may be moved by splice(2).
    pub splice: bool,
    /// The route that it was opened with.
    pub route: Arc<Route>,
    /// How the table found it.
    pub found: Found,
    /// The endpoint that it goes to.
    pub endpoint: Arc<upstream::Endpoint>,
    /// Who is connected.
    pub info: Info,
    /// The series of the route.
    pub metrics: Arc<RouteMetrics>,
}

/// Facts about a tunnel for logs and the admin API.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Info {
    /// `X-Request-Id` of the handshake.
    pub request_id: RequestId,
    /// Address of the client.
    pub client: SocketAddr,
    /// Normalised host of the handshake.
    pub host: Box<str>,
    /// Normalised path of the handshake, without query.
    pub path: Box<str>,
    /// Subprotocol that the backend chose.
    pub subprotocol: Option<Box<str>>,
}

/// Runs a tunnel to its end: registers it at once, pumps both ways, unregisters it.
///
/// The future is small (well under 1 KiB) and holds no buffer while nothing moves. When it is dropped or panics,
/// the tunnel is unregistered all the same.
pub fn run<C: Side + Send + 'static>(
    parts: Parts<C>,
    registry: Arc<Registry>,
) -> impl Future<Output = Outcome> + Send + 'static {
    let mut early = News::default();
    let mut pump = Pump::new(
        parts.client,
        &parts.client_early,
        parts.backend,
        &parts.backend_early,
        Start {
            policy: &parts.route.rule.policy,
            extensions: parts.extensions,
            splice: parts.splice,
        },
        &mut early,
    );
    let mut registration = Registration::new(
        registry,
        parts.info,
        parts.route,
        parts.found,
        &parts.endpoint,
        parts.metrics,
    );
    registration.count(&early);
    async move {
        let verdict = {
            let mut sleep = pin!(sleep_until(Instant::now()));
            poll_fn(|cx| {
                let order = registration.order(cx.waker());
                if let Some(cause) = registration.cut() {
                    let verdict = pump.verdict();
                    return Poll::Ready(verdict.unwrap_or(Verdict::new(cause, None)));
                }
                let mut news = News::default();
                let policy = registration.policy();
                let result = pump.poll(cx, sleep.as_mut(), policy, order, &mut news);
                registration.count(&news);
                result
            })
            .await
        };
        // Both sockets are closed before anybody is told that the tunnel has ended.
        drop(pump);
        registration.finish(verdict)
    }
}
