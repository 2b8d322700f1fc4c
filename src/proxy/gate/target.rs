//! The request target (RFC 9112 section 3.2): a path, or an http URI whose host is checked against Host.

use std::ops::Range;

use super::{Refusal, bytes};
use crate::proxy::validate;

const SCHEME: &[u8] = b"http://";

/// Checks a target. For absolute-form the place of its authority comes back.
pub(super) fn check(target: &[u8], longest: usize) -> Result<Option<Range<usize>>, Refusal> {
    if target.len() > longest {
        return Err(Refusal::TargetTooLong);
    }
    if target.contains(&b'#') {
        return Err(Refusal::Fragment);
    }
    if target.first() == Some(&b'/') {
        path_and_query(target)?;
        return Ok(None);
    }
    let (scheme, rest) = target.split_at(target.len().min(SCHEME.len()));
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        let other = target.windows(3).any(|three| three == b"://");
        return Err(if other {
            Refusal::Scheme
        } else {
            Refusal::TargetForm
        });
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    validate::authority(authority).map_err(Refusal::Authority)?;
    path_and_query(path)?;
    // What hyper would not parse it would answer itself.
    if http::Uri::try_from(target).is_err() {
        return Err(Refusal::TargetForm);
    }
    Ok(Some(scheme.len()..scheme.len() + authority.len()))
}

/// Checks the characters of a path and a query.
pub(in crate::proxy) fn path_and_query(target: &[u8]) -> Result<(), Refusal> {
    let query = target.iter().position(|&byte| !bytes::is_path(byte));
    let (_, query) = target.split_at(query.unwrap_or(target.len()));
    match query.split_first() {
        None => Ok(()),
        Some((b'?', query)) if query.iter().all(|&byte| bytes::is_query(byte)) => Ok(()),
        Some(_) => Err(Refusal::TargetCharacter),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::proxy::validate::Invalid;

    #[rstest]
    #[case(b"/", None)]
    #[case(b"/a?b=c?d", None)]
    #[case(b"/a?\"", Some(Refusal::TargetCharacter))]
    #[case(b"/a?{}|^`[]", None)]
    #[case(b"/caf\xc3\xa9", Some(Refusal::TargetCharacter))]
    #[case(b"/a?\xff", Some(Refusal::TargetCharacter))]
    #[case(b"/a<", Some(Refusal::TargetCharacter))]
    #[case(b"/a#b", Some(Refusal::Fragment))]
    #[case(b"/a?b#c", Some(Refusal::Fragment))]
    #[case(b"*", Some(Refusal::TargetForm))]
    #[case(b"x", Some(Refusal::TargetForm))]
    #[case(b"?x", Some(Refusal::TargetForm))]
    #[case(b"a.example:80", Some(Refusal::TargetForm))]
    #[case(b"ws://a/", Some(Refusal::Scheme))]
    #[case(b"https://a/", Some(Refusal::Scheme))]
    #[case(b"http:/a", Some(Refusal::TargetForm))]
    #[case(b"http://", Some(Refusal::Authority(Invalid::Empty)))]
    #[case(b"http:///x", Some(Refusal::Authority(Invalid::Empty)))]
    #[case(b"http://u@a/", Some(Refusal::Authority(Invalid::Userinfo)))]
    #[case(b"http://a:b/", Some(Refusal::Authority(Invalid::Port)))]
    #[case(b"http://a/<", Some(Refusal::TargetCharacter))]
    fn forms(#[case] target: &[u8], #[case] refusal: Option<Refusal>) {
        assert_eq!(check(target, 64).err(), refusal);
    }

    #[rstest]
    #[case(b"http://a/x", 7..8)]
    #[case(b"HTTP://a", 7..8)]
    #[case(b"http://a?x", 7..8)]
    #[case(b"http://[::1]:80/", 7..15)]
    fn absolute(#[case] target: &[u8], #[case] authority: Range<usize>) {
        assert_eq!(check(target, 64), Ok(Some(authority)));
    }

    #[test]
    fn length() {
        assert_eq!(check(b"/234", 4), Ok(None));
        assert_eq!(check(b"/2345", 4), Err(Refusal::TargetTooLong));
    }

    proptest! {
        #[test]
        fn hyper_parses_what_passes(target in "(/|http://a)[ -~]{0,12}") {
            if check(target.as_bytes(), 64).is_ok() {
                prop_assert!(target.parse::<http::Uri>().is_ok());
            }
        }
    }
}
