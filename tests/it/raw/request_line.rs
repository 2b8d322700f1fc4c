//! The request line.

use rstest::rstest;

use super::kit::{Server, refused, served};

const LINE: &str = "the request line is not method, target and version";
const NO_VERSION: &str = "the request line does not end with an HTTP version";
const VERSION: &str = "only HTTP/1.1 and HTTP/1.0";
const METHOD: &str = "the method is not a token";
const NEVER: &str = "CONNECT and TRACE are not served";
const FORM: &str = "the request target is neither a path nor";
const FRAGMENT: &str = "the request target has a fragment";
const ESCAPE: &str = "the request target has a character that must be percent-encoded";

#[rstest]
// White space and versions.
#[case(b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET\r\nHost: a\r\n\r\n", 400, LINE)]
#[case(b"GET /\r\n", 400, NO_VERSION)]
#[case(b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, NO_VERSION)]
#[case(b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, NO_VERSION)]
#[case(b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, VERSION)]
#[case(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, VERSION)]
#[case(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, VERSION)]
// Almost the preface of HTTP/2.
#[case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", 505, VERSION)]
// A TLS ClientHello.
#[case(
    b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03",
    400,
    "this port speaks plain HTTP"
)]
// Methods.
#[case(b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, METHOD)]
#[case(b"\xc3\xa9 / HTTP/1.1\r\nHost: a\r\n\r\n", 400, METHOD)]
#[case(
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nHost: a\r\n\r\n",
    400,
    METHOD
)]
// Never served.
#[case(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, NEVER)]
#[case(b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 405, NEVER)]
#[case(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, NEVER)]
// Forms of the target.
#[case(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, FORM)]
#[case(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, FORM)]
#[case(b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, FORM)]
#[case(b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, FORM)]
#[case(b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400, FORM)]
// A fragment.
#[case(b"GET /x#frag HTTP/1.1\r\nHost: a\r\n\r\n", 400, FRAGMENT)]
#[case(b"GET /x?y#frag HTTP/1.1\r\nHost: a\r\n\r\n", 400, FRAGMENT)]
// Bytes that must be escaped.
#[case(b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, ESCAPE)]
#[case(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, ESCAPE)]
#[case(b"GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n", 400, ESCAPE)]
#[case(b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "the head has a NUL")]
#[tokio::test]
async fn bad(#[case] bytes: &[u8], #[case] status: u16, #[case] details: &str) {
    refused(bytes, status, details).await;
}

#[tokio::test]
async fn a_method_of_64_kilobytes() {
    let method = "M".repeat(64 * 1024);
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(head.as_bytes(), 400, METHOD).await;
}

const LONG: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[rstest]
#[case("get / HTTP/1.1\r\nHost: a\r\n\r\n", "get a /")]
#[case("PROPFIND /x?y=%20 HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND a /x?y=%20")]
#[case("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET  /")]
#[case("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET a /")]
#[case("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET a /")]
#[tokio::test]
async fn good(#[case] head: &str, #[case] seen: &str) {
    assert_eq!(served(head.as_bytes(), 1).await, [seen]);
}

#[tokio::test]
async fn a_method_as_long_as_it_may_be() {
    let head = format!("{LONG} / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(served(head.as_bytes(), 1).await, [format!("{LONG} a /")]);
}

/// The answer to HEAD has no body, a refusal included: what follows its head would be taken for a second answer.
#[tokio::test]
async fn a_refused_head_request_gets_no_body() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(b"HEAD /#x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let wire = client.wire().await;
    assert!(wire.starts_with("HTTP/1.1 400 "), "{wire}");
    assert!(wire.ends_with("\r\n\r\n"), "{wire}");
}
