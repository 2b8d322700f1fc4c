//! A handshake, passed on to a backend, and what comes of it.
//!
//! It goes on a connection of its own, never a pooled one: whatever the backend makes of it, no other
//! request is behind it. Whether the answer accepts it is judged here, and not a byte of the client's goes to the
//! backend before.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, TE, UPGRADE,
    },
    request, response,
};
use http_body_util::Empty;
use pin_project_lite::pin_project;
use tokio::{net::TcpStream, time::Instant};

use crate::{
    ir,
    telemetry::metrics::Metrics,
    tunnel, upstream,
    ws::{
        frame::Extensions,
        handshake::{self, Handshake},
    },
};

use super::{
    Proxy,
    admission::Permit,
    ask::{Reply, ask},
    body::BackendBody,
    connection::Connection,
    error::{BackendError, Error, Unserved},
    failover::Attempts,
    headers,
    record::Record,
    route::{Choice, Route},
    service::Answer,
};

/// Passes a valid handshake on. The answer is the backend's: a verified 101, or a response to be relayed.
pub(super) async fn handshake(
    connection: &Connection,
    choice: Choice,
    head: request::Parts,
    mut offer: Handshake,
    record: &mut Record,
) -> Result<Answer, Error> {
    let proxy = &connection.proxy;
    let permit = proxy
        .admission
        .admit(&choice.route.rule, connection.peer.ip())?;
    let upgrade = &choice.policy().upgrade;
    offer.subprotocols =
        handshake::filter_subprotocols(&offer.subprotocols, upgrade.subprotocols.value.as_deref());
    if upgrade.extensions.value == ir::Extensions::Strip {
        offer.extensions.clear();
    }
    let over_http2 = head.method == Method::CONNECT;
    let asked = request(connection, &choice, head.headers, &offer, record)?;

    let exchange = async {
        let (socket, endpoint) = connect(connection, &choice, record).await?;
        let reply = ask(connection, socket, endpoint.address(), asked).await?;
        Ok::<_, Error>((reply, endpoint))
    };
    let (reply, endpoint) = match choice.policy().timeouts.handshake.value {
        Some(limit) => tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| BackendError::HandshakeTimeout)??,
        None => exchange.await?,
    };

    match reply {
        // To a CONNECT it would say that there is a tunnel (RFC 9110 section 9.3.6).
        Reply::Refused(response) if over_http2 && response.status().is_success() => {
            Err(BackendError::Handshake {
                endpoint: endpoint.address(),
                source: handshake::BadAnswer::Status,
            }
            .into())
        }
        Reply::Refused(mut response) => {
            headers::towards_client(response.headers_mut(), choice.policy());
            *response.version_mut() = Version::HTTP_11;
            Ok(Answer::Relay(response.map(BackendBody::from)))
        }
        Reply::Switched(head, backend, backend_early) => {
            if head.version != Version::HTTP_11 {
                return Err(BackendError::UnaskedUpgrade(endpoint.address()).into());
            }
            handshake::verify(&offer, head.status, &head.headers).map_err(|source| {
                BackendError::Handshake {
                    endpoint: endpoint.address(),
                    source,
                }
            })?;
            Ok(Answer::Switch(Box::new(Switched {
                head: accepted(head, choice.policy()),
                route: choice.route,
                found: choice.found,
                permit,
                endpoint,
                backend,
                backend_early,
            })))
        }
    }
}

/// The handshake towards the backend.
fn request(
    connection: &Connection,
    choice: &Choice,
    mut headers: HeaderMap,
    offer: &Handshake,
    record: &Record,
) -> Result<Request<Empty<Bytes>>, Error> {
    headers::towards_backend(
        &mut headers,
        choice.policy(),
        &headers::Client {
            address: &connection.forwarded_for,
            request_id: record.request_id(),
        },
    );
    for name in [CONTENT_LENGTH, TE] {
        headers.remove(name);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = HeaderValue::from_str(&offer.key)
        .map_err(|_| Unserved::Internal("a key is no field value"))?;
    headers.insert(SEC_WEBSOCKET_KEY, key);
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if !offer.subprotocols.is_empty() {
        let offered = HeaderValue::try_from(offer.subprotocols.join(", "))
            .map_err(|_| Unserved::Internal("a subprotocol is no field value"))?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    if offer.extensions.is_empty() {
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = choice.target.clone().into();
    *request.headers_mut() = headers;
    Ok(request)
}

/// Connects to an endpoint, trying others when one cannot be connected.
async fn connect(
    connection: &Connection,
    choice: &Choice,
    record: &mut Record,
) -> Result<(TcpStream, Arc<upstream::Endpoint>), Error> {
    let mut attempts = Attempts::new(choice.backend()?);
    loop {
        let endpoint = attempts.next()?;
        record.endpoint(endpoint.address());
        let started = Instant::now();
        let connected = upstream::connect(&endpoint, choice.policy().timeouts.connect.value).await;
        connection
            .proxy
            .metrics
            .backend_connect(started.elapsed(), connected.is_ok());
        match connected {
            Ok(socket) => return Ok((socket, endpoint)),
            Err(error) => attempts.failed(error)?,
        }
    }
}

/// The client's 101: the backend's, between hops.
fn accepted(mut head: response::Parts, policy: &ir::Policy) -> response::Parts {
    headers::towards_client(&mut head.headers, policy);
    head.headers.remove(CONTENT_LENGTH);
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    head
}

/// A verified 101.
pub(super) struct Switched {
    head: response::Parts,
    route: Arc<Route>,
    found: tunnel::Found,
    permit: Permit,
    endpoint: Arc<upstream::Endpoint>,
    backend: TcpStream,
    backend_early: Bytes,
}

impl Switched {
    /// The head to send, and what becomes a tunnel once it is out.
    pub(super) fn split(self, record: Box<Record>) -> (response::Parts, Handoff) {
        let subprotocol = self.head.headers.get(SEC_WEBSOCKET_PROTOCOL);
        let handoff = Handoff {
            extensions: handshake::negotiated(&self.head.headers),
            subprotocol: subprotocol.and_then(|name| Some(name.to_str().ok()?.into())),
            route: self.route,
            found: self.found,
            permit: self.permit,
            endpoint: self.endpoint,
            backend: self.backend,
            backend_early: self.backend_early,
            record,
        };
        (self.head, handoff)
    }
}

/// Everything that becomes a tunnel once the client's 101 is out. Dropped, it notes that the client left.
pub(super) struct Handoff {
    route: Arc<Route>,
    found: tunnel::Found,
    permit: Permit,
    endpoint: Arc<upstream::Endpoint>,
    backend: TcpStream,
    backend_early: Bytes,
    subprotocol: Option<Box<str>>,
    extensions: Extensions,
    record: Box<Record>,
}

impl Handoff {
    /// Starts the tunnel, in a task of its own that keeps `slot`: the connection's, with hyper's buffers and the futures
    /// of the handshake, ends here.
    pub(super) fn start<C>(
        self,
        proxy: &Proxy,
        client: C,
        client_early: Bytes,
        slot: impl Send + 'static,
    ) where
        C: tunnel::Side + Send + 'static,
    {
        let Some((info, metrics)) = self.record.into_tunnel(self.subprotocol) else {
            return;
        };
        let tunnel = tunnel::run(
            tunnel::Parts {
                client,
                client_early,
                backend: self.backend,
                backend_early: self.backend_early,
                extensions: self.extensions,
                splice: proxy.limits.splice,
                route: self.route,
                found: self.found,
                endpoint: self.endpoint,
                info,
                metrics,
            },
            proxy.tunnels.clone(),
        );
        tokio::spawn(Holding {
            tunnel,
            metrics: proxy.metrics.clone(),
            _held: (slot, self.permit),
        });
    }
}

pin_project! {
    /// A tunnel with what it holds until it has ended. Not an async block, which would keep room for the tunnel twice: a
    /// quarter of what an idle one costs.
    struct Holding<F, H> {
        #[pin]
        tunnel: F,
        metrics: Arc<Metrics>,
        _held: H,
    }
}

impl<F: Future, H> Future for Holding<F, H> {
    type Output = ();

    /// A panic ends this tunnel and nothing else.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = catch_unwind(AssertUnwindSafe(|| this.tunnel.poll(cx)));
        if let Ok(polled) = polled {
            return polled.map(drop);
        }
        this.metrics.connection_panic();
        tracing::error!("a tunnel ended by a panic; this is a bug, please report it");
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_tunnel_and_is_counted() {
        let metrics = Metrics::new();
        let holding = |panics: bool| Holding {
            tunnel: async move { assert!(!panics, "on purpose") },
            metrics: metrics.clone(),
            _held: (),
        };
        holding(true).await;
        holding(false).await;
        let text = metrics.encode();
        assert!(
            text.contains("hawser_connection_panics_total 1\n"),
            "{text}"
        );
    }
}
