//! Header fields between hops.

use hawser::ir::HeaderValue;

use crate::kit::{
    client,
    proxy::{self, rule},
    raw::{self, Then, header, status},
};

fn ok(_request: &str) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: backend\r\nX-Old: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nplain".to_vec()
}

#[tokio::test]
async fn connection_takes_away_no_protected_field() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\nAuthorization: Bearer x\r\nX-Mine: 1\r\nX-Real-Ip: 10.0.0.1\r\n\
                   Connection: X-Forwarded-For, X-Real-Ip, Host, Cookie, Authorization, X-Mine\r\n\r\n";
    assert_eq!(
        status(&raw::send(proxy.addr, request).await.head().await),
        200
    );
    let seen = backend.text();
    for (name, value) in [
        ("host", Some("a.test")),
        ("cookie", Some("a=b")),
        ("authorization", Some("Bearer x")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-mine", None),
        ("x-real-ip", None),
        ("connection", None),
    ] {
        assert_eq!(header(&seen, name), value, "{name} in {seen}");
    }
}

#[tokio::test]
async fn no_client_is_believed() {
    let backend = raw::backend(ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let request = "GET / HTTP/1.1\r\nHost: A.test:8080\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 443\r\nForwarded: for=10.0.0.1\r\nX-Request-Id: forged\r\n\r\n";
    assert_eq!(
        status(&raw::send(proxy.addr, request).await.head().await),
        200
    );
    let seen = backend.text();
    for (name, value) in [
        ("host", Some("A.test:8080")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("A.test:8080")),
        ("x-forwarded-port", None),
        ("forwarded", None),
    ] {
        assert_eq!(header(&seen, name), value, "{name} in {seen}");
    }
    assert!(
        !seen.contains("10.0.0.1") && !seen.contains("forged"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_route_edits_requests_and_relayed_responses() {
    let value = |name: &str, value: &str| HeaderValue {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let backend = raw::backend(ok, Then::Again).await;
    let edited = rule("a.test", "/").to(&[backend.addr]).policy(|policy| {
        policy.headers.request.set = vec![value("x-set", "new")];
        policy.headers.request.remove = vec!["x-old".to_owned()];
        policy.headers.response.set = vec![value("server", "hidden")];
        policy.headers.response.add = vec![value("x-added", "1")];
        policy.headers.response.remove = vec!["x-old".to_owned()];
    });
    let proxy = proxy::with([edited]);
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Old: 1\r\nX-Set: old\r\n\r\n";
    let head = raw::send(proxy.addr, request).await.head().await;
    for (name, value) in [
        ("server", Some("hidden")),
        ("x-added", Some("1")),
        ("x-old", None),
        ("x-hop", None),
        ("connection", None),
    ] {
        assert_eq!(header(&head, name), value, "{name} in {head}");
    }
    let seen = backend.text();
    assert_eq!(header(&seen, "x-set"), Some("new"));
    assert_eq!(header(&seen, "x-old"), None);
}

#[tokio::test]
async fn routes_can_ask_for_headers() {
    let one = raw::backend(
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none".to_vec(),
        Then::Again,
    )
    .await;
    let all = raw::backend(
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall".to_vec(),
        Then::Again,
    )
    .await;
    let proxy = proxy::with([
        rule("a.test", "/")
            .to(&[one.addr])
            .header("x-tenant", "a, b"),
        rule("a.test", "/").to(&[all.addr]),
    ]);
    for (lines, expected) in [
        ("X-Tenant: a, b\r\n", "one"),
        ("X-Tenant: a\r\nX-Tenant: b\r\n", "one"),
        ("X-Tenant: x\r\nX-Tenant: a, b\r\n", "one"),
        ("X-Tenant: a\r\n", "all"),
        ("X-Tenant: A, B\r\n", "all"),
        ("", "all"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        assert_eq!(
            raw::send(proxy.addr, request).await.response().await.1,
            expected,
            "{lines}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_our_own_explains_itself() {
    let proxy = proxy::with([rule("a.test", "/")]);
    let answer = client::get(proxy.addr, "b.test", "/").await.unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.header("proxy-status"),
        "hawser; error=destination_not_found; details=\"no host or path matches\""
    );
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["title"], "Not Found");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["error"], "destination_not_found");
    assert_eq!(problem["detail"], "no host or path matches");
    assert_eq!(problem["requestId"].as_str().map(str::len), Some(32));
}
