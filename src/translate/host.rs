//! Hosts of rules: lower case, without a final dot, with at most one wildcard label.

use std::net::Ipv4Addr;

use crate::ir::HostPattern;

/// RFC 1035 section 2.3.4.
const MAX_HOST: usize = 253;
/// RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostProblem {
    #[error("a bare * is not a host: leave the host out to take every host")]
    BareWildcard,
    #[error("an IP address is not a host: leave the host out to take every host")]
    Address,
    #[error("a wildcard stands for the whole first label only, as in *.example.com")]
    Wildcard,
    #[error("write a DNS name without port, as in chat.example.com or *.example.com")]
    Name,
}

/// A host or `*.` and a host.
pub(super) fn pattern(raw: &str) -> Result<HostPattern, HostProblem> {
    if raw == "*" {
        return Err(HostProblem::BareWildcard);
    }
    if let Some(suffix) = raw.strip_prefix("*.") {
        return name(suffix).map(|suffix| HostPattern::Wildcard(suffix.into()));
    }
    name(raw).map(|name| HostPattern::Exact(name.into()))
}

/// A DNS name in lower case without final dot.
pub(super) fn name(raw: &str) -> Result<String, HostProblem> {
    let name = raw.strip_suffix('.').unwrap_or(raw).to_ascii_lowercase();
    if name.contains('*') {
        return Err(HostProblem::Wildcard);
    }
    if name.parse::<Ipv4Addr>().is_ok() || name.starts_with('[') || name.matches(':').count() > 1 {
        return Err(HostProblem::Address);
    }
    if name.len() > MAX_HOST || !name.split('.').all(is_label) {
        return Err(HostProblem::Name);
    }
    Ok(name)
}

/// RFC 1123 section 2.1.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("chat.example.com", "chat.example.com")]
    #[case("Chat.Example.COM.", "chat.example.com")]
    #[case("*.example.com", "*.example.com")]
    #[case("*.Example.com.", "*.example.com")]
    #[case("localhost", "localhost")]
    #[case("1a.2b", "1a.2b")]
    fn accepted(#[case] raw: &str, #[case] shown: &str) {
        assert_eq!(pattern(raw).map(|host| host.to_string()), Ok(shown.into()));
    }

    #[rstest]
    #[case("*", HostProblem::BareWildcard)]
    #[case("", HostProblem::Name)]
    #[case(".", HostProblem::Name)]
    #[case("*.", HostProblem::Name)]
    #[case("a..b", HostProblem::Name)]
    #[case("-a.b", HostProblem::Name)]
    #[case("a_b.c", HostProblem::Name)]
    #[case("chat.example.com:8080", HostProblem::Name)]
    #[case("chat.example.com\n}", HostProblem::Name)]
    #[case("café.example", HostProblem::Name)]
    #[case("a.*.b", HostProblem::Wildcard)]
    #[case("*a.b", HostProblem::Wildcard)]
    #[case("*.*.b", HostProblem::Wildcard)]
    #[case("192.0.2.1", HostProblem::Address)]
    #[case("[2001:db8::1]", HostProblem::Address)]
    #[case("2001:db8::1", HostProblem::Address)]
    fn refused(#[case] raw: &str, #[case] problem: HostProblem) {
        assert_eq!(pattern(raw), Err(problem));
    }

    #[test]
    fn too_long_is_refused() {
        assert_eq!(pattern(&"a".repeat(64)), Err(HostProblem::Name));
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(pattern(&long), Err(HostProblem::Name));
    }
}
