//! Which route takes a request, read off the configuration as the contract words it: slow and plain, to compare
//! others with.

use std::sync::Arc;

use hawser::ir::{Config, HostPattern, PathMatch, Route, Traffic};

/// A request, as far as routing looks at it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) handshake: bool,
}

/// Where a request ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hit {
    /// The host whose routes were asked; `None` where nobody names it.
    pub(super) host: Option<HostPattern>,
    /// The path that matched; `None` for a `defaultBackend`.
    pub(super) path: Option<PathMatch>,
    pub(super) route: Option<Arc<Route>>,
}

/// Looks a request up.
pub(super) fn find(config: &Config, request: &Request) -> Hit {
    let wildcard = request.host.split_once('.').map(|(_, suffix)| suffix);
    let patterns = [
        Some(HostPattern::Exact(request.host.into())),
        wildcard.map(|suffix| HostPattern::Wildcard(suffix.into())),
        Some(HostPattern::Any),
    ];
    let host = patterns
        .into_iter()
        .flatten()
        .find(|pattern| config.hosts.contains_key(pattern));
    let Some(routes) = host.as_ref().and_then(|host| config.hosts.get(host)) else {
        return Hit {
            host,
            path: None,
            route: config.fallback.clone(),
        };
    };
    let candidate = routes.candidates.iter().find(|candidate| {
        path_matches(&candidate.path, request.path)
            && (candidate.traffic == Traffic::Any || request.handshake)
            && candidate.query.is_empty()
            && candidate.headers.iter().all(|header| {
                request
                    .headers
                    .iter()
                    .any(|(name, value)| *name == &*header.name && *value == &*header.value)
            })
    });
    Hit {
        path: candidate.map(|candidate| candidate.path.clone()),
        route: candidate
            .map(|candidate| &candidate.route)
            .or(routes.default.as_ref())
            .cloned(),
        host,
    }
}

fn path_matches(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) if &**prefix == "/" => true,
        PathMatch::Prefix(prefix) => path
            .strip_prefix(&**prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Regex(pattern) => regex::Regex::new(&format!("^(?:{pattern})$"))
            .expect("checked by translate")
            .is_match(path),
    }
}
