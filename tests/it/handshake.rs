//! Handshakes: what is refused, what reaches the backend, and what the backend may answer.

mod answers;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hawser::{
    ir::{Extensions, Setting, UpgradeMode},
    proxy::Limits,
};
use rstest::rstest;
use tokio_tungstenite::tungstenite::{Error, Message, handshake::derive_accept_key};

use crate::kit::{
    client, eventually, origin,
    proxy::{self, rule},
    raw::{self, Then, accept, header, ok, status, word},
};

/// Long enough that nothing else ends first, short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A handshake, with more header lines.
fn handshake(more: &str) -> String {
    format!(
        "GET /ws?token=secret HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let echo = origin::echo().await;
    let proxy = proxy::with([rule("a.test", "/ws").to(&[echo.addr])]);
    let mut socket = client::ws(proxy.addr, "a.test", "/ws").await.unwrap();
    for number in 0..10 {
        socket
            .send(Message::text(format!("message {number}")))
            .await
            .unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert_eq!(echoed, Message::text(format!("message {number}")));
    }
    let tunnels = proxy.tunnels.list();
    assert_eq!(tunnels.len(), 1);
    assert_eq!(tunnels[0].endpoint, echo.addr);
    assert_eq!(&*tunnels[0].info.host, "a.test");
    assert_eq!(&*tunnels[0].info.path, "/ws");
    socket.close(None).await.unwrap();
    eventually("the tunnel is gone", async || {
        proxy.tunnels.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_backend_sees_a_handshake_of_its_own() {
    let backend = raw::backend(|request| accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(
        proxy.addr,
        handshake("Origin: http://a.test\r\nCookie: a=b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
    )
    .await;
    let head = client.head().await;
    assert_eq!(status(&head), 101);
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
        ("sec-websocket-key", KEY),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "http://a.test"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.test"),
    ] {
        assert_eq!(header(&seen, name), Some(value), "{name} in {seen}");
    }
    assert_eq!(header(&seen, "x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn the_client_gets_the_backends_fields_with_its_101() {
    let backend = raw::backend(
        |request| {
            accept(
                request,
                "Set-Cookie: sid=1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n",
            )
        },
        Then::Wait,
    )
    .await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let head = raw::send(proxy.addr, handshake("")).await.head().await;
    assert_eq!(status(&head), 101);
    assert_eq!(header(&head, "set-cookie"), Some("sid=1"));
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection"), Some("Upgrade"));
    assert_eq!(
        header(&head, "sec-websocket-accept"),
        Some(derive_accept_key(KEY.as_bytes()).as_str())
    );
    assert_eq!(header(&head, "keep-alive"), None);
    assert_eq!(header(&head, "content-length"), None);
}

/// Every mode with a handshake, a malformed attempt and a plain request.
#[rstest]
#[case(UpgradeMode::Allow, 101, 400, 200)]
#[case(UpgradeMode::Require, 101, 400, 426)]
#[case(UpgradeMode::Deny, 403, 403, 200)]
#[case(UpgradeMode::Ignore, 200, 200, 200)]
#[tokio::test]
async fn modes(
    #[case] mode: UpgradeMode,
    #[case] good: u16,
    #[case] malformed: u16,
    #[case] plain: u16,
) {
    let backend = raw::backend(
        |request| match header(request, "upgrade") {
            Some(_) => accept(request, ""),
            None => ok(request),
        },
        Then::Again,
    )
    .await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr]).mode(mode)]);

    let head = raw::send(proxy.addr, handshake("")).await.head().await;
    assert_eq!(status(&head), good, "{head}");
    let broken = handshake("").replace(KEY, "short");
    let head = raw::send(proxy.addr, broken).await.head().await;
    assert_eq!(status(&head), malformed, "{head}");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let head = raw::send(proxy.addr, request).await.head().await;
    assert_eq!(status(&head), plain, "{head}");
    if plain == 426 {
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        assert_eq!(word(&head), "http_request_error");
    }
    if mode == UpgradeMode::Ignore {
        let seen = backend.text();
        assert_eq!(header(&seen, "upgrade"), None, "{seen}");
        assert_eq!(header(&seen, "connection"), None, "{seen}");
    }
}

#[rstest]
#[case::version_777("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 777", 426)]
#[case::version_0("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 0", 426)]
#[case::version_12("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 426)]
#[case::no_version("Sec-WebSocket-Version: 13\r\n", "", 426)]
#[case::version_twice(
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13",
    426
)]
#[case::no_key("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400)]
#[case::short_key("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400)]
#[case::key_not_base64("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ!!!", 400)]
#[case::key_twice(
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    400
)]
#[case::post("GET", "POST", 400)]
#[case::head("GET", "HEAD", 400)]
#[case::length("Upgrade: websocket", "Upgrade: websocket\r\nContent-Length: 3", 400)]
#[case::chunked(
    "Upgrade: websocket",
    "Upgrade: websocket\r\nTransfer-Encoding: chunked",
    400
)]
#[case::h2c_beside("Upgrade: websocket", "Upgrade: h2c, websocket", 400)]
#[case::h2c_in_another_line("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c", 400)]
#[tokio::test]
async fn malformed_attempts_never_reach_the_backend(
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: u16,
) {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let head = raw::send(proxy.addr, handshake("").replacen(from, to, 1))
        .await
        .head()
        .await;
    assert_eq!(status(&head), expected, "{head}");
    assert_eq!(word(&head), "http_request_error", "{head}");
    if expected == 426 {
        assert_eq!(header(&head, "sec-websocket-version"), Some("13"));
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
    }
    assert_eq!(backend.connections(), 0);
    assert_eq!(proxy.tunnels.len(), 0);
}

#[rstest]
#[case::no_connection("Connection: Upgrade\r\n", "")]
#[case::http_1_0("HTTP/1.1", "HTTP/1.0")]
#[case::h2c(
    "Upgrade: websocket",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
)]
#[case::tls("Upgrade: websocket", "Upgrade: TLS/1.0")]
#[case::unknown("Upgrade: websocket", "Upgrade: foo/2")]
#[tokio::test]
async fn other_upgrades_are_dropped_and_the_request_served(#[case] from: &str, #[case] to: &str) {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("").replacen(from, to, 1)).await;
    let (head, body) = client.response().await;
    assert_eq!((status(&head), body.as_str()), (200, "plain"));
    let seen = backend.text();
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(header(&seen, name), None, "{seen}");
    }
}

/// RFC 9112 section 3.2.1: an empty path is sent as a slash.
#[tokio::test]
async fn an_absolute_form_without_a_path_has_one_at_the_backend() {
    let backend = raw::backend(|request| accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = handshake("");
    let (_, fields) = request.split_once("\r\n").unwrap();
    let request = format!("GET http://a.test?token=x HTTP/1.1\r\n{fields}");
    let mut client = raw::send(proxy.addr, request).await;
    assert_eq!(status(&client.head().await), 101);
    let seen = backend.text();
    assert!(seen.starts_with("GET /?token=x HTTP/1.1\r\n"), "{seen}");
}

#[tokio::test]
async fn early_bytes_wait_for_the_verified_101() {
    let backend = raw::held(|request| accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("") + "early bytes").await;
    eventually("the handshake arrives", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    // More than the gate may hold; the rest stays in the socket.
    client.send(vec![0; 64 * 1024]).await;
    assert!(backend.text().ends_with("\r\n\r\n"), "nothing but the head");
    backend.release.add_permits(1);
    assert_eq!(status(&client.head().await), 101);
    eventually("the early bytes arrive, in order", async || {
        let text = backend.text();
        let (_, rest) = text.split_once("\r\n\r\n")?;
        (rest.len() == 11 + 64 * 1024).then(|| {
            assert!(rest.starts_with("early bytes\0\0\0"));
        })
    })
    .await;
}

#[tokio::test]
async fn early_bytes_never_become_a_request() {
    let smuggled = "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let backend = raw::backend(move |_| answer.into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    // Refused by the backend, and refused by Hawser itself.
    for request in [handshake(""), handshake("").replace(KEY, "short")] {
        let mut client = raw::send(proxy.addr, request + smuggled).await;
        let (head, _) = client.response().await;
        assert!((400..404).contains(&status(&head)), "{head}");
        assert_eq!(header(&head, "connection"), Some("close"));
        assert_eq!(client.rest().await, "");
    }
    assert!(!backend.text().contains("/admin"), "{}", backend.text());
}

#[tokio::test]
async fn a_pipelined_request_after_an_ignored_upgrade_is_served() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let first = handshake("").replace("Upgrade: websocket", "Upgrade: h2c");
    let mut client = raw::send(
        proxy.addr,
        first + "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    )
    .await;
    for _ in 0..2 {
        assert_eq!(client.response().await.1, "plain");
    }
}

/// The verdict on the first request is none on the handshake that the gate holds behind it.
#[tokio::test]
async fn a_handshake_behind_a_plain_request_is_a_tunnel() {
    let plain_backend = raw::held(ok, Then::Again).await;
    let echo = origin::echo().await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[plain_backend.addr]),
        rule("a.test", "/ws").to(&[echo.addr]),
    ]);
    let plain = "GET /plain HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let websocket = handshake("");
    for early in [&b"\x81\x82\0\0\0\0hi"[..], b""] {
        let bytes = [plain.as_bytes(), websocket.as_bytes(), early].concat();
        let mut client = raw::send(proxy.addr, bytes).await;
        plain_backend.release.add_permits(1);
        let (head, body) = client.response().await;
        assert_eq!((status(&head), body.as_str()), (200, "plain"));
        assert!(header(&head, "connection").is_none(), "{head}");
        assert_eq!(status(&client.head().await), 101);
        if early.is_empty() {
            client.send(b"\x81\x82\0\0\0\0hi").await;
        }
        assert_eq!(client.bytes(4).await, b"\x81\x02hi");
    }
}

/// A client that sends a plain request before, and more behind its handshake, smuggles nothing.
#[tokio::test]
async fn bytes_behind_a_refused_handshake_are_no_request_wherever_it_stands() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[backend.addr]),
        rule("a.test", "/ws")
            .mode(UpgradeMode::Deny)
            .to(&[backend.addr]),
    ]);
    let plain = "GET /plain HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let websocket = handshake("");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut client = raw::send(proxy.addr, [plain, &websocket, smuggled].concat()).await;
    assert_eq!(client.response().await.1, "plain");
    assert_eq!(status(&client.head().await), 403);
    client.rest().await;
    assert!(!backend.text().contains("smuggled"), "{}", backend.text());
}

#[tokio::test]
async fn a_body_under_ignore_reaches_the_backend() {
    let backend = raw::backend(ok, Then::Again).await;
    let rule = rule("a.test", "/")
        .to(&[backend.addr])
        .mode(UpgradeMode::Ignore);
    let proxy = proxy::with([rule]);
    let request = handshake("Content-Length: 4\r\n").replacen("GET", "POST", 1);
    let mut client = raw::send(proxy.addr, request + "body").await;
    assert_eq!(status(&client.head().await), 200);
    eventually("the body arrives", async || {
        backend.text().ends_with("\r\n\r\nbody").then_some(())
    })
    .await;
}

#[tokio::test]
async fn offers_are_filtered() {
    let backend = raw::backend(
        |request| accept(request, "Sec-WebSocket-Protocol: v2\r\n"),
        Then::Wait,
    )
    .await;
    let rule = rule("a.test", "/").to(&[backend.addr]).policy(|policy| {
        policy.upgrade.subprotocols =
            Setting::field(Some(["v2".to_owned(), "v1".to_owned()].into()));
        policy.upgrade.extensions = Setting::field(Extensions::Strip);
    });
    let proxy = proxy::with([rule]);
    let offer = "Sec-WebSocket-Protocol: secret-token, v1\r\nSec-WebSocket-Protocol: v2\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let head = raw::send(proxy.addr, handshake(offer)).await.head().await;
    assert_eq!(status(&head), 101);
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("v2"));
    let seen = backend.text();
    assert_eq!(header(&seen, "sec-websocket-protocol"), Some("v1, v2"));
    assert_eq!(header(&seen, "sec-websocket-extensions"), None);

    // None left: the header goes, the handshake goes on; what the backend then chooses was not offered.
    let head = raw::send(proxy.addr, handshake("Sec-WebSocket-Protocol: v3\r\n"))
        .await
        .head()
        .await;
    assert_eq!(status(&head), 502);
    assert_eq!(backend.text().matches("sec-websocket-protocol").count(), 1);
}

#[tokio::test]
async fn a_shared_path_gives_handshakes_to_one_and_the_rest_to_the_other() {
    let socket = raw::backend(|request| accept(request, ""), Then::Wait).await;
    let pages = raw::backend(ok, Then::Again).await;
    let for_handshakes = rule("a.test", "/").to(&[socket.addr]).handshakes_only();
    let for_the_rest = rule("a.test", "/").to(&[pages.addr]).ingress();
    let plain = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (mode, shaken) in [
        (UpgradeMode::Allow, 101),
        (UpgradeMode::Require, 101),
        (UpgradeMode::Deny, 403),
        (UpgradeMode::Ignore, 200),
    ] {
        let proxy = proxy::with([for_handshakes.clone().mode(mode), for_the_rest.clone()]);
        let head = raw::send(proxy.addr, handshake("")).await.head().await;
        assert_eq!(status(&head), shaken, "{mode}");
        let head = raw::send(proxy.addr, plain).await.head().await;
        assert_eq!(
            status(&head),
            200,
            "{mode} sends plain requests to the Ingress"
        );
    }
}

#[tokio::test]
async fn a_tunnel_outlives_its_route() {
    let echo = origin::echo().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[echo.addr])]);
    let mut socket = client::ws(proxy.addr, "a.test", "/").await.unwrap();
    proxy.serve([rule("b.test", "/").to(&[echo.addr])]);
    let refused = client::ws(proxy.addr, "a.test", "/").await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 404));
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("still here")
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let echo = origin::echo().await;
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let proxy = proxy::with_limits([rule("a.test", "/").to(&[echo.addr])], limits);
    let mut first = client::ws(proxy.addr, "a.test", "/").await.unwrap();
    let _second = client::ws(proxy.addr, "a.test", "/").await.unwrap();
    let mut over = raw::send(proxy.addr, handshake("")).await;
    let (head, body) = over.response().await;
    assert_eq!(
        (status(&head), word(&head)),
        (503, "connection_limit_reached")
    );
    let retry: u32 = header(&head, "retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&retry));
    assert!(body.contains("too many connections"));
    assert_eq!(over.rest().await, "", "and the connection closes");
    assert!(proxy.metric("hawser_connections_refused_total") >= 1.0);

    first.close(None).await.unwrap();
    eventually("the slot of a tunnel comes back", async || {
        client::ws(proxy.addr, "a.test", "/").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_backend() {
    let backend = raw::held(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let client = raw::send(proxy.addr, handshake("")).await;
    eventually("the handshake arrives", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    drop(client);
    let series = "hawser_websocket_handshakes_total";
    eventually("the handshake is counted as lost", async || {
        let text = proxy.metrics.encode();
        text.lines()
            .any(|line| line.starts_with(series) && line.contains("client_lost"))
            .then_some(())
    })
    .await;
}
