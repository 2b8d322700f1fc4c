//! What breaks RFC 9113: the stream or the connection ends, and no backend sees any of it.

use hawser::ir::UpgradeMode;
use rstest::rstest;

use crate::kit::{
    proxy::{self, Running, rule},
    raw::{self, Backend, Then, ok},
};

use super::{
    frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, get, raw},
    kit::connect,
};

const PROTOCOL_ERROR: u32 = 1;

async fn site() -> (Running, Backend) {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[backend.addr]),
        rule("a.test", "/deny").mode(UpgradeMode::Deny),
    ]);
    (proxy, backend)
}

fn pseudo(fields: &[(&str, &str)]) -> Vec<u8> {
    block(fields)
}

const GET: (&str, &str) = (":method", "GET");
const CONNECT: (&str, &str) = (":method", "CONNECT");
const HTTP: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "a.test");
const ROOT: (&str, &str) = (":path", "/");
const WEBSOCKET: (&str, &str) = (":protocol", "websocket");

#[rstest]
// Fields of a connection (section 8.2.2).
#[case::transfer_encoding(get(&[("transfer-encoding", "chunked")]))]
#[case::connection(get(&[("connection", "close")]))]
#[case::keep_alive(get(&[("keep-alive", "5")]))]
#[case::proxy_connection(get(&[("proxy-connection", "close")]))]
#[case::upgrade(get(&[("upgrade", "websocket")]))]
#[case::te(get(&[("te", "gzip")]))]
// Characters (section 8.2.1).
#[case::capital(get(&[("X", "y")]))]
#[case::empty_name(get(&[("", "y")]))]
#[case::space_in_name(get(&[("x y", "z")]))]
#[case::cr_in_name(get(&[("x\r\ny", "z")]))]
#[case::colon_in_name(get(&[("x:y", "z")]))]
#[case::nul_in_name(get(&[("x\0", "z")]))]
#[case::crlf_in_value(get(&[("x", "y\r\nz: a")]))]
#[case::lf_in_value(get(&[("x", "y\nz")]))]
#[case::nul_in_value(get(&[("x", "y\0")]))]
// Pseudo-fields (section 8.3).
#[case::no_method(pseudo(&[HTTP, HOST, ROOT]))]
#[case::no_scheme(pseudo(&[GET, HOST, ROOT]))]
#[case::no_path(pseudo(&[GET, HTTP, HOST]))]
#[case::empty_path(pseudo(&[GET, HTTP, HOST, (":path", "")]))]
#[case::two_paths(pseudo(&[GET, HTTP, HOST, ROOT, (":path", "/x")]))]
#[case::two_methods(pseudo(&[GET, GET, HTTP, HOST, ROOT]))]
#[case::two_authorities(pseudo(&[GET, HTTP, HOST, HOST, ROOT]))]
#[case::late(pseudo(&[GET, HTTP, HOST, ("x", "y"), ROOT]))]
#[case::status(pseudo(&[GET, HTTP, HOST, ROOT, (":status", "200")]))]
#[case::unknown(pseudo(&[GET, HTTP, HOST, ROOT, (":x", "y")]))]
#[case::method_with_a_request(pseudo(&[(":method", "GET /x HTTP/1.1\r\nx: y"), HTTP, HOST, ROOT]))]
#[case::method_with_space(pseudo(&[(":method", "GET /"), HTTP, HOST, ROOT]))]
#[case::path_with_a_request(pseudo(&[GET, HTTP, HOST, (":path", "/ HTTP/1.1\r\nx: y")]))]
#[case::path_with_space(pseudo(&[GET, HTTP, HOST, (":path", "/ x")]))]
#[case::authority_with_crlf(pseudo(&[GET, HTTP, (":authority", "a.test\r\nx: y"), ROOT]))]
#[case::authority_with_space(pseudo(&[GET, HTTP, (":authority", "a.test b"), ROOT]))]
#[case::authority_with_path(pseudo(&[GET, HTTP, (":authority", "a.test/x"), ROOT]))]
#[case::scheme_with_space(pseudo(&[GET, (":scheme", "http /"), HOST, ROOT]))]
// Extended CONNECT (RFC 8441 section 4).
#[case::protocol_of_a_get(pseudo(&[GET, HTTP, HOST, ROOT, WEBSOCKET]))]
#[case::connect_without_path(pseudo(&[CONNECT, WEBSOCKET, HTTP, HOST]))]
#[case::connect_without_scheme(pseudo(&[CONNECT, WEBSOCKET, HOST, ROOT]))]
#[case::plain_connect_with_path(pseudo(&[CONNECT, HTTP, HOST, ROOT]))]
// Lengths (section 8.1.1).
#[case::length_without_body(get(&[("content-length", "5")]))]
#[case::length_with_sign(get(&[("content-length", "+0")]))]
#[case::lengths(get(&[("content-length", "0"), ("content-length", "1")]))]
#[case::length_list(get(&[("content-length", "0, 0")]))]
#[tokio::test]
async fn malformed(#[case] block: Vec<u8>) {
    let (proxy, backend) = site().await;
    let mut client = raw(proxy.addr).await;
    let flags = END_HEADERS | END_STREAM;
    client.send(&frame(HEADERS, flags, 1, &block)).await;
    let end = loop {
        let frame = client.next().await.expect("an answer");
        if [RST_STREAM, GOAWAY].contains(&frame.kind) {
            break frame;
        }
        assert_ne!(frame.kind, HEADERS, "{frame:?}");
    };
    assert_eq!(end.code(), PROTOCOL_ERROR, "{end:?}");
    assert_eq!(backend.connections(), 0);
    // Nobody else notices.
    let answer = connect(proxy.addr).await.send(super::kit::get("/")).await;
    assert_eq!(answer.unwrap().status, 200);
}

/// What is not malformed for h2, and refused by us with an answer: it has no body of the request's to wait for.
#[rstest]
#[case::no_host(pseudo(&[GET, HTTP, ROOT]))]
#[case::two_hosts(pseudo(&[GET, HTTP, ROOT, ("host", "a.test"), ("host", "b.test")]))]
#[case::empty_authority(pseudo(&[GET, HTTP, (":authority", ""), ROOT]))]
#[case::asterisk(pseudo(&[(":method", "OPTIONS"), HTTP, HOST, (":path", "*")]))]
#[case::no_slash(pseudo(&[GET, HTTP, HOST, (":path", "x")]))]
#[case::absolute(pseudo(&[GET, HTTP, HOST, (":path", "http://b.test/")]))]
#[case::quote(pseudo(&[GET, HTTP, HOST, (":path", "/x?\"y\"")]))]
#[case::backtick(pseudo(&[GET, HTTP, HOST, (":path", "/a`b")]))]
#[case::other_script(pseudo(&[GET, HTTP, HOST, (":path", "/caf\u{e9}")]))]
#[case::dots(pseudo(&[GET, HTTP, HOST, (":path", "/a%2f..%2fb")]))]
#[tokio::test]
async fn refused(#[case] block: Vec<u8>) {
    let (proxy, backend) = site().await;
    let mut client = raw(proxy.addr).await;
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block))
        .await;
    let end = loop {
        let frame = client.next().await.expect("an answer");
        if [RST_STREAM, HEADERS].contains(&frame.kind) {
            break frame;
        }
    };
    if end.kind == HEADERS {
        // `:status 400` in the static table (RFC 7541 appendix A).
        assert_eq!(end.payload.first(), Some(&0x8c), "{end:?}");
    } else {
        assert_eq!(end.code(), PROTOCOL_ERROR, "{end:?}");
    }
    assert_eq!(backend.connections(), 0);
}

/// A body that is not as long as it says is never whole for the backend.
#[rstest]
#[case::short("5", &[("abc", END_STREAM)])]
#[case::long("2", &[("abc", END_STREAM)])]
#[case::longer("2", &[("ab", 0), ("c", END_STREAM)])]
#[tokio::test]
async fn a_body_of_another_length(#[case] length: &str, #[case] data: &[(&str, u8)]) {
    let backend = raw::backend(ok, Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = raw(proxy.addr).await;
    let head = block(&[
        (":method", "POST"),
        HTTP,
        HOST,
        ROOT,
        ("content-length", length),
    ]);
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &head);
    for (data, flags) in data {
        bytes.extend(frame(DATA, *flags, 1, data.as_bytes()));
    }
    client.send(&bytes).await;
    let reset = client.until(RST_STREAM).await.expect("a reset");
    assert_eq!(reset.code(), PROTOCOL_ERROR);
    let seen = backend.text();
    assert!(!seen.contains("abc") || length == "5", "{seen}");
}

/// hyper gives up the connection: a CONNECT has no body of a length.
#[tokio::test]
async fn a_connect_with_a_length() {
    let (proxy, backend) = site().await;
    let mut client = connect(proxy.addr).await;
    let request = super::kit::websocket("/").header("content-length", "5");
    let (response, _send) = client.begin(request, false).await.unwrap();
    assert!(super::kit::whole(response).await.is_err());
    assert_eq!(backend.connections(), 0);
    let answer = connect(proxy.addr).await.send(super::kit::get("/")).await;
    assert_eq!(answer.unwrap().status, 200);
}

/// Frames of WebSocket that end in the middle: no Close is put into them.
#[tokio::test]
async fn an_end_inside_of_a_websocket_frame() {
    let backend = raw::backend(|request| raw::accept(request, ""), Then::Wait).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut tunnel_client = connect(proxy.addr).await;
    let mut tunnel = tunnel_client.tunnel("/").await;
    // Ten bytes are promised, three come.
    tunnel.write(b"\x82\x8a\0\0\0\0abc");
    tunnel.send.send_data(bytes::Bytes::new(), true).unwrap();
    let closed = crate::kit::eventually("it has ended", async || {
        proxy.tunnels.recently_closed().into_iter().next()
    })
    .await;
    assert_eq!(closed.outcome.cause.as_str(), "client_lost");
    assert_eq!(closed.outcome.code, None);
    assert!(backend.text().ends_with("abc"), "{}", backend.text());
}
