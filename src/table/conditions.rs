//! What a candidate asks of a request besides its path.

use crate::ir;

use super::Request;

/// Conditions of a candidate. Most candidates have none, so they live behind one pointer.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) headers: Box<[ir::HeaderMatch]>,
    pub(super) query: Box<[ir::QueryMatch]>,
}

impl Conditions {
    pub(super) fn of(candidate: &ir::Candidate) -> Option<Box<Self>> {
        if candidate.headers.is_empty() && candidate.query.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            headers: candidate.headers.as_slice().into(),
            query: candidate.query.as_slice().into(),
        }))
    }

    pub(super) fn hold(&self, request: &impl Request) -> bool {
        self.headers
            .iter()
            .all(|header| request.has_header(&header.name, &header.value))
            && (self.query.is_empty() || {
                let query = request.query().unwrap_or_default();
                self.query
                    .iter()
                    .all(|wanted| has_parameter(query, &wanted.name, &wanted.value))
            })
    }
}

/// Whether the first parameter called `name` has this value (Gateway API: of a repeated parameter the first
/// counts).
///
/// The query is read as browsers write it, `application/x-www-form-urlencoded` (WHATWG URL section 5.1): pairs
/// between `&`, `+` is a space, `%XX` is a byte, a `%` without two hex digits stands for itself. So a rule
/// sees the value that the application behind it sees.
fn has_parameter(query: &str, name: &str, value: &str) -> bool {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(raw, _)| decoded(raw).eq(name.bytes()))
        .is_some_and(|(_, raw)| decoded(raw).eq(value.bytes()))
}

fn decoded(raw: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            return Some(high << 4 | low);
        }
        let (first, tail) = rest.split_first()?;
        rest = tail;
        Some(if *first == b'+' { b' ' } else { *first })
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::has_parameter;

    #[test]
    fn parameters_are_read_as_browsers_write_them() {
        for (query, name, value, expected) in [
            ("v=2", "v", "2", true),
            ("v=2", "V", "2", false),
            ("v=2", "v", "", false),
            ("a=1&v=2&b=3", "v", "2", true),
            ("v=1&v=2", "v", "2", false),
            ("v", "v", "", true),
            ("v=", "v", "", true),
            ("v=a=b", "v", "a=b", true),
            ("v=a%20b", "v", "a b", true),
            ("v=a+b", "v", "a b", true),
            ("v=a%2Bb", "v", "a+b", true),
            ("v=a+b", "v", "a+b", false),
            ("%76=2", "v", "2", true),
            ("v=100%", "v", "100%", true),
            ("v=%4", "v", "%4", true),
            ("v=%zz", "v", "%zz", true),
            ("v=%C3%A4", "v", "ä", true),
            ("v=%FF", "v", "ÿ", false),
            ("", "v", "", false),
            ("&&=&", "", "", true),
        ] {
            assert_eq!(
                has_parameter(query, name, value),
                expected,
                "{query:?} asked for {name}={value}"
            );
        }
    }
}
