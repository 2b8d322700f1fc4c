//! Very many tunnels at the end of the process: told one by one, all of them politely, with nobody refused before.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest, protocol::WebSocketConfig,
};

use crate::kit::{client, eventually, hawser, manifest, origin, within};

/// Thousands of ends of both sides are in this process.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(512)
        .write_buffer_size(0)
}

/// A WebSocket server that needs little memory and answers a Close.
async fn websockets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config()));
                let Ok(mut socket) = accepted.await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if !message.is_close() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Opens one and waits for its end: when the Close came, and with which code. `None`: it ended without.
async fn client(http: SocketAddr, opened: Arc<AtomicUsize>) -> Option<(Instant, u16)> {
    let request = "ws://chat.test/ws"
        .into_client_request()
        .expect("a request");
    let stream = TcpStream::connect(http).await.expect("not refused");
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config()))
            .await
            .expect("a handshake");
    opened.fetch_add(1, Ordering::Relaxed);
    let mut close = None;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(Some(frame)) = message {
            close = Some((Instant::now(), frame.code.into()));
        }
    }
    close
}

/// Between the end of readiness and the first Close.
const DELAY: Duration = Duration::from_secs(3);

fn raise_descriptors(needed: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    let most = limit.maximum.map_or(usize::MAX, |most| most as usize);
    assert!(
        most > needed,
        "{needed} descriptors are needed, {most} allowed"
    );
}

/// `HAWSER_SOAK_SOCKETS` and `HAWSER_SOAK_WINDOW` (seconds) make it larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_tunnels_are_told_evenly() {
    let number = |name, default| {
        let value = std::env::var(name).ok().and_then(|text| text.parse().ok());
        value.unwrap_or(default)
    };
    let sockets: usize = number("HAWSER_SOAK_SOCKETS", 2_000);
    let window = number("HAWSER_SOAK_WINDOW", 10);
    raise_descriptors(2 * sockets + 500);

    let web = origin::http().await;
    let yaml = manifest::websocket("chat", "/ws", &[websockets().await])
        + &manifest::websocket("web", "/web", &[web.addr]);
    let flags = [
        "--drain-delay",
        &format!("{}s", DELAY.as_secs()),
        "--drain-window",
        &format!("{window}s"),
    ];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let http = hawser.http;
    let opened = Arc::new(AtomicUsize::new(0));
    let (closed, mut ends) = mpsc::unbounded_channel();
    for batch in 0..sockets.div_ceil(100) {
        let last = sockets.min(100 * (batch + 1));
        for _ in 100 * batch..last {
            let (opened, closed) = (Arc::clone(&opened), closed.clone());
            tokio::spawn(async move { closed.send(client(http, opened).await) });
        }
        within(
            Duration::from_mins(2),
            "the next hundred is open",
            async || (opened.load(Ordering::Relaxed) == last).then_some(()),
        )
        .await;
    }
    drop(closed);

    let told = Instant::now();
    hawser.signal("TERM");
    eventually("it is not ready", async || {
        (!hawser.is_ready().await).then_some(())
    })
    .await;
    let mut late = 0;
    let message = "draining: no new connections, tunnels are closed one by one";
    while hawser.said(message) == 0 {
        match client::get(http, "web.test", "/web").await {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            // The line may come a moment later.
            Err(error) => {
                assert!(told.elapsed() >= DELAY, "refused in the delay: {error}");
                break;
            }
        }
        late += 1;
    }
    assert!(late > 10, "requests are served during the delay: {late}");
    let start = Instant::now();

    let mut bins = vec![0_usize; window + 12];
    let mut without = 0;
    while let Some(close) = ends.recv().await {
        match close {
            Some((at, 1012)) => {
                let bin = at.saturating_duration_since(start).as_secs() as usize;
                bins[bin.min(window + 11)] += 1;
            }
            _ => without += 1,
        }
    }
    let mean = sockets as f64 / window as f64;
    println!(
        "{sockets} sockets, {late} requests in the delay, closes per second: {bins:?}, mean {mean:.0}"
    );
    let mut causes = BTreeMap::<String, usize>::new();
    for line in hawser.log() {
        if let Some(cause) = hawser::field(&line, "cause") {
            let loss = hawser::field(&line, "loss").unwrap_or_default();
            *causes.entry(format!("{cause} {loss}")).or_default() += 1;
        }
    }
    assert_eq!(
        without, 0,
        "each one got a Close with code 1012: {causes:?}"
    );
    assert_eq!(bins.iter().sum::<usize>(), sockets);
    for (second, &count) in bins.iter().enumerate().skip(1) {
        assert!(
            count as f64 <= 1.5 * mean,
            "second {second}: {count} of {mean:.0}"
        );
    }
    assert!(hawser.ended().await.success());
    let drained = hawser
        .log()
        .iter()
        .filter(|line| hawser::field(line, "cause") == Some("drain"))
        .count();
    assert_eq!(drained, sockets);
}
