//! One field line (RFC 9112 section 5).

use super::{Refusal, bytes};

/// A field line without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// A token without underscore, in the client's case.
    pub(super) name: &'a [u8],
    /// Without the white space around it.
    pub(super) value: &'a [u8],
}

/// Takes a field line apart.
pub(super) fn parse(line: &[u8]) -> Result<Field<'_>, Refusal> {
    let end = line.iter().position(|&byte| !bytes::is_token(byte));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let Some((&mark, value)) = rest.split_first() else {
        return Err(Refusal::NoColon);
    };
    if mark != b':' || name.is_empty() {
        return Err(bad_name(line, name, mark));
    }
    if name.contains(&b'_') {
        return Err(Refusal::Underscore);
    }
    if !bytes::is_value(value) {
        return Err(bytes::control_in(value));
    }
    let value = bytes::trim(value);
    Ok(Field { name, value })
}

/// Says what is wrong with a line that is not a token and a colon.
fn bad_name(line: &[u8], name: &[u8], mark: u8) -> Refusal {
    if mark.is_ascii_control() && mark != b'\t' {
        return bytes::control_in(line);
    }
    let white = matches!(mark, b' ' | b'\t');
    match (name.is_empty(), white) {
        (true, true) => Refusal::Fold,
        (true, false) if mark == b':' => Refusal::EmptyName,
        _ if !line.contains(&b':') => Refusal::NoColon,
        (false, true) => Refusal::SpaceBeforeColon,
        _ => Refusal::FieldName,
    }
}

/// Whether a comma-separated list has the token, in any case.
pub(super) fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| bytes::trim(item).eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"Host: a", b"Host", b"a")]
    #[case(b"a:", b"a", b"")]
    #[case(b"a:\t b\t c \t", b"a", b"b\t c")]
    #[case(b"x: caf\xc3\xa9", b"x", b"caf\xc3\xa9")]
    #[case(b"x:y:z", b"x", b"y:z")]
    fn good(#[case] line: &[u8], #[case] name: &[u8], #[case] value: &[u8]) {
        assert_eq!(parse(line), Ok(Field { name, value }));
    }

    #[rstest]
    #[case(b" a: b", Refusal::Fold)]
    #[case(b"\ta: b", Refusal::Fold)]
    #[case(b"a : b", Refusal::SpaceBeforeColon)]
    #[case(b"a\t: b", Refusal::SpaceBeforeColon)]
    #[case(b": b", Refusal::EmptyName)]
    #[case(b"ab", Refusal::NoColon)]
    #[case(b"a b", Refusal::NoColon)]
    #[case(b"a(b: c", Refusal::FieldName)]
    #[case(b"caf\xc3\xa9: c", Refusal::FieldName)]
    #[case(b"a_b: c", Refusal::Underscore)]
    #[case(b"a\0: c", Refusal::Control)]
    #[case(b"a: b\0c", Refusal::Control)]
    #[case(b"a: b\x7fc", Refusal::Control)]
    #[case(b"a: b\rc", Refusal::BareCr)]
    #[case(b"a\r: c", Refusal::BareCr)]
    #[case(b"\x0ba: c", Refusal::Control)]
    fn bad(#[case] line: &[u8], #[case] refusal: Refusal) {
        assert_eq!(parse(line), Err(refusal));
    }

    #[test]
    fn tokens() {
        assert!(has_token(b"keep-alive, Upgrade", b"upgrade"));
        assert!(has_token(b"upgrade", b"upgrade"));
        assert!(!has_token(b"upgrades", b"upgrade"));
        assert!(!has_token(b"", b"upgrade"));
    }
}
