//! What HTTP sees of the end: everything is served while the process is not ready, then each connection gets its last
//! answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::slow_origin;
use crate::kit::{
    client, eventually, hawser, manifest, origin,
    proxy::{self, rule},
    raw::{self, Then},
};

const DRAINING: &str = "draining: no new connections, tunnels are closed one by one";

#[tokio::test]
async fn nothing_is_refused_while_it_is_not_ready() {
    let echo = origin::echo().await;
    let pages = origin::http().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr])
        + &manifest::websocket("pages", "/", &[pages.addr]);
    let flags = ["--drain-delay", "2s", "--drain-window", "1s"];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let http = hawser.http;
    let unready = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (unready, served) = (Arc::clone(&unready), Arc::clone(&served));
            tokio::spawn(async move {
                loop {
                    // Told before the request, so that what fails was certainly not refused too early.
                    let counts = unready.load(Ordering::Relaxed);
                    let result = if number % 2 == 0 {
                        client::get(http, "pages.test", "/")
                            .await
                            .and_then(
                                |answer| match (answer.status, answer.header("connection")) {
                                    (200, "") => Ok(()),
                                    (200, _) => Err(io::Error::other("the last answer")),
                                    _ => Err(io::Error::other(format!("{answer:?}"))),
                                },
                            )
                    } else {
                        let socket = client::ws(http, "chat.test", "/ws").await;
                        socket.map(drop).map_err(io::Error::other)
                    };
                    match result {
                        Ok(()) if counts => served.fetch_add(1, Ordering::Relaxed),
                        Ok(()) => 0,
                        Err(error) => return error,
                    };
                }
            })
        })
        .collect();
    hawser.signal("TERM");
    eventually("it is not ready any more", async || {
        (!hawser.is_ready().await).then_some(())
    })
    .await;
    unready.store(true, Ordering::Relaxed);
    let readyz = client::get(hawser.admin, "localhost", "/readyz").await;
    assert_eq!(readyz.expect("an answer").status, 503);
    eventually("requests are served all the same", async || {
        (served.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    assert_eq!(hawser.said(DRAINING), 0, "the delay is not over");
    let failed = clients.iter().filter(|client| client.is_finished()).count();
    assert_eq!(failed, 0, "nothing failed before the drain");
    for client in clients {
        let error = client.await.expect("no panic");
        // The pipe of the log may be a moment behind.
        eventually(&format!("it drains: {error}"), async || {
            (hawser.said(DRAINING) == 1).then_some(())
        })
        .await;
    }
    assert!(hawser.ended().await.success());
}

/// Sends bytes on a connection of its own.
async fn open(address: std::net::SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    stream
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an end");
    String::from_utf8_lossy(&bytes).to_ascii_lowercase()
}

#[tokio::test]
async fn every_connection_gets_its_last_answer() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: pages.test\r\n\r\n";
    let (slow, release) = slow_origin().await;
    let pages = origin::http().await;
    let yaml = manifest::websocket("slow", "/", &[slow])
        + &manifest::websocket("pages", "/", &[pages.addr]);
    let flags = ["--drain-window", "1h"];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut idle = open(hawser.http, GET).await;
    let mut part = [0; 12];
    idle.read_exact(&mut part).await.expect("an answer");
    assert_eq!(&part, b"HTTP/1.1 200");
    let (early, late) = GET.split_at(20);
    let mut half = open(hawser.http, early).await;
    let mut silent = open(hawser.http, "").await;
    let mut busy = open(hawser.http, "GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n").await;
    release.waiting.notified().await;
    eventually("all are accepted", async || {
        (hawser.metric("hawser_connections ").await == Some(4.0)).then_some(())
    })
    .await;
    hawser.signal("TERM");
    let idle = rest(&mut idle).await;
    assert!(!idle.contains("connection: close"), "it was idle: {idle}");
    assert_eq!(rest(&mut silent).await, "", "it said nothing");
    half.write_all(late.as_bytes()).await.expect("sent");
    let answer = rest(&mut half).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    release.go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(
        hawser.ended().await.success(),
        "long before the window ends"
    );
    assert_eq!(hawser.said("cutting what is still open"), 0);
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_cut_at_the_hard_end() {
    let (slow, release) = slow_origin().await;
    let flags = ["--drain-window", "0s"];
    let mut hawser = hawser::with_flags(&manifest::websocket("slow", "/", &[slow]), &flags).await;
    let http = hawser.http;
    let request = tokio::spawn(async move { client::get(http, "slow.test", "/").await });
    release.waiting.notified().await;
    let start = std::time::Instant::now();
    hawser.signal("TERM");
    assert!(hawser.ended().await.success());
    assert!(start.elapsed().as_secs() >= 10, "it had its time");
    assert_eq!(hawser.said("cutting what is still open"), 1);
    assert!(request.await.expect("no panic").is_err());
}

/// Some clients want `Upgrade` and nothing else there.
#[tokio::test]
async fn a_handshake_that_was_on_its_way_is_a_whole_one() {
    let backend = raw::held(|request| raw::accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let opens = tokio::spawn(client::ws(proxy.addr, "a.test", "/"));
    eventually("the backend has the handshake", async || {
        (!backend.received.lock().concat().is_empty()).then_some(())
    })
    .await;
    proxy.drain();
    // It has seen the drain when it has told others.
    eventually("nothing new is let in", async || {
        TcpStream::connect(proxy.addr).await.err()
    })
    .await;
    backend.release.add_permits(1);
    opens.await.expect("no panic").expect("a handshake");
}
