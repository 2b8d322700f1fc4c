//! Limits of a connection: time without a stream, streams in all, slots.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hawser::{
    proxy::{Limits, gate},
    tunnel::{Cause, Order, Registry},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::kit::{
    DEADLINE, eventually, origin,
    proxy::{self, Running, rule},
    raw::{self, Then, ok},
};

use super::{
    frames::{
        self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame,
    },
    kit::{connect, connect_with, get, rest, websocket, whole},
};

/// Short, but longer than a busy machine takes from one request to the next.
fn quick() -> Limits {
    let gate = gate::Limits {
        head_time: Duration::from_millis(700),
        keep_alive_time: Duration::from_millis(700),
        ..gate::Limits::default()
    };
    Limits {
        gate,
        ..Limits::default()
    }
}

fn slots(max_connections: usize) -> Limits {
    Limits {
        max_connections,
        ..Limits::default()
    }
}

#[tokio::test]
async fn the_preface_may_come_byte_by_byte() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = frames::silent(proxy.addr).await;
    for byte in PREFACE {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    client.send(&frame(SETTINGS, 0, 0, &[])).await;
    let settings = client.next().await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    // ENABLE_CONNECT_PROTOCOL (8) is 1, MAX_CONCURRENT_STREAMS (3) 100, MAX_HEADER_LIST_SIZE (6) 16 KiB.
    let announced: Vec<&[u8]> = settings.payload.chunks(6).collect();
    for setting in [
        [0, 8, 0, 0, 0, 1],
        [0, 3, 0, 0, 0, 100],
        [0, 6, 0, 0, 64, 0],
        [0, 4, 0, 1, 0, 0],
    ] {
        assert!(announced.contains(&setting.as_slice()), "{announced:?}");
    }
}

#[tokio::test]
async fn a_slow_preface_is_a_slow_head() {
    let proxy = proxy::with_limits([], quick());
    let mut client = frames::silent(proxy.addr).await;
    client.send(&PREFACE[..20]).await;
    let answer = client.text().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn what_only_looks_like_a_preface_is_http1() {
    let proxy = proxy::with([]);
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"[..],
        b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\n",
    ] {
        let mut client = frames::silent(proxy.addr).await;
        client.send(bytes).await;
        let answer = client.text().await;
        assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    }
    // Behind a request it is none.
    let mut client = frames::silent(proxy.addr).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(&[request, PREFACE].concat()).await;
    let answer = client.text().await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("HTTP/1.1 505 "), "{answer}");
}

#[tokio::test]
async fn a_connection_without_streams_is_told_and_ended() {
    let origin = origin::http().await;
    let proxy = proxy::with_limits([rule("a.test", "/").to(&[origin.addr])], quick());
    // Nothing was ever asked.
    let client = connect(proxy.addr).await;
    client.ended().await.unwrap();
    let mut client = connect(proxy.addr).await;
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).await.unwrap().status, 200);
    }
    let another = client.another();
    client.ended().await.unwrap();
    drop(another);
    // Pings are no streams, and one that never answers is not waited for.
    let mut raw = frames::raw(proxy.addr).await;
    let goaway = raw.until(GOAWAY).await.unwrap();
    assert_eq!(goaway.code(), 0);
    raw.rest().await;
}

/// What is written to answer them is nothing that the client waited for.
#[tokio::test]
async fn pings_keep_no_connection() {
    let proxy = proxy::with_limits([], quick());
    let mut client = frames::raw(proxy.addr).await;
    let request = frames::get(&[]);
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request))
        .await;
    let started = Instant::now();
    let mut told = false;
    loop {
        // None of ours is answered, which the end of the connection would wait for.
        client.send(&frame(PING, 0, 0, b"12345678")).await;
        let Some(answer) = client.next().await else {
            break;
        };
        told |= answer.kind == GOAWAY;
        let since = started.elapsed();
        assert!(since < Duration::from_secs(15), "{since:?}");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(told, "it ends with a word");
}

/// Nor do streams that it opens although it was told to go.
#[tokio::test]
async fn streams_keep_no_connection_that_is_too_many() {
    let proxy = proxy::with_limits([], slots(1));
    let _first = connect(proxy.addr).await;
    let mut client = frames::raw(proxy.addr).await;
    let request = frames::get(&[]);
    let started = Instant::now();
    let mut told = false;
    'open: for stream in (1..).step_by(2) {
        let get = frame(HEADERS, END_HEADERS | END_STREAM, stream, &request);
        client.send(&get).await;
        loop {
            let Some(answer) = client.next().await else {
                break 'open;
            };
            told |= answer.kind == GOAWAY;
            if answer.kind == DATA && answer.stream == stream {
                break;
            }
        }
        let since = started.elapsed();
        assert!(since < Duration::from_secs(15), "{since:?}");
        sleep(Duration::from_secs(1)).await;
    }
    assert!(told, "it ends with a word");
}

#[tokio::test]
async fn a_tunnel_and_a_slow_answer_are_streams() {
    let held = raw::held(ok, Then::Close).await;
    let echo = origin::echo().await;
    let limits = quick();
    let proxy = proxy::with_limits(
        [
            rule("a.test", "/ws").to(&[echo.addr]),
            rule("a.test", "/").to(&[held.addr]),
        ],
        limits.clone(),
    );
    let mut client = connect(proxy.addr).await;
    let (answer, _) = client.begin(get("/"), true).await.unwrap();
    // Others are idle, told and gone; so much time has passed.
    connect(proxy.addr).await.ended().await.unwrap();
    held.release.add_permits(1);
    assert_eq!(whole(answer).await.unwrap().status, 200);
    let mut tunnel = client.tunnel("/ws").await;
    connect(proxy.addr).await.ended().await.unwrap();
    connect(proxy.addr).await.ended().await.unwrap();
    tunnel.write(b"\x81\x82\0\0\0\0hi");
    assert_eq!(tunnel.read(4).await, b"\x81\x02hi");
    tunnel.send.send_reset(h2::Reason::CANCEL);
    client.ended().await.unwrap();
}

#[tokio::test]
async fn after_ten_thousand_streams_a_client_is_sent_away() {
    let proxy = proxy::with([]);
    let mut client = connect(proxy.addr).await;
    let mut served = 0;
    let error = loop {
        match client.send(get("/")).await {
            Ok(answer) => assert_eq!(answer.status, 404),
            Err(error) => break error,
        }
        served += 1;
    };
    assert!((9_990..10_100).contains(&served), "{served}: {error}");
    client.ended().await.unwrap();
    // With another connection it goes on.
    let mut client = connect(proxy.addr).await;
    assert_eq!(client.send(get("/")).await.unwrap().status, 404);
}

/// Each stream may have a backend's socket, so they count.
#[tokio::test]
async fn streams_take_slots() {
    let held = raw::held(ok, Then::Close).await;
    let echo = origin::echo().await;
    let proxy = proxy::with_limits(
        [
            rule("a.test", "/ws").to(&[echo.addr]),
            rule("a.test", "/").to(&[held.addr]),
        ],
        slots(4),
    );
    let mut client = connect(proxy.addr).await;
    // The first is the connection's own, three are left.
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        tunnels.push(client.tunnel("/ws").await);
    }
    let (last, _) = client.begin(get("/"), true).await.unwrap();
    eventually("it is on its way", async || {
        (held.connections() == 1).then_some(())
    })
    .await;
    for request in [websocket("/ws"), get("/")] {
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        let told = answer.header("proxy-status");
        assert!(told.contains("error=connection_limit_reached"), "{told}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    // Nor is there room for another connection.
    let mut refused = connect(proxy.addr).await;
    assert_eq!(refused.send(get("/")).await.unwrap().status, 503);
    refused.ended().await.unwrap();

    // Each is given back with its stream, a tunnel's too.
    held.release.add_permits(1);
    assert_eq!(whole(last).await.unwrap().status, 200);
    tunnels.pop().unwrap().send.send_reset(h2::Reason::CANCEL);
    for _ in 0..2 {
        let tunnel = eventually("there is room again", async || {
            let mut client = client.another();
            let stream = client.open(websocket("/ws")).await.unwrap();
            (stream.response.status() == 200).then_some(stream)
        });
        tunnels.push(tunnel.await);
    }
    assert_eq!(client.send(get("/")).await.unwrap().status, 503);
    eventually("only one connection is left", async || {
        (connections(&proxy) == 1).then_some(())
    })
    .await;
}

/// Client connections that hold a slot.
pub(super) fn connections(proxy: &Running) -> u64 {
    proxy.metric("hawser_connections ") as u64
}

/// Tells all tunnels to end, and waits until they have.
pub(super) async fn end_all(tunnels: &Registry) {
    let order = Order {
        cause: Cause::Drain,
        code: 1012,
    };
    for tunnel in tunnels.list() {
        assert!(tunnels.end(tunnel.id, order));
    }
    tunnels.ended().await;
}

/// A backend that sends as much as is taken, and how much that is.
pub(super) async fn flood(
    answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let Ok(length) = stream.read(&mut head).await else {
                continue;
            };
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            // What the kernel keeps here is none of Hawser's.
            let small = socket2::SockRef::from(&stream).set_send_buffer_size(16 * 1024);
            small.expect("a small buffer");
            let _ = stream.write_all(&answer(&head)).await;
            tokio::spawn(send(stream, Arc::clone(&count)));
        }
    });
    (address, written)
}

async fn send(mut stream: TcpStream, count: Arc<AtomicU64>) {
    // A binary frame of 1 KiB.
    let mut frame = vec![0x82, 126, 4, 0];
    frame.resize(1028, b'z');
    while stream.write_all(&frame).await.is_ok() {
        count.fetch_add(frame.len() as u64, Ordering::Relaxed);
    }
}

/// Waits until nothing more is taken; how much it was.
pub(super) async fn stands_still(written: &AtomicU64) -> u64 {
    let seen = AtomicU64::new(0);
    let same = AtomicU64::new(0);
    eventually("it stands still", async || {
        let now = written.load(Ordering::Relaxed);
        if now == 0 || seen.swap(now, Ordering::Relaxed) != now {
            same.store(0, Ordering::Relaxed);
        }
        // Half a second without a byte.
        (same.fetch_add(1, Ordering::Relaxed) > 100).then_some(now)
    })
    .await
}

/// HTTP/2 takes an answer as soon as there is room for one byte of it.
#[tokio::test]
async fn what_a_client_has_not_taken_holds_its_slot() {
    let echo = origin::echo().await;
    let backend = raw::backend(ok, Then::Again).await;
    let rules = [
        rule("a.test", "/ws").to(&[echo.addr]),
        rule("a.test", "/").to(&[backend.addr]),
    ];
    let proxy = proxy::with_limits(rules, slots(2));
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1);
    let mut client = connect_with(proxy.addr, &builder).await;
    let _tunnel = client.tunnel("/ws").await;
    let (response, _) = client.begin(get("/"), true).await.unwrap();
    let untaken = timeout(DEADLINE, response).await.expect("an answer");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(client.send(get("/")).await.unwrap().status, 503);
    let (bytes, _) = rest(untaken.unwrap().into_body()).await.unwrap();
    assert_eq!(bytes, "plain");
    eventually("the slot is free", async || {
        let answer = client.another().send(get("/")).await.unwrap();
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Its stream is HTTP/2's alone then, and cannot be reset. The tunnel beside it is none of that.
#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_opens_no_more_streams() {
    let echo = origin::echo().await;
    let backend = raw::backend(ok, Then::Again).await;
    let limits = Limits {
        stream_stall: Duration::from_secs(1),
        ..Limits::default()
    };
    let rules = [
        rule("a.test", "/ws").to(&[echo.addr]),
        rule("a.test", "/").to(&[backend.addr]),
    ];
    let proxy = proxy::with_limits(rules, limits);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1);
    // One that took all that it was sent is well.
    let mut other = connect(proxy.addr).await;
    let _open = other.tunnel("/ws").await;
    assert_eq!(other.send(get("/")).await.unwrap().status, 200);
    let mut client = connect_with(proxy.addr, &builder).await;
    let mut tunnel = client.tunnel("/ws").await;
    let (response, _) = client.begin(get("/"), true).await.unwrap();
    let _untaken = timeout(DEADLINE, response).await.expect("an answer");
    sleep(Duration::from_secs(3)).await;
    assert!(client.another().send(get("/")).await.is_err());
    assert_eq!(other.send(get("/")).await.unwrap().status, 200);
    tunnel.write(b"\x81\x82\0\0\0\0hi");
    assert_eq!(tunnel.read(4).await, b"\x81\x02hi");
}

#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_not_cut_off_by_the_drain() {
    const ROOM: usize = 4096;
    let backend = raw::backend(
        |_| {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12288\r\n\r\n".to_vec();
            answer.resize(answer.len() + 3 * ROOM, b'x');
            answer
        },
        Then::Again,
    )
    .await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(ROOM as u32);
    let mut client = connect_with(proxy.addr, &builder).await;
    let (response, _) = client.begin(get("/"), true).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    proxy.drain();
    let mut taken = 0;
    while let Some(bytes) = timeout(DEADLINE, body.data()).await.expect("in time") {
        let bytes = bytes.expect("no reset");
        taken += bytes.len();
        // Longer than a connection without streams is waited for.
        sleep(Duration::from_secs(6)).await;
        let _last = body.flow_control().release_capacity(bytes.len());
    }
    assert_eq!(taken, 3 * ROOM);
    proxy.served().await;
}

/// The connection is well, only its windows stay closed: TCP has nothing to say about that.
#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset() {
    let origin = origin::http().await;
    let limits = Limits {
        stream_stall: Duration::from_secs(1),
        ..Limits::default()
    };
    let proxy = proxy::with_limits([rule("a.test", "/").to(&[origin.addr])], limits);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let mut client = connect_with(proxy.addr, &builder).await;
    // A backend's answer, and one of Hawser's own.
    for host in ["a.test", "b.test"] {
        let (response, _) = client
            .begin(get("/").header("host", host), true)
            .await
            .unwrap();
        let error = timeout(DEADLINE, whole(response)).await.expect("in time");
        assert!(error.unwrap_err().is_reset(), "{host}");
    }
    // Who takes what there is may wait for more as long as he likes.
    let held = raw::held(ok, Then::Close).await;
    proxy.serve([rule("a.test", "/").to(&[held.addr])]);
    let mut client = connect(proxy.addr).await;
    let (response, _) = client.begin(get("/"), true).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    held.release.add_permits(1);
    assert_eq!(whole(response).await.unwrap().text(), "plain");
}
