//! WebSockets by extended CONNECT (RFC 8441), a handshake of HTTP/1.1 at the backend.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use h2::{Reason, ext::Protocol};
use hawser::{
    ir::{Extensions, Setting, UpgradeMode},
    tunnel::Loss,
};
use rstest::rstest;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::kit::{
    eventually, origin,
    proxy::{self, Running, rule},
    raw::{self, Then, accept, header, ok},
    wire,
};

use super::kit::{browser, connect, connect_with, get, websocket};

/// Waits for the end of the only tunnel, and says how it was.
async fn outcome(proxy: &Running) -> (String, Option<u16>) {
    let (cause, code, _) = outcome_and_loss(proxy).await;
    (cause, code)
}

/// And how a side was lost.
async fn outcome_and_loss(proxy: &Running) -> (String, Option<u16>, Option<&'static str>) {
    let closed = eventually("the tunnel has ended", async || {
        proxy.tunnels.recently_closed().into_iter().next()
    })
    .await;
    (
        closed.outcome.cause.as_str().to_owned(),
        closed.outcome.code,
        closed.outcome.loss.map(Loss::as_str),
    )
}

/// A text frame of a client; the mask is 0.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    frame
}

/// A Close frame of a client.
fn masked_close(code: u16) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    vec![0x88, 0x82, 0, 0, 0, 0, high, low]
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let echo = origin::echo().await;
    let proxy = proxy::with([rule("a.test", "/ws").to(&[echo.addr])]);
    let mut browser = browser(proxy.addr).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(browser.ws("a.test", "/ws?x=1").await.unwrap());
    }
    for size in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        for (number, socket) in sockets.iter_mut().enumerate() {
            let message = Message::binary(vec![number as u8; size]);
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
    }
    let tunnels = proxy.tunnels.list();
    assert_eq!(tunnels.len(), 3);
    assert_eq!(&*tunnels[0].info.host, "a.test");
    assert_eq!(&*tunnels[0].info.path, "/ws");
    assert_eq!(super::limits::connections(&proxy), 1);
    for socket in &mut sockets {
        let frame = CloseFrame {
            code: CloseCode::Library(4001),
            reason: "going home".into(),
        };
        socket.close(Some(frame)).await.unwrap();
        // The answer to it, then the end.
        let answer = socket.next().await.unwrap().unwrap();
        assert!(answer.is_close(), "{answer:?}");
        assert!(socket.next().await.is_none());
    }
    eventually("the tunnels are gone", async || {
        proxy.tunnels.is_empty().then_some(())
    })
    .await;
    assert_eq!(outcome(&proxy).await, ("client_closed".into(), Some(4001)));
}

#[tokio::test]
async fn the_backend_sees_a_handshake_with_a_key_of_our_own() {
    let backend = raw::backend(
        |request| {
            accept(
                request,
                "Sec-WebSocket-Protocol: v1\r\nSet-Cookie: a=b\r\nX: y\r\n",
            )
        },
        Then::Wait,
    )
    .await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr]).policy(|policy| {
        policy.upgrade.subprotocols = Setting::field(Some(["v1".into(), "v2".into()].into()));
        policy.upgrade.extensions = Setting::field(Extensions::Strip);
    })]);
    let mut client = connect(proxy.addr).await;
    let request = websocket("/ws?token=secret")
        .header("sec-websocket-protocol", "v3, v1")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("sec-websocket-key", "bm90IGEgZ29vZCBvbmU=")
        .header("origin", "http://a.test");
    let stream = client.open(request).await.unwrap();
    assert_eq!(stream.response.status(), 200);
    let answer = stream.response.headers();
    assert_eq!(answer["sec-websocket-protocol"], "v1");
    assert_eq!(answer["set-cookie"], "a=b");
    assert_eq!(answer["x"], "y");
    for name in [
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "content-length",
        "sec-websocket-extensions",
    ] {
        assert!(!answer.contains_key(name), "{name}");
    }

    let seen = backend.text();
    assert!(
        seen.starts_with("GET /ws?token=secret HTTP/1.1\r\n"),
        "{seen}"
    );
    for (name, value) in [
        ("host", "a.test"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v1"),
        ("origin", "http://a.test"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(header(&seen, name), Some(value), "{name} in {seen}");
    }
    let key = header(&seen, "sec-websocket-key").unwrap();
    assert_eq!((key.len(), &key[22..]), (24, "=="), "16 bytes in base64");
    assert!(!seen.contains("bm90"), "the client's key means nothing");
    assert_eq!(header(&seen, "sec-websocket-extensions"), None);
}

#[rstest]
#[case::other_protocol(
    get("/").method("CONNECT").extension(Protocol::from_static("connect-udp")), 501, "http_request_denied"
)]
#[case::other_protocol_denied(
    get("/deny").method("CONNECT").extension(Protocol::from_static("foo")), 501, "http_request_denied"
)]
#[case::ignored(websocket("/ignore"), 501, "http_request_denied")]
#[case::denied(websocket("/deny"), 403, "http_request_denied")]
#[case::denied_before_syntax(
    get("/deny").method("CONNECT").extension(Protocol::from_static("websocket")), 403, "http_request_denied"
)]
#[case::no_version(
    get("/").method("CONNECT").extension(Protocol::from_static("websocket")), 426, "http_request_error"
)]
#[case::two_versions(websocket("/").header("sec-websocket-version", "13"), 426, "http_request_error")]
#[case::subprotocols(websocket("/").header("sec-websocket-protocol", "a b"), 400, "http_request_error")]
#[case::long_offer(
    websocket("/").header("sec-websocket-protocol", "x".repeat(1025)), 400, "http_request_error"
)]
#[case::host(websocket("/").header("host", "b.test"), 400, "http_request_error")]
#[case::no_route(websocket("/nowhere"), 404, "destination_not_found")]
#[case::missing(websocket("/missing"), 500, "proxy_configuration_error")]
#[tokio::test]
async fn refused(
    #[case] request: http::request::Builder,
    #[case] status: u16,
    #[case] error: &str,
) {
    let backend = raw::backend(|request| accept(request, ""), Then::Wait).await;
    let to = |path| rule("a.test", path).to(&[backend.addr]);
    let proxy = proxy::with([
        to("/").exact(),
        to("/deny").mode(UpgradeMode::Deny),
        to("/ignore").mode(UpgradeMode::Ignore),
        rule("a.test", "/missing").missing(),
    ]);
    let mut client = connect(proxy.addr).await;
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, status, "{answer:?}");
    let told = answer.header("proxy-status");
    assert!(
        told.starts_with(&format!("hawser; error={error};")),
        "{told}"
    );
    let version = if status == 426 { "13" } else { "" };
    assert_eq!(answer.header("sec-websocket-version"), version);
    assert_eq!(answer.header("upgrade"), "");
    assert_eq!(answer.header("connection"), "");
    assert_eq!(backend.connections(), 0);
    client.tunnel("/").await;
}

#[rstest]
#[case::refusal(
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nnope",
    401,
    ""
)]
#[case::redirect(
    "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    302,
    ""
)]
// To a CONNECT it would say that there is a tunnel.
#[case::ok(
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    502,
    "http_upgrade_failed"
)]
#[case::no_content("HTTP/1.1 204 No Content\r\n\r\n", 502, "http_upgrade_failed")]
#[case::wrong_key(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    502,
    "http_upgrade_failed"
)]
#[case::nothing("", 502, "connection_terminated")]
#[tokio::test]
async fn an_answer_that_is_no_101(
    #[case] said: &'static str,
    #[case] status: u16,
    #[case] error: &str,
) {
    let backend = raw::backend(|_| said.into(), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let answer = connect(proxy.addr)
        .await
        .send(websocket("/"))
        .await
        .unwrap();
    assert_eq!(answer.status, status, "{answer:?}");
    let told = answer.header("proxy-status");
    assert!(
        told.contains(error) && told.is_empty() == error.is_empty(),
        "{told}"
    );
    if status == 401 {
        assert_eq!(answer.text(), "nope");
        assert_eq!(answer.header("www-authenticate"), "Basic");
    }
    let series = "hawser_websocket_handshakes_total{";
    let refused = proxy.metrics.encode();
    assert!(
        refused
            .lines()
            .any(|line| line.starts_with(series) && line.contains("refused")),
        "{refused}"
    );
}

/// What the client sends before the 200 waits, at most a window of it.
#[tokio::test]
async fn early_data_waits_for_the_verified_101() {
    let backend = raw::held(|request| accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let (response, mut send) = client.begin(websocket("/"), false).await.unwrap();
    send.send_data(masked("early").into(), false).unwrap();
    send.send_data(masked_close(1000).into(), true).unwrap();
    eventually("the backend has the handshake", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    // A request behind it on the same connection, answered: so the early bytes are long there.
    client
        .send(get("/").header("host", "b.test"))
        .await
        .unwrap();
    assert!(backend.text().ends_with("\r\n\r\n"), "{}", backend.text());
    backend.release.add_permits(1);
    assert_eq!(response.await.unwrap().status(), 200);
    eventually("the early bytes arrive", async || {
        backend.text().contains("early").then_some(())
    })
    .await;
    assert_eq!(outcome(&proxy).await, ("client_closed".into(), Some(1000)));
}

#[tokio::test]
async fn early_data_of_a_refused_handshake_reaches_nobody() {
    let backend = raw::held(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let (response, mut send) = client.begin(websocket("/"), false).await.unwrap();
    let smuggled = b"GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    send.send_data(smuggled.as_slice().into(), true).unwrap();
    eventually("the backend has the handshake", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    backend.release.add_permits(1);
    assert_eq!(response.await.unwrap().status(), 502);
    assert!(!backend.text().contains("admin"), "{}", backend.text());
    assert_eq!(backend.connections(), 1);
}

#[rstest]
#[case::end_stream(None, "fin")]
#[case::cancel(Some(Reason::CANCEL), "fin")]
#[case::protocol_error(Some(Reason::PROTOCOL_ERROR), "reset")]
#[tokio::test]
async fn a_client_that_leaves_without_close(#[case] reset: Option<Reason>, #[case] loss: &str) {
    let backend = raw::backend(|request| accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let mut stream = client.tunnel("/").await;
    match reset {
        Some(reason) => stream.send.send_reset(reason),
        None => stream.send.send_data(bytes::Bytes::new(), true).unwrap(),
    }
    eventually("the backend gets a Close", async || {
        let received = backend.received.lock().concat();
        // Masked, of 1001 and a reason.
        let after = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        (received.get(after) == Some(&0x88)).then_some(())
    })
    .await;
    // It never answers; whoever is told, the connection goes on.
    assert!(!client.is_over());
    drop(backend);
    drop(stream);
    let (cause, _, how) = outcome_and_loss(&proxy).await;
    assert_eq!((&*cause, how), ("client_lost", Some(loss)));
}

#[tokio::test]
async fn a_client_whose_connection_breaks() {
    let echo = origin::echo().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[echo.addr])]);
    let mut browser = browser(proxy.addr).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(browser.ws("a.test", "/").await.unwrap());
    }
    drop((browser, sockets));
    eventually("all tunnels have ended", async || {
        proxy.tunnels.is_empty().then_some(())
    })
    .await;
    let closed = proxy.tunnels.recently_closed();
    assert_eq!(closed.len(), 5);
    assert!(
        closed
            .iter()
            .all(|one| one.outcome.cause.as_str() == "client_lost")
    );
    eventually("its slot is free", async || {
        (super::limits::connections(&proxy) == 0).then_some(())
    })
    .await;
}

/// h2 bounds how many small pieces of all streams nobody has read, and ends the connection at more.
#[tokio::test]
async fn small_messages_that_wait_end_no_connection() {
    const MESSAGES: usize = 3_000;
    let echo = origin::echo().await;
    let slow = rule("a.test", "/slow").policy(|policy| {
        policy.limits.messages_per_second = Setting::field(Some(1));
    });
    let proxy = proxy::with([slow.to(&[echo.addr]), rule("a.test", "/").to(&[echo.addr])]);
    let mut client = connect(proxy.addr).await;
    let mut waits = client.tunnel("/slow").await;
    for _ in 0..MESSAGES {
        waits
            .send
            .send_data(masked("0123456789").into(), false)
            .unwrap();
    }
    let mut other = client.tunnel("/").await;
    for _ in 0..10 {
        other.send.send_data(masked("hello").into(), false).unwrap();
        assert_eq!(other.read(7).await, b"\x81\x05hello");
    }
    // What is limited goes on, too: its first second is there.
    assert_eq!(waits.read(12).await, b"\x81\x0a0123456789");
    assert!(!client.is_over());
}

#[tokio::test]
async fn a_backend_that_leaves_without_close() {
    let backend = raw::backend(|request| accept(request, ""), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let mut tunnel = client.tunnel("/").await;
    let close = tunnel.read(4).await;
    assert_eq!(
        (close[0], &close[2..4]),
        (0x88, &1014_u16.to_be_bytes()[..])
    );
    assert_eq!(outcome(&proxy).await, ("backend_lost".into(), Some(1014)));
}

/// Flow control is back-pressure, and one that does not read holds up no other.
#[tokio::test]
async fn a_client_that_does_not_read_holds_its_backend_back() {
    let (flood, written) = super::limits::flood(|request| accept(request, "")).await;
    let echo = origin::echo().await;
    let proxy = proxy::with([
        rule("a.test", "/flood").to(&[flood]),
        rule("a.test", "/").to(&[echo.addr]),
    ]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let mut client = connect_with(proxy.addr, &builder).await;
    let _stalled = client.tunnel("/flood").await;
    let full = super::limits::stands_still(&written).await;
    println!("{full} bytes were taken");
    // 64 KiB and three copies of 16 KiB in Hawser, the window, and what the kernel takes on Hawser's socket.
    assert!(full < 1024 * 1024, "{full} bytes were taken");

    let mut other = client.tunnel("/").await;
    other.write(&masked("hello"));
    assert_eq!(other.read(7).await, b"\x81\x05hello");
}

/// A stream that its client never reads to the end is reset; it does not stay with hyper.
#[tokio::test]
async fn a_tunnel_that_ended_leaves_no_stream_behind() {
    let (flood, written) = super::limits::flood(|request| accept(request, "")).await;
    let proxy = proxy::with([rule("a.test", "/flood").to(&[flood])]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let mut client = connect_with(proxy.addr, &builder).await;
    let mut stalled = client.tunnel("/flood").await;
    super::limits::stands_still(&written).await;
    super::limits::end_all(&proxy.tunnels).await;
    assert!(proxy.tunnels.is_empty());
    assert_eq!(stalled.reset().await, Reason::CANCEL);
    assert_eq!(outcome(&proxy).await.0, "drain");
}

/// hyper has taken the Close, but not the client.
#[tokio::test]
async fn a_close_that_never_left_is_not_claimed() {
    let message = wire::frame(0x82, false, &[7; 1000]);
    let answer = move |request: &str| [accept(request, ""), message.repeat(2)].concat();
    let backend = raw::backend(answer, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let mut client = connect_with(proxy.addr, &builder).await;
    let _stalled = client.tunnel("/").await;
    let start = Instant::now();
    super::limits::end_all(&proxy.tunnels).await;
    let outcome = proxy.tunnels.recently_closed().remove(0).outcome;
    assert_eq!(outcome.cause.as_str(), "drain");
    let got = (outcome.client_got_close, outcome.backend_got_close);
    assert_eq!(got, (false, true));
    // Five for the answer, one for the rest.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}

/// As over TCP, where the kernel delivers what is left.
#[tokio::test]
async fn a_half_closed_client_gets_what_waits_for_its_window() {
    const MESSAGES: usize = 40;
    let message = wire::frame(0x82, false, &[7; 1000]);
    let all = [
        message.repeat(MESSAGES),
        wire::frame(0x88, false, &[3, 0xe8]),
    ]
    .concat();
    let sent = all.clone();
    let answer = move |request: &str| [accept(request, ""), sent.clone()].concat();
    let backend = raw::backend(answer, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    let mut client = connect_with(proxy.addr, &builder).await;
    let mut tunnel = client.tunnel("/").await;
    tunnel
        .send
        .send_data(masked_close(1000).into(), true)
        .unwrap();
    eventually("the backend has the Close", async || {
        let received = backend.received.lock().concat();
        // Masked by Hawser's client, of six bytes of header.
        received
            .windows(2)
            .any(|bytes| bytes == [0x88, 0x82])
            .then_some(())
    })
    .await;
    // Longer than a FIN waits for a socket.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (got, _) = super::kit::rest(tunnel.recv)
        .await
        .expect("an end, and no reset");
    assert_eq!(got.len(), all.len());
    assert!(got == all);
    let (cause, code) = outcome(&proxy).await;
    assert_eq!((cause.as_str(), code), ("backend_closed", Some(1000)));
}
