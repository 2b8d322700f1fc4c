//! Host and the authority of a target.

use rstest::rstest;

use super::kit::{refused, served};

const NONE: &str = "there is no Host field";
const SEVERAL: &str = "there are several Host fields";
const MISMATCH: &str = "the Host field and the request target name different hosts";
const EMPTY: &str = "the Host field: it is empty";
const CHARACTER: &str = "the Host field: it has a character that is not in host names";
const PORT: &str = "the Host field: its port is not a number";
const IPV6: &str = "the Host field: it is not an IPv6 address";
const LABEL: &str = "the Host field: it is too long or has an empty";
const USER: &str = "the host in the request target: it has a user name";
const SCHEME: &str = "the request target has a scheme other than http";

#[rstest]
// The field alone.
#[case("/", "x: y", NONE)]
#[case("/", "Host: a\r\nHost: b", SEVERAL)]
#[case("/", "Host: a\r\nhost: a", SEVERAL)]
#[case("/", "Host:", EMPTY)]
#[case("/", "Host: a, b", CHARACTER)]
#[case("/", "Host: a/b", CHARACTER)]
#[case("/", "Host: a b", CHARACTER)]
#[case("/", "Host: b\u{fc}cher.example", CHARACTER)]
#[case("/", "Host: a%00", CHARACTER)]
#[case("/", "Host: a?b", CHARACTER)]
#[case("/", "Host: http://a", PORT)]
#[case("/", "Host: a@b", "the Host field: it has a user name")]
#[case("/", "Host: a:99999", PORT)]
#[case("/", "Host: a:http", PORT)]
#[case("/", "Host: a:", PORT)]
#[case("/", "Host: [::1", IPV6)]
#[case("/", "Host: [::x]", IPV6)]
#[case("/", "Host: [::1]a", IPV6)]
#[case("/", "Host: a..b", LABEL)]
#[case("/", "Host: ..", LABEL)]
#[case("/", "Host: .", EMPTY)]
// Absolute-form.
#[case("http://b/", "Host: a", MISMATCH)]
#[case("http://a:81/", "Host: a", MISMATCH)]
#[case("http://a/", "x: y", NONE)]
#[case("http://u@a/", "Host: a", USER)]
#[case("http://u:p@a/", "Host: a", USER)]
#[case("http:///x", "Host: a", "the host in the request target: it is empty")]
#[case("ws://a/", "Host: a", SCHEME)]
#[case("https://a/", "Host: a", SCHEME)]
#[case("file:///x", "Host: a", SCHEME)]
#[tokio::test]
async fn bad(#[case] target: &str, #[case] field: &str, #[case] details: &str) {
    let bytes = format!("GET {target} HTTP/1.1\r\n{field}\r\n\r\n");
    refused(bytes.as_bytes(), 400, details).await;
}

#[rstest]
// One form.
#[case("/", "EXAMPLE.com", "GET example.com /")]
#[case("/", "example.com.", "GET example.com /")]
#[case("/", "example.com:443", "GET example.com /")]
#[case("/", "Example.com.:8080", "GET example.com /")]
#[case("/", "xn--bcher-kva.example", "GET xn--bcher-kva.example /")]
#[case("/", "[2001:DB8::1]:8080", "GET [2001:db8::1] /")]
#[case("/", "127.0.0.1:80", "GET 127.0.0.1 /")]
// Absolute-form.
#[case("http://A.example:80/x?y", "a.EXAMPLE.", "GET a.example /x?y")]
#[case("HTTP://a", "a", "GET a /")]
#[tokio::test]
async fn good(#[case] target: &str, #[case] host: &str, #[case] seen: &str) {
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(served(bytes.as_bytes(), 1).await, [seen]);
}
