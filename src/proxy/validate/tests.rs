use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("EXAMPLE.com", "example.com")]
#[case("example.com.", "example.com")]
#[case("example.com:443", "example.com")]
#[case("Example.COM.:8080", "example.com")]
#[case("xn--bcher-kva.example", "xn--bcher-kva.example")]
#[case("localhost", "localhost")]
#[case("my_service.default", "my_service.default")]
#[case("127.0.0.1:80", "127.0.0.1")]
#[case("[::1]", "[::1]")]
#[case("[2001:DB8:0::1]:8080", "[2001:db8::1]")]
fn good_hosts(#[case] raw: &str, #[case] normal: &str) {
    assert_eq!(host(raw).as_deref(), Ok(normal));
}

#[rstest]
#[case("", Invalid::Empty)]
#[case(".", Invalid::Empty)]
#[case(":80", Invalid::Empty)]
#[case("a@b", Invalid::Userinfo)]
#[case("a, b", Invalid::Character)]
#[case("a,b", Invalid::Character)]
#[case("a/b", Invalid::Character)]
#[case("a b", Invalid::Character)]
#[case("a%2eb", Invalid::Character)]
#[case("*.example.com", Invalid::Character)]
#[case("bücher.example", Invalid::Character)]
#[case("a..b", Invalid::Label)]
#[case("a..", Invalid::Label)]
#[case(".a", Invalid::Label)]
#[case("a:", Invalid::Port)]
#[case("a:0", Invalid::Port)]
#[case("a:99999", Invalid::Port)]
#[case("a:+80", Invalid::Port)]
#[case("a:80:80", Invalid::Port)]
#[case("::1", Invalid::Empty)]
#[case("[::1", Invalid::Ipv6)]
#[case("[::1]x", Invalid::Ipv6)]
#[case("[::1]80", Invalid::Ipv6)]
#[case("[fe80::1%eth0]", Invalid::Ipv6)]
#[case("[127.0.0.1]", Invalid::Ipv6)]
#[case("[]", Invalid::Ipv6)]
#[case("[::1]:", Invalid::Port)]
fn bad_hosts(#[case] raw: &str, #[case] problem: Invalid) {
    assert_eq!(host(raw), Err(problem));
}

#[test]
fn long_hosts() {
    let label = "a".repeat(63);
    assert!(host(&label).is_ok());
    assert_eq!(host(&format!("{label}a")), Err(Invalid::Label));
    let name = [&label[..], &label, &label, &label[2..]].join(".");
    assert_eq!(name.len(), 253);
    assert!(host(&name).is_ok());
    assert_eq!(host(&format!("{name}b")), Err(Invalid::Label));
}

#[rstest]
#[case("a", "A:80", true)]
#[case("a.", "a", true)]
#[case("a:8080", "a", false)]
#[case("a", "b", false)]
#[case("[::1]", "[0::1]:80", true)]
#[case("[::1]", "a", false)]
fn sameness(#[case] one: &str, #[case] two: &str, #[case] same: bool) {
    let parse = |raw: &'static str| authority(raw.as_bytes());
    let (one, two) = (one.to_owned().leak(), two.to_owned().leak());
    assert_eq!(parse(one).unwrap().same(&parse(two).unwrap()), same);
}

#[rstest]
#[case("/", Some("a.example"), Some("a.example"))]
#[case("http://B.example:80/", Some("b.example"), Some("b.example"))]
#[case("http://b.example/", None, Some("b.example"))]
#[case("/", None, Some(""))]
#[case("/", Some("a@b"), None)]
fn hosts_of_requests(
    #[case] target: &str,
    #[case] field: Option<&str>,
    #[case] expected: Option<&str>,
) {
    let mut request = http::Request::get(target);
    if let Some(field) = field {
        request = request.header(header::HOST, field);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(request_host(&parts).ok().as_deref(), expected);
}

#[test]
fn paths() {
    assert_eq!(path("/a/./%7Eb").as_deref(), Ok("/a/~b"));
    let problem = ir::PathProblem::EncodedSlash;
    assert_eq!(path("/a%2fb"), Err(Invalid::Path(problem)));
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(raw in "\\[?[A-Ca-c0-9.:]{0,12}\\]?(:[0-9]{0,6})?") {
        if let Ok(once) = host(&raw) {
            let twice = host(&once);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
            prop_assert!(!once.ends_with('.'));
            prop_assert!(!once.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
    }

    #[test]
    fn any_text(raw in ".*") {
        let _ = host(&raw);
    }
}
