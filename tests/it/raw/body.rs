//! Chunks, and bodies where none is expected.

use rstest::rstest;

use super::kit::{Server, expect_refusal, served};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const SIZE: &str = "bad chunk size";
const EXTENSION: &str = "bad or too long chunk extension";
const END: &str = "a chunk does not end where its size says";
const TRAILER: &str = "bad or too long trailer section";

#[rstest]
// Sizes, extensions, ends.
#[case("3;\nabc\r\n0\r\n\r\n", EXTENSION)]
#[case("3;a\nb\r\nabc\r\n0\r\n\r\n", EXTENSION)]
#[case("3\nabc\r\n0\r\n\r\n", SIZE)]
#[case("0x3\r\nabc\r\n0\r\n\r\n", SIZE)]
#[case("-3\r\nabc\r\n0\r\n\r\n", SIZE)]
#[case("\r\nabc\r\n0\r\n\r\n", SIZE)]
#[case("10000000000000003\r\nabc\r\n0\r\n\r\n", SIZE)]
#[case("3\r\nabc\r\nzz\r\n0\r\n\r\n", SIZE)]
#[case("3\r\nabcd\r\n0\r\n\r\n", END)]
#[case("3\r\nabc\n0\r\n\r\n", END)]
// Syntax of trailers; forbidden ones are dropped behind the gate.
#[case("3\r\nabc\r\n0\r\nx: y\n\r\n", TRAILER)]
#[case("3\r\nabc\r\n0\r\n x: y\r\n\r\n", TRAILER)]
#[case("3\r\nabc\r\n0\r\nx : y\r\n\r\n", TRAILER)]
#[case("3\r\nabc\r\n0\r\nTransfer_Encoding: y\r\n\r\n", TRAILER)]
#[case("3\r\nabc\r\n0\r\n\n", TRAILER)]
#[tokio::test]
async fn a_broken_body_is_never_complete(#[case] chunks: &str, #[case] details: &str) {
    let bytes = format!("{HEAD}{chunks}{SMUGGLED}");
    let (head, rest) = bytes.as_bytes().split_at(HEAD.len() + 1);
    for pieces in [vec![bytes.as_bytes()], vec![head, rest]] {
        let server = Server::start().await;
        let mut client = server.connect().await;
        for piece in pieces {
            client.send(piece).await;
        }
        expect_refusal(&client.rest().await, 400, details);
        assert_eq!(server.seen(), ["POST a / !"]);
    }
}

#[tokio::test]
async fn extensions_are_limited() {
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(2000));
    let bytes = format!("{HEAD}{}0\r\n\r\n", chunk.repeat(9));
    let answers = Server::start().await.exchange(bytes.as_bytes()).await;
    expect_refusal(&answers, 400, EXTENSION);
}

#[rstest]
// Extensions, white space, leading zeros, data that looks like framing.
#[case("3;foo=bar\r\nabc\r\n0\r\n\r\n", "POST a / abc")]
#[case("3 \r\nabc\r\n0;x\r\n\r\n", "POST a / abc")]
#[case(
    "0003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "POST a / abc0123456789"
)]
#[case("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "POST a / \r\n0\r\n\r\n")]
// Trailers.
#[case("3\r\nabc\r\n0\r\nHost: b\r\nDigest: x\r\n\r\n", "POST a / abc")]
#[tokio::test]
async fn good(#[case] chunks: &str, #[case] seen: &str) {
    let bytes = format!("{HEAD}{chunks}GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(served(bytes.as_bytes(), 2).await, [seen, "GET a /next"]);
}

/// A request is not in the body of another, whatever its method (TE.0, CL.0).
#[rstest]
#[case("GET")]
#[case("HEAD")]
#[case("OPTIONS")]
#[case("DELETE")]
#[tokio::test]
async fn a_body_belongs_to_its_request(#[case] method: &str) {
    let length = SMUGGLED.len();
    let bytes = format!(
        "{method} /one HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}\
         GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(bytes.as_bytes()).await;
    let wire = client.wire().await;
    assert_eq!(wire.matches("HTTP/1.1 200 OK").count(), 2, "{wire}");
    let expected = [
        format!("{method} a /one {SMUGGLED}"),
        "GET a /two".to_owned(),
    ];
    assert_eq!(server.seen(), expected);
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    let server = Server::start().await;
    let body = "0123456789abcdef".repeat(64 * 1024);
    let length = body.len();
    let request = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        assert!(answer.body == format!("PUT a / {body}"), "the body changed");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_complete() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        .await;
    client.half_close().await;
    let wire = client.wire().await;
    assert!(!wire.contains("200 OK"), "{wire}");
    assert!(server.seen().iter().all(|seen| seen.ends_with('!')));
}
