//! Line ends, fields, lengths, and the requests behind each other.

use rstest::rstest;

use super::kit::{Server, expect_refusal, refused, served};

const LF: &str = "a line of the head ends with LF without CR";
const CR: &str = "the head has a CR without LF";
const CONTROL: &str = "the head has a NUL or another control";
const FOLD: &str = "a field line starts with white space";
const SPACE: &str = "there is white space between a field name and its colon";
const NAME: &str = "a field name is not a token";
const UNDERSCORE: &str = "a field name has an underscore";
const LENGTH: &str = "Content-Length is not one decimal number";
const LENGTHS: &str = "there are several Content-Length fields";
const BOTH: &str = "there are both Content-Length and Transfer-Encoding";
const ENCODING: &str = "Transfer-Encoding is not the single word chunked";

#[rstest]
// Bare LF.
#[case(b"GET / HTTP/1.1\nHost: a\n\n", LF)]
#[case(b"GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", LF)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\n\r\n", LF)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n\n", LF)]
#[case(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", LF)]
// Bare CR and controls.
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\rz\r\n\r\n", CR)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\r\n\r\n", CR)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx\ry: z\r\n\r\n", CR)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\0z\r\n\r\n", CONTROL)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx\0: y\r\n\r\n", CONTROL)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: \x01\r\n\r\n", CONTROL)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: \x7f\r\n\r\n", CONTROL)]
// White space where there must be none, missing names and colons.
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n", FOLD)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n\tz: a\r\n\r\n", FOLD)]
#[case(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", FOLD)]
#[case(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", SPACE)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", SPACE)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", "a field has no name")]
#[case(
    b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n",
    "a field line has no colon"
)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx(y): z\r\n\r\n", NAME)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa9: z\r\n\r\n", NAME)]
// Chunks from a client that cannot know them.
#[case(
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 has no"
)]
// Names that backends read as others.
#[case(
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
    UNDERSCORE
)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", UNDERSCORE)]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\nx_y: z\r\n\r\n", UNDERSCORE)]
// RFC 9112 section 2.2: some empty lines, not any number.
#[case(
    b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "too many empty lines"
)]
#[tokio::test]
async fn bad_lines(#[case] bytes: &[u8], #[case] details: &str) {
    refused(bytes, 400, details).await;
}

/// A POST to host a with these fields and five bytes that would be a body.
fn post(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello").into_bytes()
}

#[rstest]
// CL.TE and TE.CL.
#[case("Content-Length: 5\r\nTransfer-Encoding: chunked", BOTH)]
#[case("Transfer-Encoding: chunked\r\nContent-Length: 5", BOTH)]
// Two equal lengths.
#[case("Content-Length: 5\r\nContent-Length: 5", LENGTHS)]
// Lengths that parsers read differently.
#[case("Content-Length: 5\r\nContent-Length: 6", LENGTHS)]
#[case("Content-Length:\r\nContent-Length: 5", LENGTH)]
#[case("Content-Length: 5, 5", LENGTH)]
#[case("Content-Length: +5", LENGTH)]
#[case("Content-Length: -5", LENGTH)]
#[case("Content-Length: 0x5", LENGTH)]
#[case("Content-Length: 5 5", LENGTH)]
#[case("Content-Length:", LENGTH)]
#[case("Content-Length: 9223372036854775808", LENGTH)]
#[case("Content-Length: 18446744073709551616", LENGTH)]
#[case("Content-Length: 18446744073709551621", LENGTH)]
// TE.TE: not chunked last.
#[case("Transfer-Encoding: identity", ENCODING)]
#[case("Transfer-Encoding: xchunked", ENCODING)]
#[case("Transfer-Encoding: \x0bchunked", CONTROL)]
#[case("Transfer-Encoding: chunked, identity", ENCODING)]
#[case("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", ENCODING)]
#[case("Transfer-Encoding:", ENCODING)]
// TE.TE: chunked last.
#[case("Transfer-Encoding: gzip, chunked", ENCODING)]
#[case("Transfer-Encoding: chunked, chunked", ENCODING)]
#[case("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", ENCODING)]
#[case("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ENCODING)]
#[case("Transfer-Encoding: \"chunked\"", ENCODING)]
#[case("Transfer-Encoding: chunked;q=1", ENCODING)]
#[tokio::test]
async fn bad_lengths(#[case] fields: &str, #[case] details: &str) {
    refused(&post(fields), 400, details).await;
}

#[rstest]
#[case("Content-Length: 5", "POST a / hello")]
#[case("content-length:\t005 ", "POST a / hello")]
#[case("x: caf\u{e9}\r\nContent-Length: 5", "POST a / hello")]
#[tokio::test]
async fn good(#[case] fields: &str, #[case] seen: &str) {
    assert_eq!(served(&post(fields), 1).await, [seen]);
}

#[tokio::test]
async fn pipelined_requests_each_on_their_own_head() {
    let bytes = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /slow HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nbody\
        \r\nPUT /three HTTP/1.1\r\nHost: C\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
        GET /four HTTP/1.1\r\nHost: d\r\n\r\n";
    let expected = [
        "GET a /one",
        "POST b /slow body",
        "PUT c /three abc",
        "GET d /four",
    ];
    assert_eq!(served(bytes, 4).await, expected);
}

/// A refusal is answered in its turn: what came before it, even in the same packet, is served.
#[rstest]
#[case("/one")]
#[case("/slow")]
#[tokio::test]
async fn what_came_before_a_bad_head_is_served(#[case] path: &str) {
    let server = Server::start().await;
    let good = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let bad = "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let bytes = format!("{good}{good}{bad}{good}");
    let answers = server.exchange(bytes.as_bytes()).await;
    let (refusal, served) = answers.split_last().unwrap();
    assert_eq!(served.len(), 2);
    assert!(served.iter().all(|answer| answer.status == 200));
    expect_refusal(std::slice::from_ref(refusal), 400, "there are several Host");
    let expected = format!("GET a {path}");
    assert_eq!(server.seen(), [&expected[..], &expected]);
}

#[tokio::test]
async fn a_bad_head_on_a_used_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
    }
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    expect_refusal(&client.rest().await, 400, "there is no Host field");
}

/// A client that writes on while it is refused must still be able to read the answer.
#[tokio::test]
async fn a_refusal_arrives_at_a_client_that_keeps_writing() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(b"POST /# HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for _ in 0..30 {
        client.send(&[b'x'; 1000]).await;
        tokio::task::yield_now().await;
    }
    expect_refusal(
        &client.rest().await,
        400,
        "the request target has a fragment",
    );
}
