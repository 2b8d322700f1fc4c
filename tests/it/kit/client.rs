//! Clients: raw TCP, plain HTTP and WebSocket.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, client::IntoClientRequest},
};

/// A whole HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// GET on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    let request = Request::get(path)
        .header("host", host)
        .body(Empty::<Bytes>::new());
    send(address, request.expect("a valid request")).await
}

/// POST on a connection of its own.
pub async fn post(address: SocketAddr, host: &str, path: &str, body: Bytes) -> io::Result<Answer> {
    let request = Request::post(path)
        .header("host", host)
        .body(Full::new(body));
    send(address, request.expect("a valid request")).await
}

/// Any request on a connection of its own.
pub async fn send<B>(address: SocketAddr, request: Request<B>) -> io::Result<Answer>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

/// A WebSocket.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket to `host` and `path` through the address.
pub async fn ws(address: SocketAddr, host: &str, path: &str) -> Result<Socket, Error> {
    ws_with(address, host, path, &[]).await
}

/// The same with further header fields.
pub async fn ws_with(
    address: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, Error> {
    let mut request = format!("ws://{host}{path}").into_client_request()?;
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, value.parse().expect("a valid value"));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (socket, _response) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(socket)
}
