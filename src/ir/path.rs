//! The one form of a path: what configured paths and request paths are compared in, what backends get and
//! what logs show. Nothing ever matches one form and forwards another.

use std::{borrow::Cow, fmt::Write};

use super::bytes::alphanumeric_or;

/// Why a path has no normal form. A request with such a path is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathProblem {
    /// RFC 9112 section 3.2.1: origin-form begins with a slash.
    #[error("the path does not start with /")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has a % without two hexadecimal digits after it")]
    BadEscape,
    /// `%2f`: one backend takes it for a separator, the next does not.
    #[error("the path has an encoded slash (%2F)")]
    EncodedSlash,
    /// `\` or `%5c`: some backends take it for a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`: ends the path for code written in C.
    #[error("the path has an encoded NUL (%00)")]
    Nul,
    /// A control, a space, a byte above 0x7f or another character that RFC 3986 section 3.3 requires to be
    /// percent-encoded.
    #[error("the path has a character that must be percent-encoded")]
    IllegalCharacter,
}

/// The normal form of a path (without query): unreserved characters percent-decoded once, other escapes in upper
/// case (RFC 3986 section 6.2.2), characters that browsers send raw percent-encoded, `.` and `..` segments
/// removed (section 5.2.4). `//` stays, since
/// servers differ about it. Normalising twice gives the same as normalising once.
///
/// # Errors
/// When the path has no normal form; see [`PathProblem`].
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, PathProblem> {
    if !raw.starts_with('/') {
        return Err(PathProblem::NotAbsolute);
    }
    let decoded = decode_unreserved(raw)?;
    if has_dot_segment(&decoded) {
        return Ok(Cow::Owned(remove_dot_segments(&decoded)));
    }
    Ok(decoded)
}

/// Whether a segment of the path is `.` or `..`.
fn has_dot_segment(path: &str) -> bool {
    path.contains("/.") && path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn decode_unreserved(raw: &str) -> Result<Cow<'_, str>, PathProblem> {
    if raw.bytes().all(|byte| LITERAL[usize::from(byte)]) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded: Option<String> = None;
    let mut rest = raw.as_bytes();
    let mut at = 0;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            if byte == b'\\' {
                return Err(PathProblem::Backslash);
            } else if is_sent_raw(byte) {
                let decoded =
                    decoded.get_or_insert_with(|| raw.get(..at).unwrap_or_default().to_owned());
                // Infallible for a String.
                let _ = write!(decoded, "%{byte:02X}");
            } else if !LITERAL[usize::from(byte)] {
                return Err(PathProblem::IllegalCharacter);
            } else if let Some(decoded) = &mut decoded {
                decoded.push(char::from(byte));
            }
            rest = tail;
            at += 1;
            continue;
        }
        let (&[high, low], tail) = tail.split_first_chunk().ok_or(PathProblem::BadEscape)?;
        let value = hex(high)
            .zip(hex(low))
            .map(|(high, low)| high * 16 + low)
            .ok_or(PathProblem::BadEscape)?;
        match value {
            b'/' => return Err(PathProblem::EncodedSlash),
            b'\\' => return Err(PathProblem::Backslash),
            0 => return Err(PathProblem::Nul),
            _ => {}
        }
        let clean =
            !is_unreserved(value) && !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
        if decoded.is_none() && !clean {
            decoded = Some(raw.get(..at).unwrap_or_default().to_owned());
        }
        if let Some(decoded) = &mut decoded {
            if is_unreserved(value) {
                decoded.push(char::from(value));
            } else {
                decoded.push('%');
                decoded.push(char::from(high.to_ascii_uppercase()));
                decoded.push(char::from(low.to_ascii_uppercase()));
            }
        }
        rest = tail;
        at += 3;
    }
    Ok(decoded.map_or(Cow::Borrowed(raw), Cow::Owned))
}

/// RFC 3986 section 5.2.4 for an absolute path.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // What the dots stood for is a directory: `/a/..` is `/`, not nothing.
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    out
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand in a path as itself: `pchar` without escapes, and the slash (RFC 3986 section 3.3).
static LITERAL: [bool; 256] = alphanumeric_or(b"-._~/:@!$&'()*+,;=");

/// What RFC 3986 wants percent-encoded, but URLs of browsers may hold raw (WHATWG URL, path percent-encode set)
/// or did not long ago.
fn is_sent_raw(byte: u8) -> bool {
    matches!(
        byte,
        b'|' | b'[' | b']' | b'^' | b'`' | b'{' | b'}' | b'"' | b'<' | b'>'
    )
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", "/")]
    #[case("/ws", "/ws")]
    #[case("/a/../b", "/b")]
    #[case("/a/./b", "/a/b")]
    #[case("/a/..", "/")]
    #[case("/a/.", "/a/")]
    #[case("/a/b/..", "/a/")]
    #[case("/..", "/")]
    #[case("/../../etc", "/etc")]
    #[case("/a/%2e%2E/b", "/b")]
    #[case("/a/.%2e/b", "/b")]
    #[case("/a//b", "/a//b")]
    #[case("//a", "//a")]
    #[case("/a//../b", "/a/b")]
    #[case("/a/...", "/a/...")]
    #[case("/.well-known/x", "/.well-known/x")]
    #[case("/%7euser", "/~user")]
    #[case("/%41%2d%5f", "/A-_")]
    #[case("/caf%c3%a9", "/caf%C3%A9")]
    #[case("/%252e%252e/x", "/%252e%252e/x")]
    #[case("/a|b[0]^{c}", "/a%7Cb%5B0%5D%5E%7Bc%7D")]
    #[case("/%7c|%41", "/%7C%7CA")]
    #[case("/a;x=1,2", "/a;x=1,2")]
    #[case("/a%3bx", "/a%3Bx")]
    #[case("/%0d%0a", "/%0D%0A")]
    fn normal_form(#[case] raw: &str, #[case] normal: &str) {
        assert_eq!(normalize_path(raw).as_deref(), Ok(normal));
    }

    #[rstest]
    #[case("", PathProblem::NotAbsolute)]
    #[case("*", PathProblem::NotAbsolute)]
    #[case("ws", PathProblem::NotAbsolute)]
    #[case("/a%2fb", PathProblem::EncodedSlash)]
    #[case("/a%2Fb", PathProblem::EncodedSlash)]
    #[case("/a%5cb", PathProblem::Backslash)]
    #[case("/a\\b", PathProblem::Backslash)]
    #[case("/a%00", PathProblem::Nul)]
    #[case("/%zz", PathProblem::BadEscape)]
    #[case("/%2", PathProblem::BadEscape)]
    #[case("/%", PathProblem::BadEscape)]
    #[case("/%+1", PathProblem::BadEscape)]
    #[case("/%é", PathProblem::BadEscape)]
    #[case("/é", PathProblem::IllegalCharacter)]
    #[case("/a b", PathProblem::IllegalCharacter)]
    #[case("/a\n", PathProblem::IllegalCharacter)]
    #[case("/a\u{7f}", PathProblem::IllegalCharacter)]
    #[case("/a?b", PathProblem::IllegalCharacter)]
    #[case("/a#b", PathProblem::IllegalCharacter)]
    fn refused(#[case] raw: &str, #[case] problem: PathProblem) {
        assert_eq!(normalize_path(raw), Err(problem));
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        assert!(matches!(normalize_path("/ws/%C3%A9"), Ok(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn idempotent(raw in "/[a-c./%2eE;]{0,24}") {
            if let Ok(once) = normalize_path(&raw) {
                let twice = normalize_path(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                prop_assert!(!has_dot_segment(&once));
                prop_assert!(once.starts_with('/'));
            }
        }

        #[test]
        fn never_panics(raw in ".*") {
            let _ = normalize_path(&raw);
        }
    }
}
