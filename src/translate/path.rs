//! Paths of rules, in the form that request paths are compared in.

use std::{borrow::Cow, fmt::Write as _};

use crate::ir::{self, PathMatch, PathProblem};

/// Longest path, pattern or prefix (the schema's limit).
const MAX_PATH: usize = 1024;

/// Why a path cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("{0}")]
    Path(#[from] PathProblem),
    #[error("the path has a control character")]
    Control,
    #[error("the path has ? or #; it ends before the query, which has queryParams")]
    Query,
    #[error("the path has a . or .. segment, which requests never have")]
    DotSegment,
    #[error("the path has an empty segment (//)")]
    EmptySegment,
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    #[error("no regular expression that can be run in linear time: {0}")]
    Regex(String),
}

/// The whole path.
pub(super) fn exact(raw: &str) -> Result<PathMatch, Problem> {
    Ok(PathMatch::Exact(literal(raw)?.into()))
}

/// Element-wise; a final slash means nothing.
pub(super) fn prefix(raw: &str) -> Result<PathMatch, Problem> {
    let path = literal(raw)?;
    match path.strip_suffix('/') {
        None => Ok(PathMatch::Prefix(path.into())),
        Some("") => Ok(PathMatch::Prefix("/".into())),
        Some(shorter) => Ok(PathMatch::Prefix(shorter.into())),
    }
}

/// A linear-time expression for the whole path. It is only checked here; the table compiles it again.
pub(super) fn regex(raw: &str) -> Result<PathMatch, Problem> {
    if raw.len() > MAX_PATH {
        return Err(Problem::TooLong);
    }
    // Checked on its own first: `a)(b` only parses inside the group that anchors it.
    let compile = |pattern: &str| {
        regex::RegexBuilder::new(pattern)
            .size_limit(ir::REGEX_SIZE_LIMIT)
            .build()
            .map_err(|error| Problem::Regex(last_line(&error.to_string())))
    };
    compile(raw)?;
    // As the table compiles it. A comment at the end of a verbose pattern swallows the bracket.
    compile(&format!("^(?:{raw})$"))?;
    Ok(PathMatch::Regex(raw.into()))
}

/// A path as it is written in a manifest, in normal form.
pub(super) fn literal(raw: &str) -> Result<String, Problem> {
    if raw.len() > MAX_PATH {
        return Err(Problem::TooLong);
    }
    if raw.contains(['?', '#']) {
        return Err(Problem::Query);
    }
    if raw.chars().any(char::is_control) {
        return Err(Problem::Control);
    }
    if raw.split('/').any(is_dot_segment) {
        return Err(Problem::DotSegment);
    }
    // Refused by the API server as well.
    if raw.contains("//") {
        return Err(Problem::EmptySegment);
    }
    let encoded = encode(raw);
    Ok(ir::normalize_path(&encoded)?.into_owned())
}

/// `.` and `..`, whatever their encoding: a manifest that says so means something else than it matches.
fn is_dot_segment(segment: &str) -> bool {
    let decoded = segment.replace("%2e", ".").replace("%2E", ".");
    matches!(&*decoded, "." | "..")
}

/// Percent-encodes what clients percent-encode, so that `/café` in a manifest takes `/caf%C3%A9`.
fn encode(raw: &str) -> Cow<'_, str> {
    let must = |byte: u8| {
        byte >= 0x80
            || matches!(
                byte,
                b' ' | b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
    };
    if !raw.bytes().any(must) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len() + 8);
    for byte in raw.bytes() {
        if must(byte) {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
    Cow::Owned(out)
}

/// The reason without the drawing around it.
fn last_line(error: &str) -> String {
    let line = error.lines().next_back().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", "/")]
    #[case("/ws", "/ws")]
    #[case("/ws/", "/ws")]
    #[case("/caf%c3%a9", "/caf%C3%A9")]
    #[case("/café", "/caf%C3%A9")]
    #[case("/a b", "/a%20b")]
    #[case("/%7Euser", "/~user")]
    fn prefixes(#[case] raw: &str, #[case] value: &str) {
        assert_eq!(prefix(raw), Ok(PathMatch::Prefix(value.into())));
    }

    #[test]
    fn exact_keeps_the_final_slash() {
        assert_eq!(exact("/ws/"), Ok(PathMatch::Exact("/ws/".into())));
    }

    #[rstest]
    #[case("", Problem::Path(PathProblem::NotAbsolute))]
    #[case("ws", Problem::Path(PathProblem::NotAbsolute))]
    #[case("/a/../b", Problem::DotSegment)]
    #[case("/a/%2e%2E", Problem::DotSegment)]
    #[case("/a/.", Problem::DotSegment)]
    #[case("/a%2fb", Problem::Path(PathProblem::EncodedSlash))]
    #[case("/a%zz", Problem::Path(PathProblem::BadEscape))]
    #[case("/a?b=c", Problem::Query)]
    #[case("/a#b", Problem::Query)]
    #[case("/a\n}", Problem::Control)]
    #[case("/a\\b", Problem::Path(PathProblem::Backslash))]
    #[case("/a//", Problem::EmptySegment)]
    #[case("/a//b", Problem::EmptySegment)]
    #[case("//", Problem::EmptySegment)]
    fn refused(#[case] raw: &str, #[case] problem: Problem) {
        assert_eq!(prefix(raw), Err(problem));
    }

    #[rstest]
    #[case("/a+")]
    #[case("/(a+)+$")]
    #[case("/v[0-9]+/.*")]
    #[case("(?x) /a # the first\n")]
    fn expressions(#[case] raw: &str) {
        assert_eq!(regex(raw), Ok(PathMatch::Regex(raw.into())));
    }

    #[rstest]
    #[case("/(")]
    #[case("/a)(b")]
    #[case("/(?=a)")]
    #[case("/(a)\\1")]
    #[case("/((a{100}){100}){100}")]
    #[case("(?x) /a # the first")]
    fn bad_expressions(#[case] raw: &str) {
        assert!(matches!(regex(raw), Err(Problem::Regex(_))));
    }

    #[test]
    fn long_ones_are_refused() {
        let long = format!("/{}", "a".repeat(MAX_PATH));
        assert_eq!(exact(&long), Err(Problem::TooLong));
        assert_eq!(regex(&long), Err(Problem::TooLong));
    }
}
