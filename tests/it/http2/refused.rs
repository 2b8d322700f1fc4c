//! Requests that are refused, with the answers that HTTP/1 has for them.

use hawser::ir::UpgradeMode;
use http::{Method, Request, Version, request};
use rstest::rstest;

use crate::kit::{
    origin,
    proxy::{self, rule},
    raw::{self, Then},
};

use super::kit::{connect, get};

fn post(fields: &[(&str, &str)]) -> request::Builder {
    fields
        .iter()
        .fold(get("/").method(Method::POST), |request, (name, value)| {
            request.header(*name, *value)
        })
}

fn to(uri: &str) -> request::Builder {
    Request::get(uri).version(Version::HTTP_2)
}

#[rstest]
#[case::trace(get("/").method(Method::TRACE), 405, "CONNECT and TRACE are not served")]
#[case::connect(to("a.test:443").method(Method::CONNECT), 405, "CONNECT and TRACE are not served")]
#[case::method(get("/").method("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"), 400, "the method is not")]
#[case::scheme(to("ftp://a.test/"), 400, "the request target has a scheme")]
#[case::other_host(get("/").header("host", "b.test"), 400, "the Host field and the request target")]
#[case::other_port(get("/").header("host", "a.test:81"), 400, "the Host field and the request target")]
#[case::two_hosts(get("/").header("host", "a.test").header("host", "a.test"), 400, "there are several Host")]
#[case::userinfo(
    to("http://user@a.test/"),
    400,
    "the host in the request target: it has a user"
)]
#[case::bad_host(
    to("http://a~b/"),
    400,
    "the host in the request target: it has a character"
)]
#[case::bad_port(
    to("http://a.test:0/"),
    400,
    "the host in the request target: its port"
)]
#[case::long_target(get(&format!("/{}", "x".repeat(8 * 1024))), 414, "the request target is too long")]
#[case::slash(get("/a%2fb"), 400, "")]
#[case::nul(get("/a%00b"), 400, "")]
#[case::underscore(get("/").header("x_y", "1"), 400, "a field name has an underscore")]
#[case::space(get("/").header("x", " a"), 400, "a field value starts or ends")]
#[case::tab(get("/").header("x", "a\t"), 400, "a field value starts or ends")]
#[case::lengths(post(&[("content-length", "0"), ("content-length", "0")]), 400, "there are several Content-Length")]
#[case::fields((0..101).fold(get("/"), |request, _| request.header("x", "y")), 431, "the request head has too many")]
#[case::expectation(get("/").header("expect", "100-go"), 417, "unknown expectation")]
#[case::no_route(to("http://b.test/"), 404, "no host or path matches")]
#[case::required(get("/required"), 426, "this route takes WebSocket handshakes only")]
#[case::missing(get("/missing"), 500, "the backend of this route does not exist")]
#[case::no_endpoint(get("/none"), 503, "the backend has no ready endpoint")]
#[tokio::test]
async fn refused(#[case] request: request::Builder, #[case] status: u16, #[case] details: &str) {
    let backend = raw::backend(raw::ok, Then::Again).await;
    let proxy = proxy::with([
        rule("a.test", "/").to(&[backend.addr]),
        rule("a.test", "/required")
            .mode(UpgradeMode::Require)
            .to(&[backend.addr]),
        rule("a.test", "/missing").missing(),
        rule("a.test", "/none"),
    ]);
    let mut client = connect(proxy.addr).await;
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, status, "{answer:?}");
    let told = answer.header("proxy-status");
    assert!(told.contains(&format!("details=\"{details}")), "{told}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    for name in ["connection", "upgrade"] {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
    }
    assert_eq!(backend.connections(), 0);
    // A refusal ends its stream and nothing else.
    assert_eq!(client.send(get("/")).await.unwrap().status, 200);
}

#[rstest]
#[case::same_host(get("/").header("host", "A.test:80"), "a.test")]
#[case::https(to("https://a.test/"), "a.test")]
#[case::final_dot(to("http://A.TEST./"), "A.TEST.")]
#[tokio::test]
async fn served(#[case] request: request::Builder, #[case] host: &str) {
    let origin = origin::http().await;
    let proxy = proxy::with([rule("a.test", "/").to(&[origin.addr])]);
    let answer = connect(proxy.addr).await.send(request).await.unwrap();
    assert_eq!(answer.status, 200);
    let line = format!("host: {host}");
    assert!(answer.text().lines().any(|seen| seen == line), "{answer:?}");
}

/// h2 answers by itself, before anybody sees the request.
#[tokio::test]
async fn a_header_list_over_16_kib_is_431() {
    let backend = raw::backend(raw::ok, Then::Again).await;
    let proxy = proxy::with([rule("a.test", "/").to(&[backend.addr])]);
    let mut client = connect(proxy.addr).await;
    let large = "y".repeat(17 * 1024);
    let answer = client.send(get("/").header("x", &large)).await;
    match answer {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(backend.connections(), 0);
    assert_eq!(client.send(get("/")).await.unwrap().status, 200);
}
