//! Sizes and times of a head, and idle connections.

use std::time::Duration;

use hawser::proxy::gate::Limits;
use rstest::rstest;

use super::kit::{Server, expect_refusal, refused, served};

const LARGE: &str = "the request head is too large";
const SLOW: &str = "the request head did not arrive in time";

fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn many_fields() {
    let head = get("/", &"x: y\r\n".repeat(100));
    refused(&head, 431, "the request head has too many").await;
    let head = get("/", &"x: y\r\n".repeat(99));
    assert_eq!(served(&head, 1).await, ["GET a /"]);
}

#[rstest]
#[case(33 * 1024)]
#[case(100 * 1024)]
#[case(500 * 1024)]
#[tokio::test]
async fn a_large_head(#[case] size: usize) {
    let head = get("/", &format!("x: {}\r\n", "y".repeat(size)));
    refused(&head, 431, LARGE).await;
}

#[tokio::test]
async fn a_head_as_large_as_it_may_be() {
    let fixed = get("/", "x: \r\n").len();
    let value = "y".repeat(32 * 1024 - fixed);
    let head = get("/", &format!("x: {value}\r\n"));
    assert_eq!(served(&head, 1).await, ["GET a /"]);
    let head = get("/", &format!("x: {value}y\r\n"));
    refused(&head, 431, LARGE).await;
}

#[tokio::test]
async fn a_head_without_end() {
    let head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nx: ".as_slice(),
        &vec![b'y'; 40_000],
    ]
    .concat();
    let answers = Server::start().await.exchange(&head).await;
    expect_refusal(&answers, 431, LARGE);
}

#[rstest]
#[case(8 * 1024)]
#[case(60 * 1024)]
#[case(70 * 1024)]
#[tokio::test]
async fn a_long_target(#[case] size: usize) {
    let target = format!("/{}", "x".repeat(size));
    refused(&get(&target, ""), 414, "the request target is too long").await;
}

#[tokio::test]
async fn a_target_as_long_as_it_may_be() {
    let target = format!("/{}", "x".repeat(8 * 1024 - 1));
    let seen = served(&get(&target, ""), 1).await;
    assert_eq!(seen, [format!("GET a {target}")]);
}

fn quick() -> Limits {
    Limits {
        head_time: Duration::from_millis(150),
        keep_alive_time: Duration::from_millis(150),
        ..Limits::default()
    }
}

#[rstest]
#[case(b"G")]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n")]
#[tokio::test]
async fn a_slow_head(#[case] bytes: &[u8]) {
    let server = Server::with(quick()).await;
    expect_refusal(&server.exchange(bytes).await, 408, SLOW);
    assert_eq!(server.seen(), [""; 0]);
}

#[tokio::test]
async fn a_slow_head_behind_a_request() {
    let server = Server::with(quick()).await;
    let mut client = server.connect().await;
    client.send(&get("/", "")).await;
    client.send(b"GET /next").await;
    assert_eq!(client.answer().await.status, 200);
    expect_refusal(&client.rest().await, 408, SLOW);
    assert_eq!(server.seen(), ["GET a /"]);
}

#[rstest]
#[case(b"")]
#[case(b"\r\n")]
#[tokio::test]
async fn a_new_connection_without_a_request_is_closed_silently(#[case] bytes: &[u8]) {
    assert_eq!(Server::with(quick()).await.exchange(bytes).await, []);
}

#[tokio::test]
async fn an_idle_connection_is_closed_silently() {
    let server = Server::with(quick()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send(&get("/", "")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(client.rest().await, []);
}

/// The service takes longer than an idle connection may live.
#[tokio::test]
async fn a_busy_connection_is_not_idle() {
    let limits = Limits {
        keep_alive_time: Duration::from_millis(5),
        ..Limits::default()
    };
    let server = Server::with(limits).await;
    let answers = server.exchange(&get("/slow", "")).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status, 200);
}
