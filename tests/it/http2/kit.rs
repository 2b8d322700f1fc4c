//! A client with the `h2` crate, and one with hyper for WebSockets.

use std::{future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, SendRequest},
    ext::Protocol,
};
use http::{HeaderMap, Method, Request, Response, Version, request};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use crate::kit::{DEADLINE, client::Answer, eventually};

/// One connection.
pub(super) struct Client {
    sender: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// Connects, and waits for the server's settings.
pub(super) async fn connect(address: SocketAddr) -> Client {
    connect_with(address, &Builder::new()).await
}

/// The same with settings of its own.
pub(super) async fn connect_with(address: SocketAddr, builder: &Builder) -> Client {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    let (sender, connection) = builder.handshake(stream).await.expect("a handshake");
    let ended = tokio::spawn(connection);
    eventually("the server's settings", async || {
        sender.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    Client { sender, ended }
}

/// GET of a path of `a.test`, to be changed.
pub(super) fn get(path: &str) -> request::Builder {
    Request::get(format!("http://a.test{path}")).version(Version::HTTP_2)
}

/// An extended CONNECT for a WebSocket.
pub(super) fn websocket(path: &str) -> request::Builder {
    get(path)
        .method(Method::CONNECT)
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
}

/// An open tunnel, or any answer whose body goes on.
pub(super) struct Stream {
    pub(super) response: Response<()>,
    pub(super) send: SendStream<Bytes>,
    pub(super) recv: RecvStream,
}

impl Client {
    /// Another handle of the same connection, to send at the same time.
    pub(super) fn another(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            ended: tokio::spawn(std::future::pending()),
        }
    }

    /// Sends a head; the answer is not there yet.
    pub(super) async fn begin(
        &mut self,
        request: request::Builder,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
        let ready = self.sender.clone().ready();
        self.sender = timeout(DEADLINE, ready).await.expect("room for a stream")?;
        self.sender
            .send_request(request.body(()).expect("a request"), end)
    }

    /// Sends a request without body and reads the whole answer.
    pub(super) async fn send(&mut self, request: request::Builder) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(request, true).await?;
        whole(response).await
    }

    /// The same with a body.
    pub(super) async fn send_body(
        &mut self,
        request: request::Builder,
        body: &'static [u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.begin(request, false).await?;
        stream.send_data(Bytes::from_static(body), trailers.is_none())?;
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        whole(response).await
    }

    /// Sends a head and waits for the head of the answer.
    pub(super) async fn open(&mut self, request: request::Builder) -> Result<Stream, h2::Error> {
        let (response, send) = self.begin(request, false).await?;
        let response = timeout(DEADLINE, response).await.expect("an answer")?;
        let (head, recv) = response.into_parts();
        Ok(Stream {
            response: Response::from_parts(head, ()),
            send,
            recv,
        })
    }

    /// A tunnel that must open.
    pub(super) async fn tunnel(&mut self, path: &str) -> Stream {
        let stream = self.open(websocket(path)).await.expect("an answer");
        assert_eq!(stream.response.status(), 200, "{:?}", stream.response);
        stream
    }

    /// Waits until the server has ended the connection.
    pub(super) async fn ended(self) -> Result<(), h2::Error> {
        drop(self.sender);
        timeout(DEADLINE, self.ended)
            .await
            .expect("the connection ends")
            .expect("no panic")
    }

    /// Whether the server has ended it.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_finished()
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let response = timeout(DEADLINE, response).await.expect("an answer")?;
    let (head, body) = response.into_parts();
    let (body, _) = rest(body).await?;
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

/// Reads a body to its end, with its trailers.
pub(super) async fn rest(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = timeout(DEADLINE, body.data()).await.expect("data") {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok((bytes.into(), trailers))
}

impl Stream {
    /// Sends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.send
            .send_data(Bytes::copy_from_slice(bytes), false)
            .expect("the stream takes bytes");
    }

    /// The next `count` bytes.
    pub(super) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let data = timeout(DEADLINE, self.recv.data()).await.expect("in time");
            let data = data.expect("the stream goes on").expect("no reset");
            let _ = self.recv.flow_control().release_capacity(data.len());
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    /// The reason of the server's reset.
    pub(super) async fn reset(&mut self) -> h2::Reason {
        timeout(DEADLINE, poll_fn(|cx| self.send.poll_reset(cx)))
            .await
            .expect("a reset in time")
            .expect("a reset")
    }
}

/// A WebSocket over HTTP/2.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// A connection that makes WebSockets.
pub(super) struct Browser(hyper::client::conn::http2::SendRequest<Empty<Bytes>>);

/// Connects.
pub(super) async fn browser(address: SocketAddr) -> Browser {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a handshake");
    tokio::spawn(connection);
    Browser(sender)
}

impl Browser {
    /// Opens a WebSocket; the status when there is none.
    pub(super) async fn ws(&mut self, authority: &str, path: &str) -> Result<Socket, u16> {
        let request = || {
            Request::connect(format!("http://{authority}{path}"))
                .version(Version::HTTP_2)
                .extension(hyper::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(Empty::new())
                .expect("a request")
        };
        // It fails until the server's settings are there.
        let response = eventually("an answer", async || {
            self.0.clone().send_request(request()).await.ok()
        })
        .await;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(status);
        }
        let upgraded = hyper::upgrade::on(response).await.expect("a tunnel");
        let stream = TokioIo::new(upgraded);
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }
}
