//! The end of the process: GOAWAY first, requests finish, each tunnel gets its Close, the connection goes last.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, future::join_all};
use rstest::rstest;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    eventually, hawser, manifest, origin,
    proxy::{self, rule},
    raw::{self, Then, ok},
};

use super::{
    frames::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS},
    kit::{browser, connect, get, whole},
};

#[tokio::test]
async fn a_connection_goes_after_its_last_tunnel() {
    let echo = origin::echo().await;
    let held = raw::held(ok, Then::Close).await;
    let proxy = proxy::with([
        rule("a.test", "/ws").to(&[echo.addr]),
        rule("a.test", "/").to(&[held.addr]),
    ]);
    let mut client = connect(proxy.addr).await;
    let mut tunnel = client.tunnel("/ws").await;
    let (request, _) = client.begin(get("/"), true).await.unwrap();
    eventually("it is on its way", async || {
        (held.connections() == 1).then_some(())
    })
    .await;
    proxy.drain();
    // The client is told, so that it goes elsewhere with what is new.
    let error = eventually("GOAWAY", async || {
        client
            .another()
            .send(get("/").header("host", "b.test"))
            .await
            .err()
    })
    .await;
    assert!(error.is_go_away() || error.is_library(), "{error}");
    // What runs goes on: the request to its end, the tunnel as if nothing were.
    tunnel.write(b"\x81\x82\0\0\0\0hi");
    assert_eq!(tunnel.read(4).await, b"\x81\x02hi");
    held.release.add_permits(1);
    assert_eq!(whole(request).await.unwrap().text(), "plain");
    let tunnels = proxy.tunnels.clone();
    let mut served = Box::pin(proxy.served());
    let waits = timeout(Duration::from_millis(100), &mut served).await;
    assert!(waits.is_err(), "it ends before its tunnels");
    tunnel.write(b"\x81\x82\0\0\0\0ho");
    assert_eq!(tunnel.read(4).await, b"\x81\x02ho");
    let drain = tokio::spawn({
        let tunnels = tunnels.clone();
        async move { super::limits::end_all(&tunnels).await }
    });
    let close = tunnel.read(4).await;
    assert_eq!(
        (close[0], &close[2..4]),
        (0x88, &1012_u16.to_be_bytes()[..])
    );
    tunnel.write(b"\x88\x82\0\0\0\0\x03\xf4");
    tunnel.send.send_data(bytes::Bytes::new(), true).unwrap();
    drain.await.unwrap();
    assert!(tunnels.is_empty());
    client.ended().await.unwrap();
    served.await;
}

#[tokio::test]
async fn a_cut_ends_requests_and_no_tunnel() {
    let echo = origin::echo().await;
    let held = raw::held(ok, Then::Close).await;
    let proxy = proxy::with([
        rule("a.test", "/ws").to(&[echo.addr]),
        rule("a.test", "/").to(&[held.addr]),
    ]);
    let mut client = connect(proxy.addr).await;
    let mut tunnel = client.tunnel("/ws").await;
    let (request, _) = client.begin(get("/"), true).await.unwrap();
    let mut only_a_request = connect(proxy.addr).await;
    let (lost, _) = only_a_request.begin(get("/"), true).await.unwrap();
    eventually("both are on their way", async || {
        (held.connections() == 2).then_some(())
    })
    .await;
    proxy.drain();
    proxy.cut();
    assert!(whole(request).await.unwrap_err().is_reset());
    assert!(whole(lost).await.is_err());
    tunnel.write(b"\x81\x82\0\0\0\0hi");
    assert_eq!(tunnel.read(4).await, b"\x81\x02hi");
}

#[tokio::test]
async fn idle_connections_hold_nothing_up() {
    let proxy = proxy::with([]);
    let mut used = connect(proxy.addr).await;
    assert_eq!(used.send(get("/")).await.unwrap().status, 404);
    let fresh = connect(proxy.addr).await;
    // One that never answers the ping that comes with GOAWAY.
    let mut deaf = frames::raw(proxy.addr).await;
    deaf.next().await.expect("settings");
    proxy.drain();
    proxy.served().await;
    used.ended().await.unwrap();
    fresh.ended().await.unwrap();
    deaf.rest().await;
}

#[tokio::test]
async fn the_process_closes_tunnels_with_1012_and_exits_0() {
    let echo = origin::echo().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr]);
    let flags = ["--drain-delay", "0s", "--drain-window", "2s"];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut browser = browser(hawser.http).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = browser.ws("chat.test", "/ws").await.expect("a tunnel");
        socket.send(Message::text("hello")).await.expect("sent");
        let echoed = socket.next().await.expect("open").expect("a message");
        assert_eq!(echoed, Message::text("hello"));
        sockets.push(socket);
    }
    hawser.signal("TERM");
    // Side by side: each answers its Close when it comes.
    let goodbyes = sockets.into_iter().map(async |mut socket| {
        let close = socket.next().await.expect("a message").expect("no error");
        let Message::Close(Some(close)) = close else {
            panic!("expected a Close frame, got {close:?}");
        };
        assert_eq!(u16::from(close.code), 1012);
        assert!(socket.next().await.is_none(), "nothing follows a Close");
    });
    join_all(goodbyes).await;
    assert!(hawser.ended().await.success());
    let drained = hawser
        .log()
        .iter()
        .filter(|line| hawser::field(line, "cause") == Some("drain"))
        .count();
    assert_eq!(drained, 20);
}

/// The frame that opens a WebSocket.
fn websocket(stream: u32) -> Vec<u8> {
    let head = frames::block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "chat.test"),
        (":path", "/ws"),
        ("sec-websocket-version", "13"),
    ]);
    frames::frame(HEADERS, END_HEADERS, stream, &head)
}

/// A client that is slow to read has the last bytes of its tunnel still before it when that has ended.
#[tokio::test]
async fn the_process_waits_until_the_last_client_took_the_last_bytes() {
    // The kernel takes 96 KiB of it, HTTP/2 the rest.
    const MESSAGE: usize = 150_000;
    let backend = raw::backend(
        |head| {
            let length = (MESSAGE as u64).to_be_bytes();
            let mut bytes = raw::accept(head, "");
            bytes.extend([0x82, 127]);
            bytes.extend(length);
            bytes.resize(bytes.len() + MESSAGE, b'm');
            bytes
        },
        Then::Wait,
    )
    .await;
    let yaml = manifest::websocket("chat", "/ws", &[backend.addr]);
    let flags = ["--drain-delay", "0s", "--drain-window", "0s"];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut client = frames::narrow(hawser.http).await;
    client.send(&websocket(1)).await;
    while client.next().await.expect("an answer").kind != HEADERS {}
    eventually("the message is on its way", async || {
        let labels = ["backend_to_client"];
        let bytes = hawser.sum("hawser_websocket_bytes_total", &labels).await;
        (bytes >= MESSAGE as f64).then_some(())
    })
    .await;
    hawser.signal("TERM");
    let ended = |line: &Value| hawser::field(line, "cause") == Some("drain");
    let line = hawser.logged("the tunnel has ended", ended).await;
    assert_eq!(line["client_got_close"], true, "{line}");
    sleep(Duration::from_millis(500)).await;
    let mut bytes = Vec::new();
    loop {
        let frame = client.next().await.expect("the connection is there");
        if frame.kind == DATA {
            bytes.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    let close = &bytes[10 + MESSAGE..];
    assert_eq!(
        (close[0], &close[2..4]),
        (0x88, &1012_u16.to_be_bytes()[..])
    );
    drop(client);
    assert!(hawser.ended().await.success());
}

/// A browser that was told GOAWAY makes its new connection elsewhere: told afterwards, it would come back.
#[rstest]
#[case("1s")]
#[case("0s")]
#[tokio::test]
async fn the_process_says_goaway_before_the_first_close(#[case] window: &str) {
    const TUNNELS: u32 = 10;
    let echo = origin::echo().await;
    let yaml = manifest::websocket("chat", "/ws", &[echo.addr]);
    let flags = ["--drain-delay", "0s", "--drain-window", window];
    let mut hawser = hawser::with_flags(&yaml, &flags).await;
    let mut client = frames::raw(hawser.http).await;
    for tunnel in 0..TUNNELS {
        assert!(client.send(&websocket(2 * tunnel + 1)).await);
    }
    let mut opened = 0;
    while opened < TUNNELS {
        let frame = client.next().await.expect("an answer");
        opened += u32::from(frame.kind == HEADERS);
    }
    hawser.signal("TERM");
    // Each Close is one DATA frame, and the test answers nothing.
    let mut order = Vec::new();
    while order.len() < 1 + TUNNELS as usize {
        let frame = client.next().await.expect("a frame");
        match frame.kind {
            GOAWAY if !order.contains(&GOAWAY) => order.push(GOAWAY),
            DATA if frame.payload.first() == Some(&0x88) => order.push(DATA),
            _ => {}
        }
    }
    assert_eq!(order[0], GOAWAY, "{order:?}");
    assert!(hawser.ended().await.success());
}
