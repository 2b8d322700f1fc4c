//! What the log says about requests, in a real process.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kit::{
    eventually,
    hawser::{self, Hawser, field},
    manifest,
    raw::{self, Then},
};

fn access(hawser: &Hawser) -> Vec<Value> {
    let mut log = hawser.log();
    log.retain(|line| line["target"] == "hawser::access");
    log
}

#[tokio::test]
async fn no_secret_and_no_raw_byte_gets_into_the_log() {
    let backend = raw::backend(raw::ok, Then::Again).await;
    let closed = raw::closed_port().await;
    let yaml =
        manifest::websocket("a", "/", &[backend.addr]) + &manifest::websocket("b", "/", &[closed]);
    let hawser = hawser::with_flags(&yaml, &["--log-level", "trace"]).await;
    let secrets = format!(
        "Cookie: SECRET\r\nAuthorization: Bearer SECRET\r\nSec-WebSocket-Protocol: SECRET\r\nUser-Agent: agent-{}\r\n",
        "x".repeat(8000)
    );
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (host, more) in [
        ("a.test", ""),
        ("a.test", upgrade),
        ("b.test", ""),
        ("b.test", upgrade),
    ] {
        let request =
            format!("GET /path?token=SECRET HTTP/1.1\r\nHost: {host}\r\n{secrets}{more}\r\n");
        raw::send(hawser.http, request).await.head().await;
    }
    // Refused by the gate, with a colour code in the target.
    raw::send(
        hawser.http,
        "GET /\x1b[31m?token=SECRET HTTP/1.1\r\nHost: a.test\r\n\r\n",
    )
    .await
    .head()
    .await;
    let lines = eventually("five access lines", async || {
        let lines = access(&hawser);
        (lines.len() == 5).then_some(lines)
    })
    .await;
    for line in hawser.log() {
        let text = line.to_string();
        assert!(line.is_object(), "JSON: {text}");
        assert!(!text.contains("SECRET"), "{text}");
        assert!(!text.contains("\\u001b"), "{text}");
    }
    let of = |status: u64, host: &str| {
        let found = lines
            .iter()
            .find(|line| line["status"] == status && line["host"] == host);
        found.unwrap_or_else(|| panic!("{status} of {host} in {lines:#?}"))
    };
    let first = of(200, "a.test");
    assert_eq!(first["event"], "request");
    assert_eq!(first["path"], "/path");
    assert_eq!(first["endpoint"], backend.addr.to_string());
    assert!(field(first, "user_agent").is_some_and(|agent| agent.len() == 1024));
    let refused = of(502, "b.test");
    assert_eq!(refused["reason"], "connection_refused");
    assert_eq!(refused["endpoint"], closed.to_string());
    of(400, "");
}

/// Hawser writes 499 into the line of a client that left. A backend may answer it as well.
#[tokio::test]
async fn a_499_of_the_backend_is_no_client_that_left() {
    let answer = |_: &str| b"HTTP/1.1 499 Cancelled\r\nContent-Length: 0\r\n\r\n".to_vec();
    let backend = raw::backend(answer, Then::Again).await;
    let hawser = hawser::with(&manifest::websocket("a", "/", &[backend.addr])).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut client = raw::send(hawser.http, request).await;
    assert_eq!(raw::status(&client.head().await), 499);
    let is_request = |line: &Value| field(line, "event") == Some("request");
    let line = hawser.logged("its line", is_request).await;
    assert_eq!(line["status"], 499);
    assert!(field(&line, "reason").is_none(), "{line}");
}

/// Lines leave together, once a turn: none may be lost, none be written twice, and the last ones are not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_its_line_also_when_it_is_the_last_thing() {
    const CONNECTIONS: usize = 16;
    const REQUESTS: usize = 50;
    let backend = raw::backend(raw::ok, Then::Again).await;
    let mut hawser = hawser::with(&manifest::websocket("a", "/", &[backend.addr])).await;
    let work: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let address = hawser.http;
            tokio::spawn(async move {
                let request = |number: usize| {
                    format!("GET /{connection}/{number} HTTP/1.1\r\nHost: a.test\r\n\r\n")
                };
                let mut client = raw::send(address, request(0)).await;
                for number in 1..REQUESTS {
                    client.response().await;
                    client.send(request(number)).await;
                }
                client.response().await;
            })
        })
        .collect();
    for work in work {
        work.await.expect("all are answered");
    }
    hawser.signal("TERM");
    assert!(hawser.ended().await.success());
    let wanted = CONNECTIONS * REQUESTS;
    let lines = eventually("all lines", async || {
        let lines = access(&hawser);
        (lines.len() >= wanted).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), wanted);
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in &lines {
        let path = field(line, "path").expect("a path");
        let (connection, number) = path
            .trim_start_matches('/')
            .split_once('/')
            .expect("two parts");
        let number = number.parse().expect("a number");
        seen.entry(connection.to_owned()).or_default().push(number);
    }
    assert_eq!(seen.len(), CONNECTIONS);
    for numbers in seen.values_mut() {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..REQUESTS), "{numbers:?}");
    }
}

#[tokio::test]
async fn access_lines_can_be_turned_off() {
    let backend = raw::backend(raw::ok, Then::Again).await;
    let yaml = manifest::websocket("a", "/", &[backend.addr]);
    let mut hawser = hawser::with_flags(&yaml, &["--log-level", "info,hawser::access=off"]).await;
    let mut client = raw::send(hawser.http, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    client.response().await;
    hawser.signal("TERM");
    assert!(hawser.ended().await.success());
    eventually("the last line", async || {
        (hawser.said("ended") == 1).then_some(())
    })
    .await;
    assert_eq!(access(&hawser), Vec::<Value>::new());
}
