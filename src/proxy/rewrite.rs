//! The target towards the backend.

use http::uri::PathAndQuery;

use crate::ir;

/// The path and query that the backend sees: the normalised path, with what `matched` took of it replaced
/// by `prefix`, and the query as the client sent it. `None` when that is no valid target.
///
/// A `Prefix` is replaced element by element: `/api` to `/v1` makes `/api/x` to `/v1/x`, and to `/` makes
/// it `/x`. An `Exact` path is replaced as a whole. A `Regex` or a `defaultBackend` has nothing to replace.
pub(super) fn target(
    path: &str,
    query: Option<&str>,
    matched: Option<&ir::PathMatch>,
    prefix: Option<&str>,
) -> Option<PathAndQuery> {
    let mut target = String::with_capacity(path.len() + query.map_or(0, str::len) + 16);
    match (matched, prefix) {
        (Some(ir::PathMatch::Exact(_)), Some(new)) => target.push_str(new),
        (Some(ir::PathMatch::Prefix(old)), Some(new)) => {
            let rest = path
                .strip_prefix(old.trim_end_matches('/'))
                .unwrap_or_default();
            target.push_str(if rest.is_empty() {
                new
            } else {
                new.trim_end_matches('/')
            });
            target.push_str(rest);
        }
        _ => target.push_str(path),
    }
    if target.is_empty() {
        target.push('/');
    }
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::try_from(target).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api", "/v1", "/api/x", "/v1/x")]
    #[case("/api", "/v1/", "/api/x", "/v1/x")]
    #[case("/api", "/v1", "/api", "/v1")]
    #[case("/api", "/v1", "/api/", "/v1/")]
    #[case("/api", "/", "/api/x", "/x")]
    #[case("/api", "/", "/api", "/")]
    #[case("/api", "/", "/api/", "/")]
    #[case("/", "/v1", "/x", "/v1/x")]
    #[case("/", "/", "/x", "/x")]
    #[case("/", "/v1", "/", "/v1/")]
    fn a_prefix_is_replaced_by_elements(
        #[case] old: &str,
        #[case] new: &str,
        #[case] path: &str,
        #[case] expected: &str,
    ) {
        let matched = ir::PathMatch::Prefix(old.into());
        let target = target(path, Some("a=b"), Some(&matched), Some(new)).unwrap();
        assert_eq!(target, format!("{expected}?a=b").as_str());
    }

    #[test]
    fn an_exact_path_is_replaced_whole() {
        let matched = ir::PathMatch::Exact("/a/b".into());
        assert_eq!(
            target("/a/b", None, Some(&matched), Some("/c")).unwrap(),
            "/c"
        );
    }

    #[test]
    fn nothing_else_is_replaced() {
        let matched = ir::PathMatch::Regex("/a/.*".into());
        assert_eq!(
            target("/a/b", None, Some(&matched), Some("/c")).unwrap(),
            "/a/b"
        );
        assert_eq!(target("/a/b", None, None, Some("/c")).unwrap(), "/a/b");
        let matched = ir::PathMatch::Prefix("/a".into());
        assert_eq!(
            target("/a/b", Some(""), Some(&matched), None).unwrap(),
            "/a/b?"
        );
    }
}
