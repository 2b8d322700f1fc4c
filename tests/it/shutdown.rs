//! The end of the process: not ready, nothing new, requests finish, tunnels get a real Close frame, exit 0.

mod answers;
mod pace;
mod signals;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Response;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::kit::{client, eventually, hawser, manifest, origin};

#[tokio::test]
async fn tunnels_get_close_1012_and_the_process_exits_0() {
    for signal in ["TERM", "INT"] {
        let echo = origin::echo().await;
        let manifest = manifest::websocket("chat", "/ws", &[echo.addr]);
        let mut hawser = hawser::with_flags(&manifest, &["--drain-window", "2s"]).await;
        let mut sockets = Vec::new();
        for _ in 0..20 {
            let mut socket = client::ws(hawser.http, "chat.test", "/ws")
                .await
                .expect("the handshake succeeds");
            socket.send(Message::text("hello")).await.expect("sent");
            assert_eq!(
                socket.next().await.expect("open").expect("a message"),
                Message::text("hello")
            );
            sockets.push(socket);
        }
        hawser.signal(signal);
        for mut socket in sockets {
            let close = socket.next().await.expect("a message").expect("no error");
            let Message::Close(Some(CloseFrame { code, reason })) = close else {
                panic!("expected a Close frame, got {close:?}");
            };
            assert_eq!(code, CloseCode::Restart);
            assert!(!reason.is_empty(), "the reason is told");
            // The answer to the Close goes out with the next poll; then the stream ends cleanly.
            assert!(socket.next().await.is_none(), "nothing follows a Close");
        }
        assert!(
            hawser.ended().await.success(),
            "exit code 0 after SIG{signal}"
        );
        let drained = hawser
            .log()
            .iter()
            .filter(|line| hawser::field(line, "cause") == Some("drain"))
            .count();
        assert_eq!(drained, 20, "every tunnel has its line with the cause");
        assert!(
            TcpStream::connect(hawser.http).await.is_err(),
            "nothing listens any more"
        );
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished() {
    let (slow, release) = slow_origin().await;
    let mut hawser = hawser::with(&manifest::websocket("slow", "/", &[slow])).await;
    let http = hawser.http;
    let request = tokio::spawn(async move { client::get(http, "slow.test", "/").await });
    release.waiting.notified().await;
    hawser.signal("TERM");
    eventually("no new connection is accepted", async || {
        TcpStream::connect(http).await.is_err().then_some(())
    })
    .await;
    release.go.notify_one();
    let answer = request
        .await
        .expect("no panic")
        .expect("the request is finished");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert!(hawser.ended().await.success());
}

#[tokio::test]
async fn a_client_that_never_answers_the_close_does_not_hold_the_exit() {
    let echo = origin::echo().await;
    let mut hawser = hawser::with_flags(
        &manifest::websocket("chat", "/ws", &[echo.addr]),
        &["--drain-window", "5s"],
    )
    .await;
    // Never polled again: it reads nothing and answers nothing.
    let _silent = client::ws(hawser.http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    hawser.signal("TERM");
    let status = tokio::time::timeout(Duration::from_secs(15), hawser.ended())
        .await
        .expect("bounded by the window and the close handshake, not by the client");
    assert!(status.success());
}

/// What the test and the server of [`slow_origin`] tell each other.
struct Release {
    /// A request is there.
    waiting: tokio::sync::Notify,
    /// It may be answered.
    go: tokio::sync::Notify,
}

/// A server that answers when it is told to.
async fn slow_origin() -> (std::net::SocketAddr, std::sync::Arc<Release>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let release = std::sync::Arc::new(Release {
        waiting: tokio::sync::Notify::new(),
        go: tokio::sync::Notify::new(),
    });
    let shared = std::sync::Arc::clone(&release);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = std::sync::Arc::clone(&shared);
            let service = hyper::service::service_fn(move |_| {
                let shared = std::sync::Arc::clone(&shared);
                async move {
                    shared.waiting.notify_one();
                    shared.go.notified().await;
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("late"))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (addr, release)
}
