use super::*;
use crate::ir::{HeaderEdits, HeaderRules, Policy};

fn policy(headers: HeaderRules) -> Policy {
    Policy {
        headers,
        ..Policy::default()
    }
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

fn request(lines: &[(&str, &str)], policy: &Policy) -> HeaderMap {
    let mut headers = fields(lines);
    towards_backend(
        &mut headers,
        policy,
        &Client {
            address: &HeaderValue::from_static("192.0.2.7"),
            request_id: RequestId::default(),
        },
    );
    headers
}

/// What every request to the backend has.
const OURS: [&str; 5] = [
    "host: a.test",
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-host: a.test",
    "x-forwarded-proto: http",
    "x-request-id: 00000000000000000000000000000000",
];

#[test]
fn hop_by_hop_fields_go_with_all_that_connection_names() {
    let headers = request(
        &[
            ("host", "a.test"),
            ("connection", "close, x-once"),
            ("connection", "X-Twice"),
            ("x-once", "1"),
            ("x-twice", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "gzip"),
            ("expect", "100-continue"),
        ],
        &policy(HeaderRules::default()),
    );
    assert_eq!(lines(&headers), OURS);
}

#[test]
fn connection_cannot_take_away_what_others_rely_on() {
    let headers = request(
        &[
            ("host", "a.test"),
            (
                "connection",
                "X-Forwarded-For, X-Real-Ip, Host, Cookie, Authorization, Content-Length, Sec-WebSocket-Key, X-Request-Id",
            ),
            ("cookie", "a=b"),
            ("authorization", "Bearer x"),
            ("content-length", "3"),
            ("sec-websocket-key", "k"),
        ],
        &policy(HeaderRules::default()),
    );
    let mut expected = [
        "authorization: Bearer x",
        "content-length: 3",
        "cookie: a=b",
        "sec-websocket-key: k",
    ]
    .iter()
    .chain(&OURS)
    .map(ToString::to_string)
    .collect::<Vec<_>>();
    expected.sort();
    assert_eq!(lines(&headers), expected);
}

#[test]
fn what_a_client_claims_about_itself_is_replaced() {
    let headers = request(
        &[
            ("host", "a.test"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-request-id", "forged"),
        ],
        &policy(HeaderRules::default()),
    );
    assert_eq!(lines(&headers), OURS);
}

#[test]
fn a_route_edits_between_removal_and_ours() {
    let value = |name: &str, value: &str| ir::HeaderValue {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let headers = request(
        &[
            ("host", "a.test"),
            ("x-old", "1"),
            ("x-set", "1"),
            ("x-set", "2"),
            ("x-add", "1"),
        ],
        &policy(HeaderRules {
            request: HeaderEdits {
                set: vec![
                    value("x-set", "3"),
                    value("x-forwarded-prefix", "/app"),
                    value("x-request-id", "forged"),
                ],
                add: vec![value("x-add", "2")],
                remove: vec!["x-old".to_owned(), "x-forwarded-for".to_owned()],
            },
            response: HeaderEdits::default(),
        }),
    );
    let mut expected = [
        "x-add: 1",
        "x-add: 2",
        "x-forwarded-prefix: /app",
        "x-set: 3",
    ]
    .iter()
    .chain(&OURS)
    .map(ToString::to_string)
    .collect::<Vec<_>>();
    expected.sort();
    assert_eq!(lines(&headers), expected);
}

#[test]
fn a_rewritten_host_keeps_the_asked_one_in_x_forwarded_host() {
    let mut policy = policy(HeaderRules::default());
    policy.rewrite.hostname = Some("internal.test".to_owned());
    let headers = request(&[("host", "a.test:8080")], &policy);
    assert_eq!(headers[HOST], "internal.test");
    assert_eq!(headers[X_FORWARDED_HOST], "a.test:8080");
}

#[test]
fn a_request_without_host_gets_an_empty_one() {
    let headers = request(&[], &policy(HeaderRules::default()));
    assert_eq!(headers[HOST], "");
    assert!(!headers.contains_key(X_FORWARDED_HOST));
}

#[test]
fn trailers_are_asked_for_only_when_the_client_asked() {
    let plain = policy(HeaderRules::default());
    let headers = request(&[("te", "gzip, Trailers"), ("connection", "te")], &plain);
    assert_eq!(headers[TE], "trailers");
    assert_eq!(headers[CONNECTION], "te");
    assert!(!request(&[("te", "gzip")], &plain).contains_key(TE));
}

#[test]
fn a_response_has_one_framing_and_no_hop_by_hop_field() {
    let mut headers = fields(&[
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("connection", "close, x-internal, set-cookie"),
        ("x-internal", "1"),
        ("set-cookie", "a=b"),
        ("proxy-authenticate", "Basic"),
        ("upgrade", "h2c"),
        ("trailer", "x-sum"),
    ]);
    towards_client(&mut headers, &policy(HeaderRules::default()));
    assert_eq!(lines(&headers), ["set-cookie: a=b", "trailer: x-sum"]);
}

#[test]
fn trailers_cannot_carry_what_belongs_into_a_head() {
    let mut trailers = fields(&[
        ("x-sum", "1"),
        ("host", "evil.test"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("authorization", "x"),
        ("cookie", "x"),
        ("x-forwarded-for", "10.0.0.1"),
        ("connection", "close"),
    ]);
    clean_trailers(&mut trailers);
    assert_eq!(lines(&trailers), ["x-sum: 1"]);
}
