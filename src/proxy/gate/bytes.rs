//! Classes of bytes in a head (RFC 9110 section 5.6, RFC 3986).

use super::Refusal;
use crate::ir;

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = ir::alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// Whether all bytes may stand in a field value: no control but the tab. Without branches, so that it is
/// done on many bytes at a time.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    let bad = |byte: u8| byte == 0x7f || (byte < b' ' && byte != b'\t');
    bytes.iter().fold(0, |any, &byte| any | u8::from(bad(byte))) == 0
}

/// Names the first control in a line that [`is_value`] does not accept.
pub(super) fn control_in(line: &[u8]) -> Refusal {
    let first = line
        .iter()
        .find(|&&byte| byte.is_ascii_control() && byte != b'\t');
    match first {
        Some(b'\r') => Refusal::BareCr,
        _ => Refusal::Control,
    }
}

/// What a path may contain raw. A little more than RFC 3986: the rest is judged on the normalised path.
pub(super) const fn is_path(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>' | b'?' | b'`')
}

/// What a query may contain raw: browsers leave much unescaped.
pub(super) const fn is_query(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'#' | b'<' | b'>')
}

/// Without the optional white space around a field value.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
