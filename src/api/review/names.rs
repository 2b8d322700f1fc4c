//! Names as Kubernetes checks them.

use std::net::IpAddr;

/// Longest DNS name (RFC 1123 section 2.1 and Kubernetes).
const MAX_SUBDOMAIN: usize = 253;

/// Longest label of a DNS name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Longest name of a port in a pod or a backend (RFC 6335 section 5.1).
const MAX_PORT_NAME: usize = 15;

pub(super) const SUBDOMAIN_WORDS: &str = "use lower case letters, digits, '-' and '.', with a letter or \
     digit at both ends of each part, at most 253 characters, as in chat.example";
pub(super) const LABEL_WORDS: &str = "use lower case letters, digits and '-', with a letter or digit at both \
     ends, at most 63 characters, as in chat";
pub(super) const SERVICE_WORDS: &str = "use lower case letters, digits and '-', starting with a letter and \
     ending with a letter or digit, at most 63 characters, as in chat";
pub(super) const PORT_NAME_WORDS: &str = "use lower case letters, digits and single '-', at least one letter, \
     at most 15 characters, as in http";
pub(super) const HOST_WORDS: &str = "write a lower case DNS name without port, as in chat.example.com or \
     *.example.com, with '*' only for the whole first label";

fn label_bytes(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| inner(byte) || *byte == b'-')
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
}

/// RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && label_bytes(text)
}

/// RFC 1123 subdomain. As in Kubernetes the length of one label is not limited.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(label_bytes)
}

/// RFC 1035 label, which Services have.
pub(super) fn is_service_name(text: &str) -> bool {
    is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// RFC 6335 service name, which ports of pods and backends have.
pub(super) fn is_port_name(text: &str) -> bool {
    text.len() <= MAX_PORT_NAME
        && label_bytes(text)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--")
}

/// A host of an Ingress: a DNS name, or `*.` and a DNS name, but no address.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    text.len() <= MAX_SUBDOMAIN && is_subdomain(name) && !is_address(text)
}

/// An IPv4 or IPv6 address.
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `domain/path`, as controllers of an `IngressClass` are named.
pub(super) fn is_domain_prefixed_path(text: &str) -> bool {
    let path_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    text.split_once('/').is_some_and(|(domain, path)| {
        is_subdomain(domain) && !path.is_empty() && path.bytes().all(path_byte)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::patterns;

    #[rstest]
    #[case("chat", true, true, true)]
    #[case("chat-v2", true, true, true)]
    #[case("2chat", true, true, false)]
    #[case("chat.example", false, true, false)]
    #[case("", false, false, false)]
    #[case("-chat", false, false, false)]
    #[case("chat-", false, false, false)]
    #[case("Chat", false, false, false)]
    #[case("chat..example", false, false, false)]
    #[case("chat.", false, false, false)]
    #[case("chät", false, false, false)]
    #[case(&"a".repeat(64), false, true, false)]
    #[case(&"a".repeat(254), false, false, false)]
    fn object_names(
        #[case] text: &str,
        #[case] label: bool,
        #[case] subdomain: bool,
        #[case] service: bool,
    ) {
        assert_eq!(is_label(text), label);
        assert_eq!(is_subdomain(text), subdomain);
        assert_eq!(is_service_name(text), service);
    }

    #[rstest]
    #[case("http", true)]
    #[case("ws-2", true)]
    #[case("8080", false)]
    #[case("a--b", false)]
    #[case("a-port-name-that-is-long", false)]
    fn port_names(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(is_port_name(text), valid);
    }

    #[rstest]
    #[case("chat.example.com", true)]
    #[case("*.example.com", true)]
    #[case("*", false)]
    #[case("*.", false)]
    #[case("a.*.example.com", false)]
    #[case("*a.example.com", false)]
    #[case("10.0.0.1", false)]
    #[case("::1", false)]
    #[case("chat.example.com:8080", false)]
    #[case("chat.example.com.", false)]
    #[case("Chat.example.com", false)]
    fn hosts(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(is_host(text), valid);
        let pattern = regex::Regex::new(patterns::HOSTNAME.regex).expect("a regex");
        assert_eq!(pattern.is_match(text), valid, "the schema says otherwise");
    }

    #[rstest]
    #[case("hawser.dev/ingress-controller", true)]
    #[case("hawser.dev", false)]
    #[case("hawser.dev/", false)]
    #[case("Hawser.dev/x", false)]
    #[case("hawser.dev/a b", false)]
    fn controllers(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(is_domain_prefixed_path(text), valid);
    }
}
