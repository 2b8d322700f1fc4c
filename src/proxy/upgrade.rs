//! A handshake, passed on to a backend, and what comes of it.
//!
//! It goes on a connection of its own, never a pooled one: whatever the backend makes of it, no other
//! request is behind it. hyper's client writes the head in one piece, bounds the answer and would take
//! any 101 for an upgrade; whether it is one is judged here, and not a byte of the client's goes to the
//! backend before.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, TE, UPGRADE,
    },
    request, response,
};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Notify, time::Instant};

use crate::{
    ir, tunnel, upstream,
    ws::handshake::{self, Handshake},
};

use super::{
    MAX_INTERIM_RESPONSES,
    connection::Connection,
    error::{BackendError, Error, Unserved},
    failover::Attempts,
    headers,
    record::Record,
    route::{Choice, Route},
    service::Answer,
    slots::Slot,
};

/// Largest head of an answer to a handshake, and the buffer it is read into.
const ANSWER_BYTES: usize = 16 * 1024;

/// Most field lines of an answer to a handshake.
const ANSWER_HEADERS: usize = 100;

/// Passes a valid handshake on. The answer is the backend's: a verified 101, or a response to be relayed.
pub(super) async fn handshake(
    connection: &Connection,
    choice: Choice,
    head: request::Parts,
    mut offer: Handshake,
    record: &mut Record,
) -> Result<Answer, Error> {
    let upgrade = &choice.policy().upgrade;
    offer.subprotocols =
        handshake::filter_subprotocols(&offer.subprotocols, upgrade.subprotocols.value.as_deref());
    if upgrade.extensions.value == ir::Extensions::Strip {
        offer.extensions.clear();
    }
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
        Reply::Refused(mut response) => {
            headers::towards_client(response.headers_mut(), choice.policy());
            *response.version_mut() = Version::HTTP_11;
            Ok(Answer::Relay(response))
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
            Ok(Answer::Switch(Switched {
                head: accepted(head, choice.policy()),
                route: choice.route,
                endpoint,
                backend,
                backend_early,
            }))
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
            address: connection.peer.ip(),
            request_id: record.request_id(),
        },
    );
    for name in [CONTENT_LENGTH, TE] {
        headers.remove(name);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
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

/// What a backend says to a handshake.
enum Reply {
    /// Not a 101.
    Refused(Response<Incoming>),
    /// A 101 of some kind, the socket, and what came glued to the 101.
    Switched(response::Parts, TcpStream, Bytes),
}

/// Sends the handshake and reads the head of the answer.
async fn ask(
    connection: &Connection,
    socket: TcpStream,
    endpoint: SocketAddr,
    mut request: Request<Empty<Bytes>>,
) -> Result<Reply, BackendError> {
    let failed = |error: hyper::Error| BackendError::from_hyper(endpoint, error);
    let interim = Interim::watch(&mut request);
    let (mut sender, io) = http1::Builder::new()
        .max_buf_size(ANSWER_BYTES)
        .max_headers(ANSWER_HEADERS)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(failed)?;
    let mut io = io.with_upgrades();

    // `io` moves the bytes. When it ends first, the answer, or why there is none, is there already.
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut ended = false;
    let mut response = tokio::select! {
        biased;
        response = answer.as_mut() => response,
        () = interim.exceeded() => return Err(BackendError::InterimResponses(endpoint)),
        _ = &mut io => {
            ended = true;
            answer.await
        }
    }
    .map_err(failed)?;
    if interim.is_exceeded() {
        return Err(BackendError::InterimResponses(endpoint));
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if !ended {
            // The body comes through this. It ends with the body, or when nobody reads it any more.
            connection.shutdown.tasks.spawn(async move {
                let _body_tells = io.await;
            });
        }
        return Ok(Reply::Refused(response));
    }

    let switched = hyper::upgrade::on(&mut response);
    let upgraded = if ended {
        switched.await
    } else {
        tokio::join!(switched, io).0
    }
    .map_err(failed)?;
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| BackendError::UnaskedUpgrade(endpoint))?;
    let (head, _) = response.into_parts();
    Ok(Reply::Switched(head, parts.io.into_inner(), parts.read_buf))
}

/// Counts interim responses.
struct Interim(Arc<(AtomicUsize, Notify)>);

impl Interim {
    fn watch<B>(request: &mut Request<B>) -> Self {
        let shared = Arc::new((AtomicUsize::new(0), Notify::new()));
        let counted = shared.clone();
        hyper::ext::on_informational(request, move |_| {
            if counted.0.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM_RESPONSES {
                counted.1.notify_one();
            }
        });
        Self(shared)
    }

    /// Whether there were too many.
    fn is_exceeded(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) > MAX_INTERIM_RESPONSES
    }

    /// Returns when there are too many.
    async fn exceeded(&self) {
        self.0.1.notified().await;
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
    endpoint: Arc<upstream::Endpoint>,
    backend: TcpStream,
    backend_early: Bytes,
}

impl Switched {
    /// The head to send, and what becomes a tunnel once it is out.
    pub(super) fn split(self, record: Record) -> (response::Parts, Handoff) {
        let subprotocol = self.head.headers.get(SEC_WEBSOCKET_PROTOCOL);
        let handoff = Handoff {
            extensions: self.head.headers.contains_key(SEC_WEBSOCKET_EXTENSIONS),
            subprotocol: subprotocol.and_then(|name| Some(name.to_str().ok()?.to_owned())),
            route: self.route,
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
    endpoint: Arc<upstream::Endpoint>,
    backend: TcpStream,
    backend_early: Bytes,
    subprotocol: Option<String>,
    extensions: bool,
    record: Record,
}

impl Handoff {
    /// Starts the tunnel, in a task of its own: the connection's, with hyper's buffers and the futures
    /// of the handshake, ends here.
    pub(super) fn start(
        self,
        connection: &Connection,
        slot: Slot,
        client: TcpStream,
        client_early: Bytes,
    ) {
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
                splice: connection.proxy.limits.splice,
                route: self.route,
                endpoint: self.endpoint,
                info,
                metrics,
            },
            connection.proxy.tunnels.clone(),
        );
        tokio::spawn(async move {
            tunnel.await;
            drop(slot);
        });
    }
}
