use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::proxy::validate::Invalid;

fn head(bytes: &[u8]) -> Result<Option<Complete>, Refusal> {
    Head::default().advance(bytes, &Limits::default())
}

/// A head of these lines.
fn lines(lines: &[&str]) -> Vec<u8> {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

fn with(fields: &[&str]) -> Vec<u8> {
    lines(&[&["GET / HTTP/1.1", "Host: a"], fields].concat())
}

fn passes(bytes: &[u8]) -> Complete {
    let complete = head(bytes).unwrap().unwrap();
    assert_eq!(complete.length, bytes.len());
    complete
}

#[rstest]
#[case(&[], Body::Nothing)]
#[case(&["Content-Length: 0"], Body::Nothing)]
#[case(&["content-length:\t12 "], Body::Length(12))]
#[case(&["CONTENT-LENGTH: 007"], Body::Length(7))]
#[case(&["Content-Length: 9223372036854775807"], Body::Length(LONGEST_BODY))]
#[case(&["Transfer-Encoding: chunked"], Body::Chunked)]
#[case(&["transfer-encoding: CHUNKED"], Body::Chunked)]
fn bodies(#[case] fields: &[&str], #[case] body: Body) {
    assert_eq!(passes(&with(fields)).body, body);
}

#[rstest]
#[case(&["Content-Length: 1", "Content-Length: 1"], Refusal::LengthRepeated)]
#[case(&["Content-Length: 1", "Content-Length: 2"], Refusal::LengthRepeated)]
#[case(&["Content-Length:", "Content-Length: 2"], Refusal::LengthSyntax)]
#[case(&["Content-Length: 3, 3"], Refusal::LengthSyntax)]
#[case(&["Content-Length: +3"], Refusal::LengthSyntax)]
#[case(&["Content-Length: -3"], Refusal::LengthSyntax)]
#[case(&["Content-Length: 0x3"], Refusal::LengthSyntax)]
#[case(&["Content-Length: 9223372036854775808"], Refusal::LengthSyntax)]
#[case(&["Content-Length: 18446744073709551616"], Refusal::LengthSyntax)]
#[case(&["Content-Length: 3", "Transfer-Encoding: chunked"], Refusal::LengthAndEncoding)]
#[case(&["Transfer-Encoding: chunked", "Content-Length: 3"], Refusal::LengthAndEncoding)]
#[case(&["Transfer-Encoding: identity"], Refusal::Encoding)]
#[case(&["Transfer-Encoding:"], Refusal::Encoding)]
#[case(&["Transfer-Encoding: gzip, chunked"], Refusal::Encoding)]
#[case(&["Transfer-Encoding: chunked, chunked"], Refusal::Encoding)]
#[case(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], Refusal::Encoding)]
#[case(&["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], Refusal::Encoding)]
#[case(&["Host: a"], Refusal::HostRepeated)]
#[case(&["x_y: z"], Refusal::Underscore)]
fn refused_fields(#[case] fields: &[&str], #[case] refusal: Refusal) {
    assert_eq!(head(&with(fields)), Err(refusal));
}

#[rstest]
#[case(&["GET / HTTP/1.1"], Refusal::HostMissing)]
#[case(&["GET / HTTP/1.1", "Host:"], Refusal::Host(Invalid::Empty))]
#[case(&["GET / HTTP/1.0", "Host: a@b"], Refusal::Host(Invalid::Userinfo))]
#[case(&["GET / HTTP/1.0", "Transfer-Encoding: chunked"], Refusal::EncodingInHttp10)]
#[case(&["GET http://b/ HTTP/1.1", "Host: a"], Refusal::HostMismatch)]
#[case(&["GET http://a:8080/ HTTP/1.1", "Host: a"], Refusal::HostMismatch)]
#[case(&["GET http://a/ HTTP/1.1"], Refusal::HostMissing)]
#[case(&["\u{16}\u{3}\u{1}"], Refusal::Tls)]
#[case(&[" GET / HTTP/1.1"], Refusal::RequestLine)]
#[case(&["\0"], Refusal::Control)]
#[case(&["(ET / HTTP/1.1"], Refusal::Method)]
#[case(&["", "", "", "", "", "GET / HTTP/1.1"], Refusal::EmptyLines)]
#[case(&["\rGET / HTTP/1.1"], Refusal::BareCr)]
fn refused_heads(#[case] head_lines: &[&str], #[case] refusal: Refusal) {
    assert_eq!(head(&lines(head_lines)), Err(refusal));
}

#[rstest]
#[case(&["GET http://A:80/x HTTP/1.1", "Host:  a.\t"])]
#[case(&["GET http://[::1]/ HTTP/1.1", "x: y", "host:[0::1]"])]
#[case(&["GET http://a/ HTTP/1.0"])]
#[case(&["GET / HTTP/1.0"])]
#[case(&["", "", "", "", "GET http://a HTTP/1.1", "Host: a"])]
fn passing_heads(#[case] head_lines: &[&str]) {
    assert!(!passes(&lines(head_lines)).tunnel);
}

#[rstest]
#[case(b"GET / HTTP/1.1\nHost: a\n\n")]
#[case(b"GET / HTTP/1.1\r\nHost: a\n\r\n")]
#[case(b"GET / HTTP/1.1\r\nHost: a\r\n\n")]
#[case(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")]
fn bare_lf(#[case] bytes: &[u8]) {
    assert_eq!(head(bytes), Err(Refusal::BareLf));
}

/// Not even for a line of it: until a head has begun it has no time limit that a byte would not renew.
#[test]
fn a_cr_of_no_empty_line_is_refused_at_once() {
    assert_eq!(head(b"\rx"), Err(Refusal::BareCr));
    assert_eq!(head(b"\r\n\rx"), Err(Refusal::BareCr));
}

#[rstest]
#[case("GET", "1.1", &["Connection: upgrade", "Upgrade: websocket"], true)]
#[case("POST", "1.1", &["Upgrade: h2c, WebSocket", "Connection: x", "connection: Upgrade"], true)]
#[case("GET", "1.0", &["Connection: upgrade", "Upgrade: websocket"], false)]
#[case("GET", "1.1", &["Upgrade: websocket"], false)]
#[case("GET", "1.1", &["Connection: upgrade"], false)]
#[case("POST", "1.1", &["Connection: upgrade", "Upgrade: h2c"], false)]
fn tunnels(
    #[case] method: &str,
    #[case] version: &str,
    #[case] fields: &[&str],
    #[case] tunnel: bool,
) {
    let line = format!("{method} / HTTP/{version}");
    let bytes = lines(&[&[&line[..], "Host: a"], fields].concat());
    assert_eq!(passes(&bytes).tunnel, tunnel);
    // The service's predicate is the same.
    let mut request = http::Request::builder().version(if version == "1.0" {
        http::Version::HTTP_10
    } else {
        http::Version::HTTP_11
    });
    for field in fields {
        let (name, value) = field.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(super::super::asks_for_tunnel(&parts), tunnel);
}

#[test]
fn sizes() {
    let limits = Limits::default();
    let many = |count| with(&vec!["a: b"; count]);
    passes(&many(limits.headers - 1));
    assert_eq!(head(&many(limits.headers)), Err(Refusal::TooManyFields));

    let wide = |size: usize| with(&[&format!("a: {}", "b".repeat(size))]);
    let fixed = wide(0).len();
    passes(&wide(limits.head_bytes - fixed));
    let too_wide = wide(limits.head_bytes - fixed + 1);
    assert_eq!(head(&too_wide), Err(Refusal::HeadTooLarge));

    let target = |size: usize| lines(&[&format!("GET /{} HTTP/1.1", "b".repeat(size)), "Host: a"]);
    passes(&target(limits.target_bytes - 1));
    for size in [limits.target_bytes, 60_000, 70_000] {
        assert_eq!(head(&target(size)), Err(Refusal::TargetTooLong));
    }
    let method = lines(&[&format!("{} / HTTP/1.1", "M".repeat(64 * 1024))]);
    assert_eq!(head(&method), Err(Refusal::Method));
}

#[test]
fn endless_lines_end_early() {
    let limits = Limits::default();
    let mut head = Head::default();
    let mut bytes = b"GET /".to_vec();
    let refusal = loop {
        match head.advance(&bytes, &limits) {
            Ok(None) => bytes.push(b'a'),
            other => break other,
        }
    };
    assert_eq!(refusal, Err(Refusal::TargetTooLong));
    assert!(bytes.len() <= request_line::longest(limits.target_bytes));
}

/// hyper must parse what passes: else it would answer by itself.
fn hyper_accepts(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(bytes).unwrap();
    assert_eq!(status, httparse::Status::Complete(bytes.len()));
    http::Method::from_bytes(request.method.unwrap().as_bytes()).unwrap();
    request.path.unwrap().parse::<http::Uri>().unwrap();
    for field in request.headers {
        http::HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        http::HeaderValue::from_bytes(field.value).unwrap();
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = head(&bytes);
    }

    #[test]
    fn what_passes_is_accepted_by_hyper(
        method in "[A-Za-z!#_()]{1,8}",
        target in "(/|http://a/|x)[ -~é]{0,10}",
        version in "HTTP/1\\.[01]",
        name in "[a-zA-Z_!: ]{1,8}",
        value in "[ -~\té\r]{0,10}",
    ) {
        let line = format!("{method} {target} {version}");
        let bytes = lines(&[&line, "Host: a", &format!("{name}:{value}")]);
        if matches!(head(&bytes), Ok(Some(complete)) if complete.length == bytes.len()) {
            hyper_accepts(&bytes);
        }
    }
}
