//! What a backend may answer to a handshake, and what becomes of it.

use hawser::ir::Setting;
use rstest::rstest;

use crate::kit::{
    client, origin,
    proxy::{self, rule},
    raw::{self, Then, header, status, word},
};

use super::{SHORT, accept, handshake};

#[rstest]
#[case::no_accept("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")]
#[case::wrong_accept(
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
)]
#[case::no_upgrade(
    "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)]
#[case::other_upgrade(
    "HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)]
#[case::no_connection(
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)]
#[case::http_1_0(
    "HTTP/1.0 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)]
#[case::subprotocol(
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: other\r\n\r\n"
)]
#[case::extension(
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)]
#[tokio::test]
async fn a_wrong_101_is_502(#[case] answer: &'static str) {
    let backend = raw::backend(move |_| answer.into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("Sec-WebSocket-Protocol: chat\r\n")).await;
    let (head, _) = client.response().await;
    assert_eq!((status(&head), word(&head)), (502, "http_upgrade_failed"));
    assert_eq!(proxy.tunnels.len(), 0);
    // The client did nothing wrong: its connection stays.
    client
        .send("GET /none HTTP/1.1\r\nHost: other.test\r\n\r\n")
        .await;
    assert_eq!(status(&client.head().await), 404);
}

#[rstest]
#[case::closes_at_once("", Then::Close, 502, "connection_terminated")]
#[case::half_a_head_then_closes("HTTP/1.1 101 Swi", Then::Close, 502, "connection_terminated")]
#[case::never_answers("", Then::Wait, 504, "http_response_timeout")]
#[case::half_a_head(
    "HTTP/1.1 101 Switching Protocols\r\nUpgr",
    Then::Wait,
    504,
    "http_response_timeout"
)]
#[case::no_http("SSH-2.0-OpenSSH_9.2\r\n\r\n", Then::Wait, 502, "http_protocol_error")]
#[case::http_0_9("hello", Then::Close, 502, "http_protocol_error")]
#[case::bad_status("HTTP/1.1 099 What\r\n\r\n", Then::Wait, 502, "http_protocol_error")]
#[tokio::test]
async fn a_backend_that_does_not_answer_properly(
    #[case] answer: &'static str,
    #[case] then: Then,
    #[case] expected: u16,
    #[case] reason: &str,
) {
    let backend = raw::backend(move |_| answer.into(), then).await;
    let rule = rule("a.test", "/")
        .to(&[backend.addr])
        .policy(|policy| policy.timeouts.handshake = Setting::field(Some(SHORT)));
    let proxy = proxy::with([rule]);
    let head = raw::send(proxy.addr, handshake("")).await.head().await;
    assert_eq!((status(&head), word(&head)), (expected, reason), "{head}");
    let series = "hawser_websocket_handshakes_total";
    assert!(
        proxy
            .metrics
            .encode()
            .lines()
            .any(|line| line.starts_with(series) && line.contains(reason)),
        "the same word stands in the metric"
    );
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let lines = |count: usize, length: usize| {
        let line = format!("X-Filler: {}\r\n", "x".repeat(length));
        line.repeat(count)
    };
    for (more, expected) in [
        (lines(60, 200), 101),
        (lines(60, 400), 502),
        (lines(200, 1), 502),
    ] {
        let backend = raw::backend(move |request| accept(request, &more), Then::Wait).await;
        let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
        let head = raw::send(proxy.addr, handshake("")).await.head().await;
        assert_eq!(status(&head), expected);
    }
}

#[rstest]
#[case(16, 101)]
#[case(17, 502)]
#[tokio::test]
async fn interim_responses_are_consumed_up_to_16(#[case] count: usize, #[case] expected: u16) {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(count);
    let answer = move |request: &str| [interim.as_bytes(), &accept(request, "")].concat();
    let backend = raw::backend(answer, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let head = raw::send(proxy.addr, handshake("")).await.head().await;
    assert_eq!(status(&head), expected);
    if expected == 502 {
        assert_eq!(word(&head), "http_protocol_error");
    }
}

#[rstest]
#[case::length(
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nnope",
    401,
    "nope"
)]
#[case::ok("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok")]
#[case::version(
    "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\n",
    426,
    ""
)]
#[case::redirect(
    "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    301,
    ""
)]
#[case::no_content("HTTP/1.1 204 No Content\r\n\r\n", 204, "")]
#[tokio::test]
async fn a_refusal_of_the_backend_is_relayed(
    #[case] answer: &'static str,
    #[case] expected: u16,
    #[case] text: &str,
) {
    let backend = raw::backend(move |_| answer.into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("")).await;
    for _ in 0..2 {
        let (head, body) = client.response().await;
        assert_eq!((status(&head), body.as_str()), (expected, text), "{head}");
        assert_eq!(header(&head, "proxy-status"), None);
        // Nothing was sent early, so the connection goes on.
        client.send(handshake("")).await;
    }
    assert_eq!(proxy.tunnels.len(), 0);
    assert!(backend.connections() >= 2, "never pooled");
}

#[rstest]
#[case::chunked(
    "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n3;x=y\r\nbar\r\n0\r\n\r\n",
    Then::Wait
)]
#[case::both_framings(
    "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n6\r\nfoobar\r\n0\r\n\r\n",
    Then::Wait
)]
#[case::until_close("HTTP/1.1 403 No\r\n\r\nfoobar", Then::Close)]
#[tokio::test]
async fn a_refusal_without_length_is_relayed_too(#[case] answer: &'static str, #[case] then: Then) {
    let backend = raw::backend(move |_| answer.into(), then).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("")).await;
    let head = client.head().await;
    assert_eq!(status(&head), 403);
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    assert_eq!(header(&head, "content-length"), None);
    assert_eq!(client.chunks().await.0, "foobar");
}

#[tokio::test]
async fn bytes_glued_to_the_101_reach_the_client_first() {
    let answer = |request: &str| [&accept(request, "")[..], b"\x81\x05hello"].concat();
    let backend = raw::backend(answer, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, handshake("")).await;
    assert_eq!(status(&client.head().await), 101);
    assert_eq!(client.bytes(7).await, b"\x81\x05hello");
}

#[tokio::test]
async fn another_endpoint_is_tried_when_one_cannot_be_connected() {
    let echo = origin::echo().await;
    let closed = [raw::closed_port().await, raw::closed_port().await];
    let proxy = proxy::with([rule("a.test", "/").to(&[closed[0], closed[1], echo.addr])]);
    for _ in 0..6 {
        client::ws(proxy.addr, "a.test", "/")
            .await
            .expect("one of three works");
    }
}

#[tokio::test]
async fn no_way_to_a_backend() {
    let closed = raw::closed_port().await;
    let proxy = proxy::with([
        rule("refused.test", "/").to(&[closed]),
        rule("empty.test", "/"),
        rule("missing.test", "/").missing(),
        rule("weightless.test", "/").weightless(),
    ]);
    for (host, expected, reason) in [
        ("refused.test", 502, "connection_refused"),
        ("empty.test", 503, "destination_unavailable"),
        ("missing.test", 500, "proxy_configuration_error"),
        ("weightless.test", 503, "destination_unavailable"),
        ("other.test", 404, "destination_not_found"),
    ] {
        for request in [
            handshake("").replace("a.test", host),
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ] {
            let head = raw::send(proxy.addr, request).await.head().await;
            assert_eq!((status(&head), word(&head)), (expected, reason), "{head}");
            assert!(!head.contains("127.0.0.1"), "no address gets out: {head}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_costs_the_connect_timeout() {
    let (silent, _held) = raw::silent_port().await;
    let echo = origin::echo().await;
    let quick = |rule: proxy::Rule| {
        rule.policy(|policy| policy.timeouts.connect = Setting::field(Some(SHORT)))
    };
    let proxy = proxy::with([
        quick(rule("a.test", "/").to(&[silent])),
        quick(rule("b.test", "/").to(&[silent, echo.addr])),
    ]);
    for request in [
        handshake(""),
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
    ] {
        let head = raw::send(proxy.addr, request).await.head().await;
        assert_eq!((status(&head), word(&head)), (504, "connection_timeout"));
    }
    for _ in 0..2 {
        client::ws(proxy.addr, "b.test", "/")
            .await
            .expect("the other endpoint");
    }
}
