//! Plain HTTP through the proxy: framing, bodies, time limits, and the answers that Hawser makes itself.

mod faults;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rstest::rstest;
use tokio::net::TcpListener;

use crate::kit::{
    client, eventually, origin,
    proxy::{self, rule},
    raw::{self, Then, header, ok, status, word},
};

/// Long enough that nothing else ends first, short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A hyper server that sends the body back as it comes, trailers too.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let trailer = request.headers().get("trailer").cloned();
                let mut response = Response::new(request.into_body());
                if let Some(trailer) = trailer {
                    response.headers_mut().insert("trailer", trailer);
                }
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    addr
}

#[tokio::test]
async fn a_request_and_its_answer() {
    let origin = origin::http().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[origin.addr])]);
    let answer = client::get(proxy.addr, "a.test", "/x?q=1").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().starts_with("GET /x?q=1\n"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("proxy-status"), "");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let mirror = mirror().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[mirror])]);
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = raw::send(proxy.addr, head).await;
    client.send("5\r\nfirst\r\n").await;
    assert_eq!(status(&client.head().await), 200);
    assert_eq!(client.chunk().await, "first");
    client.send("6\r\nsecond\r\n").await;
    assert_eq!(client.chunk().await, "second");
    client.send("0\r\n\r\n").await;
    assert_eq!(client.chunks().await, (String::new(), Vec::new()));
    // And the connection goes on.
    client.send(GET).await;
    assert_eq!(client.response().await.1, "");
}

#[rstest]
#[case("GET")]
#[case("DELETE")]
#[case("OPTIONS")]
#[case("PROPFIND")]
#[tokio::test]
async fn any_method_may_have_a_body(#[case] method: &str) {
    let mirror = mirror().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[mirror])]);
    let head = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n");
    let mut client = raw::send(
        proxy.addr,
        format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
    )
    .await;
    client.head().await;
    assert_eq!(client.chunks().await.0, "body");
    client
        .send(format!("{head}Content-Length: 4\r\n\r\nbody"))
        .await;
    assert_eq!(client.response().await.1, "body");
}

#[tokio::test]
async fn the_body_of_a_request_that_is_not_served_is_no_request() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let smuggled = GET.replace("/ ", "/smuggled ");
    let mut client = raw::send(
        proxy.addr,
        format!(
            "POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: {}\r\n\r\n{smuggled}{GET}",
            smuggled.len()
        ),
    )
    .await;
    assert_eq!(status(&client.response().await.0), 404);
    assert_eq!(client.response().await.1, "plain");
    assert!(!backend.text().contains("smuggled"), "{}", backend.text());
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let mirror = mirror().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[mirror])]);
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    let answer = client::post(proxy.addr, "a.test", "/", body.clone().into())
        .await
        .unwrap();
    assert_eq!(answer.header("content-length"), body.len().to_string());
    assert!(answer.body == body, "the body is the same");
}

#[tokio::test]
async fn a_body_is_not_read_faster_than_the_backend_takes_it() {
    // It reads the head and nothing else.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy::with([rule("a.test", "/").to(&[listener.local_addr().unwrap()])]);
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n";
    let stream = tokio::net::TcpStream::connect(proxy.addr).await.unwrap();
    let _backend = async {
        stream.writable().await.unwrap();
        stream.try_write(head.as_bytes()).unwrap();
        listener.accept().await.unwrap()
    }
    .await;
    // Until nothing was taken for a while: the kernel's buffers on both legs are full, and ours.
    let chunk = vec![0; 64 * 1024];
    let mut taken = 0;
    while let Ok(Ok(())) = tokio::time::timeout(SHORT, stream.writable()).await {
        taken += stream.try_write(&chunk).unwrap_or(0);
        assert!(taken < 64 * 1024 * 1024, "it must stop somewhere");
    }
}

#[rstest]
#[case::length("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", Some("1234"))]
#[case::unknown("HTTP/1.1 200 OK\r\n\r\n", None)]
#[case::chunked("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None)]
#[tokio::test]
async fn head_has_no_body(#[case] answer: &'static str, #[case] length: Option<&str>) {
    let backend = raw::backend(move |_| answer.into(), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET.replace("GET", "HEAD")).await;
    let head = client.head().await;
    assert_eq!(status(&head), 200);
    assert_eq!(header(&head, "content-length"), length);
    assert!(backend.text().starts_with("HEAD / HTTP/1.1\r\n"));
    client
        .send(GET.replace("a.test", "b.test").replace("GET", "HEAD"))
        .await;
    let head = client.head().await;
    assert_eq!(status(&head), 404, "nothing of a body came between");
    // Nor does an answer of our own have one.
    client
        .send("GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 404 "));
}

#[rstest]
#[case(
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n",
    304
)]
#[case("HTTP/1.1 204 No Content\r\n\r\n", 204)]
#[tokio::test]
async fn statuses_without_a_body(#[case] answer: &'static str, #[case] expected: u16) {
    let backend = raw::backend(move |_| answer.into(), Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET).await;
    for _ in 0..3 {
        assert_eq!(status(&client.head().await), expected);
        client.send(GET).await;
    }
    assert_eq!(
        backend.connections(),
        1,
        "the backend connection is used again"
    );
}

#[tokio::test]
async fn http_1_0_clients() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n";
    let backend = raw::backend(move |_| chunked.into(), Then::Again).await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[backend.addr]),
        rule("*", "/any").to(&[backend.addr]),
    ]);
    let answer = raw::send(proxy.addr, "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        .await
        .rest()
        .await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nplain"), "{answer}");
    assert!(
        !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
    let seen = backend.text();
    assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");

    // The host of the target counts where there is no field.
    let answer = raw::send(proxy.addr, "GET http://a.test/there HTTP/1.0\r\n\r\n")
        .await
        .rest()
        .await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let seen = backend.text();
    let seen = seen.split_once("GET /there HTTP/1.1").expect("it came").1;
    for line in ["\r\nhost: a.test\r\n", "\r\nx-forwarded-host: a.test\r\n"] {
        assert!(seen.contains(line), "{seen}");
    }

    // Without Host only a rule for every host takes it.
    let answer = raw::send(proxy.addr, "GET /any HTTP/1.0\r\n\r\n")
        .await
        .rest()
        .await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let answer = raw::send(proxy.addr, "GET / HTTP/1.0\r\n\r\n")
        .await
        .rest()
        .await;
    assert!(answer.starts_with("HTTP/1.0 404 "), "{answer}");
}

#[tokio::test]
async fn http_1_0_with_keep_alive() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n";
    let mut client = raw::send(proxy.addr, request).await;
    for _ in 0..2 {
        let (head, body) = client.response().await;
        assert_eq!(body, "plain");
        assert_eq!(header(&head, "connection"), Some("keep-alive"));
        client.send(request).await;
    }
}

#[tokio::test]
async fn trailers_pass_where_they_are_announced() {
    let mirror = mirror().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[mirror])]);
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum, Authorization\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nAuthorization: forged\r\nX-Other: 1\r\n\r\n";
    let mut client = raw::send(proxy.addr, request).await;
    let head = client.head().await;
    assert_eq!(header(&head, "trailer"), Some("X-Sum, Authorization"));
    let (body, trailers) = client.chunks().await;
    assert_eq!(body, "abc");
    assert_eq!(trailers, ["x-sum: 7"]);

    // A client that does not take trailers gets none.
    client
        .send(request.replace("TE: trailers\r\nConnection: TE\r\n", ""))
        .await;
    client.head().await;
    assert_eq!(client.chunks().await, ("abc".to_owned(), Vec::new()));
}

#[tokio::test]
async fn expect_100_is_answered_here() {
    let mirror = mirror().await;
    let backend = raw::held(ok, Then::Wait).await;
    let closed = raw::closed_port().await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[mirror]),
        rule("closed.test", "/").to(&[closed]),
        rule("seen.test", "/").to(&[backend.addr]),
    ]);
    let request =
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n";

    let mut client = raw::send(proxy.addr, request).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(client.response().await.1, "body");

    // No connection to a backend, no 100; what follows is not taken for a request.
    let mut client = raw::send(proxy.addr, request.replace("a.test", "closed.test")).await;
    let (head, _) = client.response().await;
    assert_eq!(status(&head), 502);

    let _client = raw::send(proxy.addr, request.replace("a.test", "seen.test")).await;
    eventually("the head arrives", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    assert_eq!(header(&backend.text(), "expect"), None);
}

#[rstest]
#[case("Expect: y 100-continue")]
#[case("Expect: 100-continue\r\nExpect: 100-continue")]
#[case("Expect: 200-ok")]
#[tokio::test]
async fn another_expectation_is_417(#[case] expect: &str) {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = GET.replace("\r\n\r\n", &format!("\r\n{expect}\r\n\r\n"));
    let mut client = raw::send(proxy.addr, request).await;
    let (head, _) = client.response().await;
    assert_eq!((status(&head), word(&head)), (417, "http_request_error"));
    client.send(GET).await;
    assert_eq!(client.response().await.1, "plain", "the connection stays");
}

#[tokio::test]
async fn each_request_of_a_connection_is_routed_on_its_own() {
    let one = raw::backend(
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none".to_vec(),
        Then::Again,
    )
    .await;
    let two = raw::backend(
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo".to_vec(),
        Then::Again,
    )
    .await;
    let proxy = proxy::with([
        rule("one.test", "/").to(&[one.addr]),
        rule("two.test", "/").to(&[two.addr]),
    ]);
    let request = |host: &str| GET.replace("a.test", host);
    let pipelined = ["one.test", "two.test", "TWO.test.:80", "one.test"]
        .map(request)
        .concat();
    let mut client = raw::send(proxy.addr, pipelined).await;
    for expected in ["one", "two", "two", "one"] {
        assert_eq!(client.response().await.1, expected);
    }
}

#[tokio::test]
async fn the_backend_sees_the_path_that_was_routed() {
    let origin = origin::http().await;
    let proxy = proxy::with([
        rule("a.test", "/app").to(&[origin.addr]),
        rule("b.test", "/app").to(&[origin.addr]).policy(|policy| {
            policy.rewrite.prefix = Some("/v1".to_owned());
            policy.rewrite.hostname = Some("internal.test".to_owned());
        }),
        rule("c.test", "/app")
            .exact()
            .to(&[origin.addr])
            .policy(|policy| {
                policy.rewrite.prefix = Some("/".to_owned());
            }),
    ]);
    for (host, path, expected) in [
        ("a.test", "/app/./x/../y?q=%2F", "GET /app/y?q=%2F\n"),
        ("a.test", "/%61pp/x", "GET /app/x\n"),
        ("b.test", "/app/x?q=1", "GET /v1/x?q=1\n"),
        ("b.test", "/app", "GET /v1\n"),
        ("c.test", "/app", "GET /\n"),
    ] {
        let answer = client::get(proxy.addr, host, path).await.unwrap();
        assert_eq!(answer.status, 200, "{host}{path}");
        assert!(
            answer.text().starts_with(expected),
            "{host}{path}: {}",
            answer.text()
        );
        let seen = if host == "b.test" {
            "internal.test"
        } else {
            host
        };
        assert!(
            answer.text().contains(&format!("\nhost: {seen}\n")),
            "{}",
            answer.text()
        );
    }
    for (path, expected) in [
        ("/apps", 404),
        ("/APP", 404),
        ("/app/..", 404),
        ("/app/%2f", 400),
    ] {
        let answer = client::get(proxy.addr, "a.test", path).await.unwrap();
        assert_eq!(answer.status, expected, "{path}");
    }
}

#[tokio::test]
async fn absolute_form_is_forwarded_in_origin_form() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = "GET http://A.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(
        raw::send(proxy.addr, request).await.response().await.1,
        "plain"
    );
    let seen = backend.text();
    assert!(seen.starts_with("GET /x HTTP/1.1\r\n"), "{seen}");
    // RFC 9112 section 3.2.1: an empty path is sent as a slash.
    let bare = request.replace("A.test/x", "a.test?y=z");
    raw::send(proxy.addr, bare).await.response().await;
    let seen = backend.text();
    assert!(seen.contains("GET /?y=z HTTP/1.1\r\n"), "{seen}");
    let head = raw::send(proxy.addr, request.replace("A.test", "b.test"))
        .await
        .head()
        .await;
    assert_eq!(status(&head), 400);
}

#[tokio::test]
async fn a_response_until_close_is_chunked() {
    let backend = raw::backend(|_| b"HTTP/1.0 200 OK\r\n\r\nplain".to_vec(), Then::Close).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw::send(proxy.addr, GET).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(client.chunks().await.0, "plain");
}

#[tokio::test]
async fn the_shutdown_lets_requests_finish() {
    let backend = raw::held(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut idle = raw::send(proxy.addr, GET.replace("a.test", "b.test")).await;
    idle.response().await;
    let mut busy = raw::send(proxy.addr, GET).await;
    eventually("the request arrives", async || {
        backend.text().contains("\r\n\r\n").then_some(())
    })
    .await;
    proxy.drain();
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    let addr = proxy.addr;
    eventually("no new connection is accepted", async || {
        tokio::net::TcpStream::connect(addr)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    backend.release.add_permits(1);
    let (head, body) = busy.response().await;
    assert_eq!(body, "plain");
    assert_eq!(header(&head, "connection"), Some("close"));
    assert_eq!(busy.rest().await, "");
    proxy.served().await;
}
