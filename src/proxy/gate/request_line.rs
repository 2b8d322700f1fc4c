//! The first line of a head (RFC 9112 section 3).

use std::ops::Range;

use super::{Refusal, bytes, target};

/// Longest method. The longest registered one has 17 characters.
pub(in crate::proxy) const METHOD_BYTES: usize = 32;

/// What the rest of the head depends on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    /// HTTP/1.0 instead of HTTP/1.1.
    pub(super) http10: bool,
    /// Where in the line the authority of an absolute-form target is.
    pub(super) authority: Option<Range<usize>>,
}

/// Longest line that can be good, CRLF included.
pub(super) fn longest(target_bytes: usize) -> usize {
    METHOD_BYTES + 1 + target_bytes + 1 + b"HTTP/1.1\r\n".len()
}

/// Says what is too long in a line that is longer than [`longest`].
pub(super) fn too_long(line: &[u8]) -> Refusal {
    if line.iter().take(METHOD_BYTES + 1).any(|&byte| byte == b' ') {
        Refusal::TargetTooLong
    } else {
        Refusal::Method
    }
}

/// Checks the line without its CRLF.
pub(super) fn parse(line: &[u8], target_bytes: usize) -> Result<RequestLine, Refusal> {
    if !bytes::is_value(line) {
        return Err(bytes::control_in(line));
    }
    if line.contains(&b'\t') {
        return Err(Refusal::RequestLine);
    }
    let mut parts = line.split(|&byte| byte == b' ');
    let method = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    let version = parts.next();
    if method.is_empty() || target.is_empty() || parts.next().is_some() {
        return Err(Refusal::RequestLine);
    }
    if method.len() > METHOD_BYTES || !method.iter().all(|&byte| bytes::is_token(byte)) {
        return Err(Refusal::Method);
    }
    let http10 = match version.ok_or(Refusal::VersionSyntax)? {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::VersionSyntax),
    };
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Refusal::MethodRefused);
    }
    let offset = method.len() + 1;
    let authority = target::check(target, target_bytes)?
        .map(|authority| authority.start + offset..authority.end + offset);
    Ok(RequestLine { http10, authority })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"GET / HTTP/1.1", false)]
    #[case(b"get /x?y=z HTTP/1.0", true)]
    #[case(b"M-SEARCH /x HTTP/1.1", false)]
    fn good(#[case] line: &[u8], #[case] http10: bool) {
        let authority = None;
        assert_eq!(parse(line, 64), Ok(RequestLine { http10, authority }));
    }

    #[test]
    fn finds_the_authority() {
        let line = b"GET http://a.example:80/x HTTP/1.1";
        let found = parse(line, 64).ok().and_then(|line| line.authority);
        assert_eq!(found, Some(11..23));
        assert_eq!(line.get(11..23), Some(&b"a.example:80"[..]));
    }

    #[rstest]
    #[case(b"GET  / HTTP/1.1", Refusal::RequestLine)]
    #[case(b"GET /  HTTP/1.1", Refusal::RequestLine)]
    #[case(b"GET / HTTP/1.1 ", Refusal::RequestLine)]
    #[case(b"GET\t/ HTTP/1.1", Refusal::RequestLine)]
    #[case(b"GET / x HTTP/1.1", Refusal::RequestLine)]
    #[case(b"GET", Refusal::RequestLine)]
    #[case(b"GET /", Refusal::VersionSyntax)]
    #[case(b"GET / http/1.1", Refusal::VersionSyntax)]
    #[case(b"GET / HTTP/11", Refusal::VersionSyntax)]
    #[case(b"GET / HTTP/1.10", Refusal::VersionSyntax)]
    #[case(b"GET / HTTP/1.2", Refusal::Version)]
    #[case(b"GET / HTTP/0.9", Refusal::Version)]
    #[case(b"PRI * HTTP/2.0", Refusal::Version)]
    #[case(b"CONNECT a:443 HTTP/1.1", Refusal::MethodRefused)]
    #[case(b"TRACE / HTTP/1.1", Refusal::MethodRefused)]
    #[case(b"G(T / HTTP/1.1", Refusal::Method)]
    #[case(b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", Refusal::Method)]
    #[case(b"GET /\0 HTTP/1.1", Refusal::Control)]
    #[case(b"GET /\r HTTP/1.1", Refusal::BareCr)]
    fn bad(#[case] line: &[u8], #[case] refusal: Refusal) {
        assert_eq!(parse(line, 64), Err(refusal));
    }
}
