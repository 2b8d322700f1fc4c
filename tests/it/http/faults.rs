//! Backends that answer badly or not at all, and what Hawser refuses: the status, the reason, and what becomes of the connection.

use hawser::{
    ir::Setting,
    proxy::{Limits, gate},
};
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::kit::{
    client, eventually,
    proxy::{self, rule},
    raw::{self, Then, header, ok, status, word},
};

use super::{GET, SHORT, mirror};

#[rstest]
#[case::bare_lf("GET / HTTP/1.1\nHost: a.test\n\n", 400)]
#[case::both_framings(
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    400
)]
#[case::two_lengths(
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    400
)]
#[case::fold("GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n c\r\n\r\n", 400)]
#[case::fragment("GET /x#y HTTP/1.1\r\nHost: a.test\r\n\r\n", 400)]
#[case::no_host("GET / HTTP/1.1\r\n\r\n", 400)]
#[case::connect("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405)]
#[case::trace("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 405)]
#[tokio::test]
async fn what_the_gate_refuses_is_answered_and_closed(
    #[case] request: &str,
    #[case] expected: u16,
) {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut client = raw::send(proxy.addr, GET.to_owned() + request + smuggled).await;
    assert_eq!(
        client.response().await.1,
        "plain",
        "what came before is answered first"
    );
    let (head, body) = client.response().await;
    assert_eq!(status(&head), expected);
    assert!(word(&head).starts_with("http_request_"), "{head}");
    assert_eq!(
        header(&head, "content-type"),
        Some("application/problem+json")
    );
    assert_eq!(header(&head, "connection"), Some("close"));
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], expected);
    if expected == 405 {
        assert!(header(&head, "allow").unwrap().contains("GET"));
    }
    assert_eq!(client.rest().await, "", "nothing after it");
    assert!(!backend.text().contains("smuggled"));
}

#[tokio::test]
async fn limits_of_a_head() {
    let backend = raw::backend(ok, Then::Again).await;
    let limits = Limits {
        gate: gate::Limits {
            head_time: SHORT,
            ..gate::Limits::default()
        },
        ..Limits::default()
    };
    let proxy = proxy::with_limits([rule("a.test", "/").to(&[backend.addr])], limits);
    let more = |lines: String| GET.replace("\r\n\r\n", &format!("\r\n{lines}\r\n"));
    let many = "X-Many: 1\r\n".repeat(120);
    for (request, expected) in [
        (more(format!("X-A: {}\r\n", "x".repeat(40_000))), 431),
        (more(many), 431),
        (GET.replace("/ ", &format!("/{} ", "x".repeat(9000))), 414),
        ("GET / HTTP/1.1\r\nHost: a.te".to_owned(), 408),
    ] {
        let mut client = raw::send(proxy.addr, request).await;
        let (head, _) = client.response().await;
        assert_eq!(
            (status(&head), word(&head)),
            (expected, "http_request_error")
        );
        assert_eq!(client.rest().await, "");
    }
    // As much as the limits allow passes hyper as well.
    let nearly = format!("X-Many: {}\r\n", "x".repeat(300)).repeat(98);
    let (head, _) = raw::send(proxy.addr, more(nearly)).await.response().await;
    assert_eq!(status(&head), 200);
}

#[tokio::test]
async fn a_broken_body_is_never_taken_for_a_whole_one() {
    let mirror = mirror().await;
    let backend = raw::held(ok, Then::Wait).await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[mirror]),
        rule("b.test", "/").to(&[backend.addr]),
    ]);
    let head = "POST / HTTP/1.1\r\nHost: b.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = raw::send(proxy.addr, format!("{head}3\r\nabc\r\n0x3\r\n")).await;
    let (head, _) = client.response().await;
    assert_eq!(
        (status(&head), word(&head)),
        (400, "http_request_error"),
        "{head}"
    );
    assert_eq!(client.rest().await, "");
    assert!(!backend.text().ends_with("0\r\n\r\n"), "{}", backend.text());
}

#[rstest]
#[case::closes_at_once("", Then::Close, 502, "connection_terminated")]
#[case::half_a_head("HTTP/1.1 200 O", Then::Close, 502, "connection_terminated")]
#[case::never_answers("", Then::Wait, 504, "http_response_timeout")]
#[case::half_a_head_and_no_more("HTTP/1.1 200 OK\r\nX: ", Then::Wait, 504, "http_response_timeout")]
#[case::unasked_101(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    Then::Wait,
    502,
    "http_upgrade_failed"
)]
#[case::no_http("SSH-2.0-OpenSSH_9.2\r\n\r\n", Then::Wait, 502, "http_protocol_error")]
#[case::bad_status("HTTP/1.1 099 What\r\n\r\n", Then::Wait, 502, "http_protocol_error")]
#[case::two_lengths(
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    Then::Wait,
    502,
    "http_protocol_error"
)]
#[case::fold(
    "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n",
    Then::Wait,
    502,
    "http_protocol_error"
)]
#[case::nul(
    "HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n",
    Then::Wait,
    502,
    "http_protocol_error"
)]
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
        .policy(|policy| policy.timeouts.response = Setting::field(Some(SHORT)));
    let proxy = proxy::with([rule]);
    let mut client = raw::send(proxy.addr, GET).await;
    let (head, _) = client.response().await;
    assert_eq!((status(&head), word(&head)), (expected, reason), "{head}");
    // The client did nothing wrong: its connection stays.
    client.send(GET.replace("a.test", "b.test")).await;
    assert_eq!(status(&client.head().await), 404);
}

#[rstest]
#[case::large_head(format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "x".repeat(200_000)), "http_response_header_section_size")]
#[case::interim(format!("{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20_000)), "http_protocol_error")]
#[tokio::test]
async fn a_backend_that_says_too_much(#[case] answer: String, #[case] reason: &str) {
    let backend = raw::backend(move |_| answer.clone().into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let head = raw::send(proxy.addr, GET).await.head().await;
    assert_eq!((status(&head), word(&head)), (502, reason));
}

#[tokio::test]
async fn a_response_has_one_framing() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n";
    let backend = raw::backend(move |_| both.into(), Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET).await;
    for _ in 0..2 {
        let head = client.head().await;
        assert_eq!(header(&head, "content-length"), None);
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(client.chunks().await.0, "plain");
        client.send(GET).await;
    }
    assert_eq!(
        backend.connections(),
        2,
        "such a backend connection is not used again"
    );
}

#[tokio::test]
async fn what_a_backend_sends_behind_its_response_reaches_nobody() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplainHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let backend = raw::backend(move |_| answer.into(), Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET).await;
    for _ in 0..5 {
        assert_eq!(client.response().await.1, "plain");
        client.send(GET).await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_made_whole() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n";
    let backend = raw::backend(move |_| answer.into(), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET).await;
    client.head().await;
    assert_eq!(client.chunk().await, "plain");
    assert_eq!(client.rest().await, "", "no last chunk");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_made_whole_for_http_1_0() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n";
    let backend = raw::backend(move |_| answer.into(), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = TcpStream::connect(proxy.addr).await.unwrap();
    let get = GET.replace("HTTP/1.1", "HTTP/1.0");
    client.write_all(get.as_bytes()).await.unwrap();
    // The end of the connection would be the end of the body: it must not look like one.
    let mut body = Vec::new();
    let ended = client.read_to_end(&mut body).await.unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_response_timeout_starts_at_the_end_of_the_request() {
    let mirror = mirror().await;
    let silent = raw::held(ok, Then::Wait).await;
    let short = |rule: proxy::Rule| {
        rule.policy(|policy| policy.timeouts.response = Setting::field(Some(SHORT)))
    };
    let proxy = proxy::with([
        short(rule("a.test", "/").to(&[mirror])),
        short(rule("b.test", "/").to(&[silent.addr])),
    ]);
    let head = "POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: 6\r\n\r\nabc";
    let mut client = raw::send(proxy.addr, head).await;
    eventually("half of the body arrives", async || {
        silent.text().ends_with("abc").then_some(())
    })
    .await;
    let answered = tokio::time::timeout(2 * SHORT, client.head()).await;
    assert!(answered.is_err(), "the body is not complete yet");
    client.send("def").await;
    let head = client.head().await;
    assert_eq!((status(&head), word(&head)), (504, "http_response_timeout"));
}

#[tokio::test]
async fn a_request_with_a_body_goes_to_the_next_endpoint_too() {
    let mirror = mirror().await;
    let closed = [raw::closed_port().await, raw::closed_port().await];
    let proxy = proxy::with([rule("a.test", "/").to(&[closed[0], closed[1], mirror])]);
    for _ in 0..4 {
        let answer = client::post(proxy.addr, "a.test", "/", "hello".into())
            .await
            .unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
}

#[tokio::test]
async fn at_most_three_endpoints_are_tried() {
    let mut closed = Vec::new();
    for _ in 0..5 {
        closed.push(raw::closed_port().await);
    }
    let proxy = proxy::with([rule("a.test", "/").to(&closed)]);
    let head = raw::send(proxy.addr, GET).await.head().await;
    assert_eq!((status(&head), word(&head)), (502, "connection_refused"));
    let count = |line: &&str| line.starts_with("hawser_backend_connect_seconds_count");
    let text = proxy.metrics.encode();
    let attempts: f64 = text
        .lines()
        .filter(count)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((attempts - 3.0).abs() < 0.1, "{attempts} attempts");
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_backend() {
    let backend = raw::held(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let client = raw::send(proxy.addr, GET).await;
    eventually("the request arrives", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    drop(client);
    eventually("the request is counted as left", async || {
        let text = proxy.metrics.encode();
        text.lines()
            .any(|line| line.starts_with("hawser_http_requests_total") && line.contains("\"499\""))
            .then_some(())
    })
    .await;
}
