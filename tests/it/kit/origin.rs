//! Backends written by others: a tungstenite echo server and a hyper HTTP server.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A backend on a random port of loopback. Ends with the test's runtime.
pub struct Origin {
    /// Where it listens.
    pub addr: SocketAddr,
}

/// A WebSocket server that sends every message back.
pub async fn echo() -> Origin {
    echo_on(Ipv4Addr::LOCALHOST.into()).await
}

/// The same on another address of this host.
pub async fn echo_on(ip: IpAddr) -> Origin {
    let listener = TcpListener::bind((ip, 0)).await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    // The library answers pings and a Close by itself.
                    if !(message.is_text() || message.is_binary()) {
                        continue;
                    }
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Origin { addr }
}

/// An HTTP server that answers with what it saw: method, target and header fields, one a line.
pub async fn http() -> Origin {
    http_on(Ipv4Addr::LOCALHOST.into()).await
}

/// The same on another address of this host.
pub async fn http_on(ip: IpAddr) -> Origin {
    let listener = TcpListener::bind((ip, 0)).await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                let mut text = format!("{} {}\n", request.method(), request.uri());
                for (name, value) in request.headers() {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    let _ = writeln!(text, "{name}: {value}");
                }
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Origin { addr }
}
