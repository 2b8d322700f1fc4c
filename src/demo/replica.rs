//! One replica of the chat: an HTTP server that serves the page and joins WebSockets to the room. It is an
//! application as anybody would write it; nothing in it knows of Hawser.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, handshake,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    page,
    room::{Room, Seat},
};

/// The header that the demo's route sets: shown to windows that connect from then on.
const TOPIC: &str = "x-demo-topic";
/// Bytes of the topic; a longer one is not shown.
const MAX_TOPIC: usize = 80;
/// Connections at a time: every seat of the room, and some for the page.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of a message from a window: a line of 500 characters is at most 2,000 bytes, in JSON twice that.
const MAX_MESSAGE: usize = 8 * 1024;
/// A window that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Accept fails when descriptors run out; a pause lets some come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Nothing is loaded from elsewhere, and nothing inline runs. `ws:` because older browsers do not count a
/// WebSocket as 'self'.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";

/// What a window sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum FromWindow {
    /// Its name.
    Name { name: String },
    /// A line.
    Say { text: String },
}

/// A replica that listens.
pub(super) struct Replica {
    name: &'static str,
    listener: TcpListener,
    address: SocketAddr,
    room: Arc<Room>,
}

impl Replica {
    /// Listens on a free port of loopback.
    pub(super) async fn bind(name: &'static str, room: Arc<Room>) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            name,
            listener,
            address,
            room,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; every connection ends with it.
    pub(super) async fn serve(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let context = Context {
            name: self.name,
            room: self.room,
            stop: stop.clone(),
            sockets: tasks.clone(),
        };
        while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        debug!(%error, "a chat replica cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let (context, stop) = (context.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connection(stream, context) => {}
                }
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

#[derive(Clone)]
struct Context {
    name: &'static str,
    room: Arc<Room>,
    stop: CancellationToken,
    sockets: TaskTracker,
}

async fn connection(stream: TcpStream, context: Context) {
    let service = service_fn(move |request| {
        let response = answer(request, &context);
        async { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection of a chat replica failed");
    }
}

fn answer(request: Request<Incoming>, context: &Context) -> Response<Full<Bytes>> {
    let mut response = if request.uri().path() == "/ws" {
        socket(request, context)
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        text(StatusCode::METHOD_NOT_ALLOWED, "only GET here")
    } else if let Some(asset) = page::asset(request.uri().path()) {
        let mut response = Response::new(Full::from(asset.body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        );
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_SECURITY_POLICY),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        text(StatusCode::NOT_FOUND, "no such page")
    };
    let headers = response.headers_mut();
    headers.insert("x-demo-replica", HeaderValue::from_static(context.name));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn text(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Answers a handshake with 101 and gives the socket a seat.
fn socket(mut request: Request<Incoming>, context: &Context) -> Response<Full<Bytes>> {
    let Ok(response) = handshake::server::create_response_with_body(&request, Full::default) else {
        return text(StatusCode::BAD_REQUEST, "this path speaks WebSocket only");
    };
    let topic = request
        .headers()
        .get(TOPIC)
        .and_then(|topic| topic.to_str().ok())
        .filter(|topic| topic.len() <= MAX_TOPIC);
    let Some(seat) = context.room.join(context.name, topic) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the room is full");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let stop = context.stop.clone();
    context.sockets.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => chat(upgraded, seat, stop).await,
            Err(error) => debug!(%error, "a chat window did not upgrade"),
        }
    });
    response
}

/// One window, from its welcome to its end.
async fn chat(upgraded: Upgraded, mut seat: Seat, stop: CancellationToken) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let mut next = seat.welcome();
    loop {
        match tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Text(next))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
        next = loop {
            tokio::select! {
                () = stop.cancelled() => {
                    let close = CloseFrame { code: CloseCode::Away, reason: "".into() };
                    let _ = tokio::time::timeout(SEND_TIMEOUT, socket.close(Some(close))).await;
                    return;
                }
                message = seat.next() => break message,
                received = socket.next() => match received {
                    Some(Ok(Message::Text(text))) => hear(&seat, &text),
                    // tungstenite answers Ping and Close itself; None follows a Close.
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        };
    }
}

/// What is no known message is no message: windows of another version may be open.
fn hear(seat: &Seat, text: &str) {
    match serde_json::from_str(text) {
        Ok(FromWindow::Name { name }) => seat.rename(&name),
        Ok(FromWindow::Say { text }) => seat.say(&text),
        Err(error) => debug!(%error, "a chat window sent something odd"),
    }
}

#[cfg(test)]
mod tests;
