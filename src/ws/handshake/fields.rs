//! Field values as lists of tokens (RFC 9110 section 5.6) and extensions (RFC 6455 section 9.1).

use http::{HeaderMap, HeaderName};

/// The elements of a list field over all its lines, trimmed; empty ones are skipped, as RFC 9110
/// section 5.6.1.2 asks of a recipient.
pub(super) fn elements<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Without optional whitespace (RFC 9110 section 5.6.3) at both ends.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let ows = |b: &u8| *b == b' ' || *b == b'\t';
    let start = value.iter().position(|b| !ows(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !ows(b)).map_or(start, |i| i + 1);
    value.get(start..end).unwrap_or_default()
}

/// The value as text if it is a token (RFC 9110 section 5.6.2).
pub(super) fn token(value: &[u8]) -> Option<&str> {
    if value.is_empty() || !value.iter().copied().all(is_token_byte) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Adds the lower-case names of the extensions of one field line. `None` when the line is malformed.
///
/// A quoted parameter must be a token once it is unquoted (RFC 6455 section 9.1), so a comma or
/// semicolon inside of quotes is an error and the line can be cut at them without a look at quotes.
pub(super) fn extension_names(line: &[u8], names: &mut Vec<String>) -> Option<()> {
    for element in line.split(|b| *b == b',').map(trim) {
        if element.is_empty() {
            continue;
        }
        let mut parts = element.split(|b| *b == b';').map(trim);
        let name = token(parts.next()?)?;
        for parameter in parts {
            check_parameter(parameter)?;
        }
        names.push(name.to_ascii_lowercase());
    }
    Some(())
}

/// `token [ "=" ( token / quoted-string ) ]`.
fn check_parameter(parameter: &[u8]) -> Option<()> {
    let mut halves = parameter.splitn(2, |b| *b == b'=');
    token(trim(halves.next()?))?;
    match halves.next().map(trim) {
        None => Some(()),
        Some([b'"', quoted @ .., b'"']) => check_quoted(quoted),
        Some(value) => token(value).map(|_| ()),
    }
}

/// What stands between the quotes: token characters, each with or without a backslash.
fn check_quoted(quoted: &[u8]) -> Option<()> {
    let mut bytes = quoted.iter().copied();
    let mut empty = true;
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'\\' { bytes.next()? } else { byte };
        if !is_token_byte(byte) {
            return None;
        }
        empty = false;
    }
    (!empty).then_some(())
}
