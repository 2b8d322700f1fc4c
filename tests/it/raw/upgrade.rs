//! What a client sends behind its handshake, before the answer.

use rstest::rstest;

use super::kit::Server;

fn handshake(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
}

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: b\r\n\r\n";

#[tokio::test]
async fn a_tunnel_begins_with_the_early_bytes() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let bytes = format!("{}{NEXT}", handshake("/ws"));
    client.send(bytes.as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    assert_eq!(client.bytes(NEXT.len()).await, NEXT.as_bytes());
    client.send(b"late").await;
    assert_eq!(client.bytes(4).await, b"late");
    assert_eq!(server.seen(), [""; 0]);
}

#[tokio::test]
async fn a_tunnel_behind_other_requests() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let bytes = format!("{NEXT}{NEXT}{}early", handshake("/ws"));
    client.send(bytes.as_bytes()).await;
    for status in [200, 200, 101] {
        assert_eq!(client.answer().await.status, status);
    }
    assert_eq!(client.bytes(5).await, b"early");
}

#[tokio::test]
async fn more_than_the_limit_waits_in_the_socket() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let early = "0123456789".repeat(10_000);
    let bytes = format!("{}{early}", handshake("/ws"));
    client.send(bytes.as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    assert!(
        client.bytes(early.len()).await == early.as_bytes(),
        "lost or changed"
    );
}

/// The second request is neither forwarded nor served when the first one was not switched.
#[rstest]
#[case("/no")]
#[case("/slow")]
#[tokio::test]
async fn early_bytes_of_a_refused_handshake_are_dropped(#[case] path: &str) {
    let server = Server::start().await;
    let bytes = format!("{}{NEXT}", handshake(path));
    let answers = server.exchange(bytes.as_bytes()).await;
    assert_eq!(answers.len(), 1);
    assert!(answers[0].closes(), "{:?}", answers[0]);
    assert_eq!(server.seen(), [format!("GET a {path}")]);
}

#[tokio::test]
async fn early_bytes_in_a_packet_of_their_own() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(handshake("/slow").as_bytes()).await;
    client.send(NEXT.as_bytes()).await;
    let answers = client.rest().await;
    assert_eq!(answers.len(), 1);
    assert!(answers[0].closes(), "{:?}", answers[0]);
    assert_eq!(server.seen(), ["GET a /slow"]);
}

#[tokio::test]
async fn a_refused_handshake_leaves_the_connection_usable() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(handshake("/no").as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(!answer.closes(), "{answer:?}");
        client.send(NEXT.as_bytes()).await;
        assert_eq!(client.answer().await.body, "GET b /next");
    }
    client.send(handshake("/ws").as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    client.send(b"x").await;
    assert_eq!(client.bytes(1).await, b"x");
}

#[tokio::test]
async fn the_body_of_a_refused_handshake_is_its_body() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let bytes = format!(
        "POST /no HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 4\r\n\r\nbody{NEXT}"
    );
    client.send(bytes.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.seen(), ["POST a /no body", "GET b /next"]);
}

/// No other upgrade is ever switched to, so nothing waits.
#[rstest]
#[case("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk")]
#[case("Upgrade: websocket")]
#[case("Connection: Upgrade\r\nUpgrade: TLS/1.0")]
#[tokio::test]
async fn other_upgrades_are_plain_requests(#[case] fields: &str) {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let bytes =
        format!("POST /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\nContent-Length: 4\r\n\r\nbody{NEXT}");
    client.send(bytes.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.seen(), ["POST a /ws body", "GET b /next"]);
}

/// The first frame of a client that did not look at the answer.
#[tokio::test]
async fn a_frame_behind_a_refused_handshake_is_refused() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(handshake("/no").as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    client.send(b"\x81\x85abcd").await;
    let answers = client.rest().await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status, 400);
}
