use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::{
    ir,
    upstream::{ConnectErrorKind, Registry},
};

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
    let backend = Registry::default().backend(&ir::BackendId {
        namespace: "a".into(),
        service: "b".into(),
        port: 1,
    });
    backend.set_endpoints(&[ir::Endpoint {
        address,
        ready: true,
        serving: true,
        terminating: false,
    }]);
    backend.pick(&[]).unwrap()
}

/// A raw server: its connections come out of the channel.
async fn server() -> (Arc<Endpoint>, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    let (tx, rx) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if tx.send(stream).await.is_err() {
                return;
            }
        }
    });
    (endpoint, rx)
}

fn pool() -> Pool<TestBody> {
    Pool::new(|_, _| ())
}

fn get(uri: &str) -> Box<Request<TestBody>> {
    let request = Request::get(uri)
        .header("host", "shop.example")
        .body(
            Full::new(Bytes::new())
                .map_err(|e: Infallible| match e {})
                .boxed_unsync(),
        )
        .unwrap();
    Box::new(request)
}

/// Reads one request head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends a request and lets `answer` play the backend on the next connection.
async fn exchange(answer: &'static [u8]) -> Result<(StatusCode, Bytes), PoolError<TestBody>> {
    let (endpoint, mut connections) = server().await;
    tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        // Open until the client closes.
        let _ = stream.read(&mut [0; 1]).await;
    });
    let response = pool().request(&endpoint, get("/"), None).await?;
    let status = response.status();
    Ok((
        status,
        response.into_body().collect().await.unwrap().to_bytes(),
    ))
}

#[tokio::test]
async fn sends_origin_form_and_keeps_host() {
    let (endpoint, mut connections) = server().await;
    let backend = async {
        let mut stream = connections.recv().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        head
    };
    let pool = pool();
    let request = pool.request(&endpoint, get("http://10.0.0.1:99/a%20b?c=d"), None);
    let (head, response) = tokio::join!(backend, request);
    assert_eq!(
        head,
        "GET /a%20b?c=d HTTP/1.1\r\nhost: shop.example\r\n\r\n"
    );
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn connections_are_used_again() {
    let (endpoint, mut connections) = server().await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let pool = Pool::new(move |_, ok| {
        assert!(ok);
        counter.fetch_add(1, Relaxed);
    });
    tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        loop {
            head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..5 {
        let response = pool.request(&endpoint, get("/"), None).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "ok"
        );
        assert_eq!(pool.idle.count(&endpoint), 1);
    }
    assert_eq!(attempts.load(Relaxed), 1);
}

#[tokio::test]
async fn a_request_is_sent_again_when_its_kept_connection_is_closed() {
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    tokio::spawn(async move {
        // Every connection serves one request and is closed without a word.
        while let Some(mut stream) = connections.recv().await {
            let head = head(&mut stream).await;
            log.lock().push(head);
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    for n in 0..20 {
        let response = pool
            .request(&endpoint, get(&format!("/{n}")), None)
            .await
            .unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "ok"
        );
    }
    let heads = heads.lock();
    let expected = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: shop.example\r\n\r\n"));
    assert_eq!(
        *heads,
        expected.collect::<Vec<_>>(),
        "each arrived exactly once"
    );
}

#[tokio::test]
async fn a_request_that_was_sent_is_never_sent_again() {
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    let served = tokio::spawn(async move {
        let mut first = connections.recv().await.unwrap();
        head(&mut first).await;
        first.write_all(OK.as_bytes()).await.unwrap();
        // The second request arrives here and gets no answer.
        let second = head(&mut first).await;
        drop(first);
        (second, connections)
    });
    let response = pool.request(&endpoint, get("/1"), None).await.unwrap();
    response.into_body().collect().await.unwrap();
    while pool.idle.count(&endpoint) == 0 {
        tokio::task::yield_now().await;
    }
    let error = pool.request(&endpoint, get("/2"), None).await.unwrap_err();
    assert!(matches!(error, PoolError::Exchange(_)), "{error:?}");
    assert_eq!(error.proxy_status(), Some("connection_terminated"));
    let (second, mut connections) = served.await.unwrap();
    assert!(second.starts_with("GET /2 "));
    assert!(connections.try_recv().is_err(), "no second attempt");
}

#[tokio::test]
async fn no_connection_gives_the_request_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    drop(listener);
    let error = pool()
        .request(&endpoint, get("/x"), None)
        .await
        .unwrap_err();
    assert_eq!(error.proxy_status(), Some("connection_refused"));
    let PoolError::Connect { error, request } = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind, ConnectErrorKind::Refused);
    assert_eq!(request.uri(), "/x");
}

#[tokio::test]
async fn interim_responses_are_consumed() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let answer = |n: usize| (interim.repeat(n) + OK).into_bytes().leak();
    for some in [1, 16, 1_000] {
        let (status, body) = exchange(answer(some)).await.unwrap();
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"ok"[..]));
    }
    let endless = interim.repeat(10_000).into_bytes().leak();
    let error = exchange(endless).await.unwrap_err();
    assert!(matches!(error, PoolError::Interim), "{error:?}");
    assert_eq!(error.proxy_status(), Some("http_protocol_error"));
}

#[tokio::test]
async fn a_body_has_no_limit_and_each_request_its_own() {
    const LONG: usize = 1_000_000;
    let (endpoint, mut connections) = server().await;
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(1_500);
    let served = tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        for _ in 0..3 {
            head(&mut stream).await;
            let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; LONG]).await.unwrap();
        }
        connections
    });
    let pool = pool();
    for _ in 0..3 {
        let response = pool.request(&endpoint, get("/"), None).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), LONG);
    }
    let mut connections = served.await.unwrap();
    assert!(connections.try_recv().is_err(), "one connection");
}

#[tokio::test]
async fn what_a_backend_may_not_answer() {
    let head = |fill: String| format!("HTTP/1.1 200 OK\r\n{fill}\r\n").into_bytes().leak();
    let cases: [(&'static [u8], &str); 6] = [
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "http_upgrade_failed"),
        (b"SSH-2.0-OpenSSH\r\n", "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", "http_protocol_error"),
        (head(format!("x: {}\r\n", "y".repeat(33_000))), "http_response_header_section_size"),
        (head("a: b\r\n".repeat(101)), "http_response_header_section_size"),
    ];
    for (answer, word) in cases {
        let error = exchange(answer).await.unwrap_err();
        assert_eq!(error.proxy_status(), Some(word), "{error:?}");
    }
}

#[tokio::test]
async fn a_body_that_fails_is_not_the_backends_fault() {
    let (endpoint, mut connections) = server().await;
    let (tx, rx) = mpsc::channel::<Result<http_body::Frame<Bytes>, io::Error>>(1);
    let stream =
        futures_util::stream::unfold(rx, |mut rx| async move { Some((rx.recv().await?, rx)) });
    let request = Request::post("/")
        .body(BodyExt::boxed_unsync(StreamBody::new(stream)))
        .unwrap();
    tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        tx.send(Err(io::ErrorKind::BrokenPipe.into()))
            .await
            .unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    let error = pool()
        .request(&endpoint, Box::new(request), None)
        .await
        .unwrap_err();
    assert!(matches!(error, PoolError::RequestBody(_)), "{error:?}");
    assert_eq!(error.proxy_status(), None);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_go_after_their_time() {
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    let backend = tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream.read(&mut [0; 1]).await.unwrap()
    });
    let response = pool.request(&endpoint, get("/"), None).await.unwrap();
    response.into_body().collect().await.unwrap();
    let start = Instant::now();
    assert_eq!(backend.await.unwrap(), 0, "the pool closed it");
    assert!(start.elapsed() >= idle::IDLE_TIME);
    assert_eq!(pool.idle.count(&endpoint), 0);
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    const COUNT: usize = idle::MAX_PER_ENDPOINT + 6;
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    tokio::spawn(async move {
        // All are open before the first is answered.
        let mut streams = Vec::new();
        for _ in 0..COUNT {
            let mut stream = connections.recv().await.unwrap();
            head(&mut stream).await;
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let requests = (0..COUNT).map(|_| async {
        let response = pool.request(&endpoint, get("/"), None).await.unwrap();
        response.into_body().collect().await.unwrap();
    });
    futures_util::future::join_all(requests).await;
    while pool.idle.count(&endpoint) < idle::MAX_PER_ENDPOINT {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.idle.count(&endpoint), idle::MAX_PER_ENDPOINT);
}

#[tokio::test]
async fn a_request_takes_two_turns() {
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        loop {
            head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    for n in 0..10 {
        let mut turns = 0;
        let mut request = pin!(async {
            let response = pool.request(&endpoint, get("/"), None).await.unwrap();
            response.into_body().collect().await.unwrap();
        });
        poll_fn(|cx| {
            turns += 1;
            request.as_mut().poll(cx)
        })
        .await;
        // The first one also waits for its connection.
        assert!(n == 0 || turns == 2, "{turns}");
        assert_eq!(pool.idle.count(&endpoint), 1);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_up_no_request() {
    const LONG: usize = 32 * 1024 * 1024;
    let (endpoint, mut connections) = server().await;
    let (tx, rx) = mpsc::channel::<Result<http_body::Frame<Bytes>, io::Error>>(1);
    let stream =
        futures_util::stream::unfold(rx, |mut rx| async move { Some((rx.recv().await?, rx)) });
    let request = Request::post("/")
        .header("transfer-encoding", "chunked")
        .body(BodyExt::boxed_unsync(StreamBody::new(stream)))
        .unwrap();
    let backend = tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0);
        }
        body.len()
    });
    let pool = pool();
    let response = pool
        .request(&endpoint, Box::new(request), None)
        .await
        .unwrap();
    for _ in 0..32 {
        let piece = http_body::Frame::data(vec![b'x'; LONG / 32].into());
        tx.send(Ok(piece)).await.unwrap();
    }
    drop(tx);
    assert!(backend.await.unwrap() > LONG);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "ok");
    while pool.idle.count(&endpoint) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_pieces_every_answer_comes() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n1\r\nd\r\n2\r\nef\r\n0\r\n\r\n";
    let (endpoint, mut connections) = server().await;
    tokio::spawn(async move {
        while let Some(mut stream) = connections.recv().await {
            tokio::spawn(async move {
                stream.set_nodelay(true).unwrap();
                for number in 0.. {
                    head(&mut stream).await;
                    for piece in ANSWER.as_bytes().chunks(1 + number % ANSWER.len()) {
                        stream.write_all(piece).await.unwrap();
                    }
                }
            });
        }
    });
    let pool = Arc::new(pool());
    let clients = (0..8).map(|_| {
        let (pool, endpoint) = (Arc::clone(&pool), Arc::clone(&endpoint));
        tokio::spawn(async move {
            for _ in 0..200 {
                let response = pool.request(&endpoint, get("/"), None).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, "abcdef");
            }
        })
    });
    let all = futures_util::future::try_join_all(clients);
    let in_time = tokio::time::timeout(Duration::from_mins(1), all).await;
    in_time.expect("none waits for ever").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_closed_does_not_stay() {
    let (endpoint, mut connections) = server().await;
    let pool = pool();
    let backend = tokio::spawn(async move {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream
    });
    let response = pool.request(&endpoint, get("/"), None).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(pool.idle.count(&endpoint), 1);
    drop(backend.await.unwrap());
    let start = Instant::now();
    while pool.idle.count(&endpoint) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() < idle::IDLE_TIME);
}

/// Else it would be taken for the answer to somebody else's request.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    const WRONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong";
    for together in [true, false] {
        let (endpoint, mut connections) = server().await;
        let pool = pool();
        let backend = tokio::spawn(async move {
            let mut stream = connections.recv().await.unwrap();
            head(&mut stream).await;
            if together {
                let both = [OK, WRONG].concat();
                stream.write_all(both.as_bytes()).await.unwrap();
            } else {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            (stream, connections)
        });
        let response = pool.request(&endpoint, get("/"), None).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok");
        let (mut first, mut connections) = backend.await.unwrap();
        if !together {
            assert_eq!(pool.idle.count(&endpoint), 1);
            first.write_all(WRONG.as_bytes()).await.unwrap();
            // Until the runtime knows of it. Before, nobody could.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let backend = tokio::spawn(async move {
            let mut second = connections.recv().await.unwrap();
            head(&mut second).await;
            second.write_all(OK.as_bytes()).await.unwrap();
            second
        });
        let response = pool.request(&endpoint, get("/"), None).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok", "together: {together}");
        backend.await.unwrap();
    }
}
