//! What is written down about one request: its access line and its metrics, exactly once, however it ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, header::USER_AGENT, request};
use tokio::time::Instant;

use crate::{
    telemetry::{
        RequestId, access,
        metrics::{Metrics, RouteMetrics},
    },
    tunnel,
};

use super::{body::Progress, gate, http2, route::Route, target::Target};

/// Status in log and metric of a request whose client left before a response head. Never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What says that a request goes on, to whom a connection without one is idle.
pub(super) enum InFlight {
    /// The gate.
    Http1(#[expect(dead_code, reason = "held, not read")] gate::InFlight),
    /// The streams of the connection.
    Http2(http2::Request),
}

/// The notes of one request. Dropping them writes the line; [`Record::into_tunnel`] does not. Boxed, since they go from hand to
/// hand.
pub(super) struct Record {
    metrics: Arc<Metrics>,
    started: Instant,
    request_id: RequestId,
    client: SocketAddr,
    /// `None` when the head was refused.
    method: Option<Method>,
    target: Option<Arc<Target>>,
    user_agent: Option<HeaderValue>,
    route: Option<(Arc<Route>, Arc<RouteMetrics>)>,
    endpoint: Option<SocketAddr>,
    /// None yet.
    status: Option<u16>,
    refusal: Option<(&'static str, String)>,
    /// A handshake attempt that is not decided yet.
    attempt: bool,
    request: Arc<Progress>,
    response_bytes: u64,
    done: bool,
    /// While this lives the connection is not idle.
    in_flight: InFlight,
}

impl Record {
    /// Starts at the head of the request.
    pub(super) fn new(metrics: Arc<Metrics>, client: SocketAddr, in_flight: InFlight) -> Box<Self> {
        Box::new(Self {
            metrics,
            started: Instant::now(),
            request_id: RequestId::random(),
            client,
            method: None,
            target: None,
            user_agent: None,
            route: None,
            endpoint: None,
            status: None,
            refusal: None,
            attempt: false,
            request: Arc::default(),
            response_bytes: 0,
            done: false,
            in_flight,
        })
    }

    /// `X-Request-Id` towards the backend.
    pub(super) fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Progress of the request body.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.request
    }

    /// The head, once the gate let it pass.
    pub(super) fn head(&mut self, head: &request::Parts) {
        self.method = Some(head.method.clone());
        self.user_agent = head.headers.get(USER_AGENT).cloned();
    }

    /// Host and path as routed.
    pub(super) fn target(&mut self, target: Arc<Target>) {
        self.target = Some(target);
    }

    /// The route, and whether it takes this request as a handshake attempt.
    pub(super) fn route(&mut self, route: &Arc<Route>, attempt: bool) {
        let metrics = self.metrics.route(&route.rule.id);
        self.route = Some((route.clone(), metrics));
        self.attempt = attempt;
    }

    /// The endpoint that the request goes to.
    pub(super) fn endpoint(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// A backend's answer is being relayed.
    pub(super) fn relayed(&mut self, status: u16) {
        self.status = Some(status);
        self.refuse_attempt("backend_refused");
    }

    /// Hawser answers itself. `detail` is for the log.
    pub(super) fn answered(&mut self, status: u16, word: &'static str, detail: String) {
        self.status = Some(status);
        self.refuse_attempt(word);
        self.refusal = Some((word, detail));
    }

    /// More of the response body went to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.response_bytes = self.response_bytes.saturating_add(bytes as u64);
    }

    /// The response broke off after its head: whose fault it was.
    pub(super) fn broke_off(&mut self, word: &'static str, detail: String) {
        self.refusal.get_or_insert((word, detail));
    }

    /// The tunnel that the stream of this request becomes; `None` on a connection of HTTP/1, which becomes one as
    /// a whole.
    pub(super) fn tunnel(&self) -> Option<http2::Tunnel> {
        match &self.in_flight {
            InFlight::Http1(_) => None,
            InFlight::Http2(stream) => Some(stream.tunnel()),
        }
    }

    /// The handshake was accepted. From here on the tunnel does the writing. `None` without a route,
    /// which no tunnel has.
    pub(super) fn into_tunnel(
        mut self: Box<Self>,
        subprotocol: Option<Box<str>>,
    ) -> Option<(tunnel::Info, Arc<RouteMetrics>)> {
        let (_, metrics) = self.route.take()?;
        let target = Arc::unwrap_or_clone(self.target.take()?);
        self.done = true;
        self.attempt = false;
        metrics.handshake(true, "");
        let info = tunnel::Info {
            request_id: self.request_id,
            client: self.client,
            host: target.host.into(),
            path: target.path.into(),
            subprotocol,
        };
        Some((info, metrics))
    }

    fn refuse_attempt(&mut self, word: &'static str) {
        if std::mem::take(&mut self.attempt)
            && let Some((_, metrics)) = &self.route
        {
            metrics.handshake(false, word);
        }
    }

    fn write(&mut self, duration: Duration) {
        let status = self.status.unwrap_or(CLIENT_CLOSED_REQUEST);
        if self.status.is_none() {
            self.refuse_attempt("client_lost");
            self.refusal.get_or_insert((
                "client_lost",
                "the client left before the response".to_owned(),
            ));
        }
        match &self.route {
            Some((_, metrics)) => metrics.http(status, duration),
            None => self.metrics.unrouted().http(status, duration),
        }
        access::request(&access::Request {
            request_id: self.request_id,
            client: Some(self.client),
            method: self.method.as_ref().map_or("", Method::as_str),
            host: self.target.as_ref().map_or("", |target| &target.host),
            path: self.target.as_ref().map_or("", |target| &target.path),
            user_agent: self
                .user_agent
                .as_ref()
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
            route: self.route.as_ref().map(|(route, _)| &route.rule.id),
            endpoint: self.endpoint,
            status,
            reason: self.refusal.as_ref().map(|(word, _)| *word),
            detail: self.refusal.as_ref().map(|(_, detail)| detail.as_str()),
            request_bytes: self.request.bytes(),
            response_bytes: self.response_bytes,
            duration,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            self.write(self.started.elapsed());
        }
    }
}
