//! Which hosts the admin address answers to.
//!
//! A web page may let its own name resolve to 127.0.0.1 and then read whatever listens there (DNS rebinding). Its
//! requests carry that name, so an address that only answers to literals and localhost cannot be read that way.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{Request, header};

/// Whether every host that the request names is an IP address or localhost. No host at all is fine: browsers always
/// send one.
pub(super) fn is_allowed<B>(request: &Request<B>) -> bool {
    let fields = request.headers().get_all(header::HOST).iter();
    let fields = fields.map(|value| value.to_str().unwrap_or("?"));
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    fields.chain(target).all(is_local)
}

fn is_local(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = match authority.find(':') {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let local = name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost");
    local && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_are_allowed() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9100",
            "10.1.2.3:9100",
            "[::1]",
            "[::1]:9100",
            "localhost",
            "LOCALHOST:9100",
            "localhost.",
        ] {
            assert!(is_local(host), "{host}");
        }
    }

    #[test]
    fn names_are_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:9100",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:80@evil.example",
            "localhost:x",
            "[::1",
            "[::1]evil",
            "[evil]",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn every_host_of_a_request_counts() {
        let request = |target: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(target);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            request.body(()).expect("a request")
        };
        assert!(is_allowed(&request("/", &[])));
        assert!(is_allowed(&request("/", &["localhost"])));
        assert!(!is_allowed(&request("/", &["localhost", "evil.example"])));
        assert!(!is_allowed(&request(
            "http://evil.example/",
            &["localhost"]
        )));
    }
}
