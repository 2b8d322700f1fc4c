//! Requests of HTTP/2, passed on as HTTP/1.1.

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method};

use crate::kit::{
    client, eventually, origin,
    proxy::{self, rule},
    raw::{self, Then, header, ok},
};

use super::kit::{connect, get, rest, whole};

#[tokio::test]
async fn a_request_is_passed_on_in_the_form_of_http1() {
    let origin = origin::http().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[origin.addr])]);
    let mut client = connect(proxy.addr).await;
    let request = get("/x/%7ey?q=1")
        .header("te", "trailers")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .header("x-forwarded-for", "203.0.113.9");
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = answer.text();
    assert!(seen.starts_with("GET /x/~y?q=1\n"), "{seen}");
    for line in [
        "host: a.test",
        "cookie: a=1; b=2; c=3",
        "te: trailers",
        "connection: te",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: a.test",
        "x-forwarded-proto: http",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in {seen}");
    }
    assert_eq!(seen.matches("cookie:").count(), 1, "{seen}");
}

/// A browser sends each in a field of its own; over HTTP/1 they are one.
#[tokio::test]
async fn a_hundred_cookies_are_one_field() {
    let origin = origin::http().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[origin.addr])]);
    let mut client = connect(proxy.addr).await;
    let request = (0..120).fold(get("/"), |request, _| request.header("cookie", "a=1"));
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    let cookies = vec!["a=1"; 120].join("; ");
    assert!(answer.text().contains(&cookies), "{}", answer.text());
}

#[tokio::test]
async fn a_body_keeps_its_length_or_is_chunked() {
    let backend = raw::backend(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let post = || get("/").method(Method::POST);
    let answer = client.send_body(post().header("content-length", "5"), b"hello", None);
    assert_eq!(answer.await.unwrap().status, 200);
    let seen = backend.text();
    assert_eq!(header(&seen, "content-length"), Some("5"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");

    let backend = raw::backend(ok, Then::Wait).await;
    proxy.serve([rule("a.test", "/").to(&[backend.addr])]);
    let answer = client.send_body(post(), b"hello", None);
    assert_eq!(answer.await.unwrap().status, 200);
    let seen = backend.text();
    assert_eq!(
        header(&seen, "transfer-encoding"),
        Some("chunked"),
        "{seen}"
    );
    assert!(seen.contains("5\r\nhello\r\n0\r\n\r\n"), "{seen}");

    // No body, no framing field that says there is one.
    let backend = raw::backend(ok, Then::Wait).await;
    proxy.serve([rule("a.test", "/").to(&[backend.addr])]);
    assert_eq!(client.send(get("/")).await.unwrap().status, 200);
    assert_eq!(header(&backend.text(), "transfer-encoding"), None);
    assert_eq!(header(&backend.text(), "content-length"), None);
}

#[tokio::test]
async fn trailers_pass_towards_the_client() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
        3\r\nabc\r\n0\r\nX-Sum: 1\r\nConnection: x\r\n\r\n";
    let backend = raw::backend(|_| answer.into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let stream = client
        .open(get("/").header("te", "trailers"))
        .await
        .unwrap();
    let (body, trailers) = rest(stream.recv).await.unwrap();
    assert_eq!(body, "abc");
    let mut expected = HeaderMap::new();
    expected.insert("x-sum", HeaderValue::from_static("1"));
    assert_eq!(trailers, Some(expected));
}

#[tokio::test]
async fn fields_of_a_connection_do_not_pass_towards_the_client() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, x-hop\r\n\
        Keep-Alive: timeout=5\r\nX-Hop: 1\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\nok";
    let backend = raw::backend(|_| answer.into(), Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let answer = connect(proxy.addr).await.send(get("/")).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("x-end"), "2");
    for name in ["connection", "keep-alive", "x-hop", "upgrade"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    let head = connect(proxy.addr)
        .await
        .send(get("/").method(Method::HEAD))
        .await
        .unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, "2"));
    // One of Hawser's own: bytes of a body would be an error of the protocol.
    let mut client = connect(proxy.addr).await;
    let other = |method| get("/").header("host", "b.test").method(method);
    let get = client.send(other(Method::GET)).await.unwrap();
    let head = client.send(other(Method::HEAD)).await.unwrap();
    assert_eq!((head.status, head.body.len()), (get.status, 0));
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    assert!(head.headers.contains_key("proxy-status"));
}

#[tokio::test]
async fn requests_of_one_connection_do_not_wait_for_each_other() {
    let held = raw::held(ok, Then::Close).await;
    let origin = origin::http().await;
    let proxy = proxy::with([
        rule("a.test", "/held").to(&[held.addr]),
        rule("a.test", "/").to(&[origin.addr]),
    ]);
    let mut client = connect(proxy.addr).await;
    let (first, _) = client.begin(get("/held"), true).await.unwrap();
    let many = join_all((0..50).map(async |number| {
        let path = format!("/{number}");
        let answer = client.another().send(get(&path)).await.unwrap();
        assert!(answer.text().starts_with(&format!("GET {path}\n")));
    }));
    many.await;
    held.release.add_permits(1);
    assert_eq!(whole(first).await.unwrap().text(), "plain");
    assert_eq!(super::limits::connections(&proxy), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_reset_and_no_end() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let backend = raw::backend(|_| answer.into(), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let error = client.send(get("/")).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{error}");
    // The stream, not the connection.
    let refused = client.send(get("/")).await.unwrap_err();
    assert!(refused.is_reset(), "{refused}");
}

#[tokio::test]
async fn a_request_whose_client_left_is_given_up() {
    let held = raw::held(ok, Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[held.addr])]);
    let mut client = connect(proxy.addr).await;
    let (response, mut stream) = client.begin(get("/"), true).await.unwrap();
    eventually("the backend has it", async || {
        (!held.text().is_empty()).then_some(())
    })
    .await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    eventually("it is written down", async || {
        let text = proxy.metrics.encode();
        text.contains("code=\"499\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn http1_and_http2_share_a_port() {
    let origin = origin::http().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[origin.addr])]);
    let mut client = connect(proxy.addr).await;
    assert_eq!(client.send(get("/")).await.unwrap().status, 200);
    let old = client::get(proxy.addr, "a.test", "/").await.unwrap();
    assert_eq!(old.status, 200);
    assert_eq!(client.send(get("/")).await.unwrap().status, 200);
}
