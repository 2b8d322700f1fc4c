//! The whole of what is to be served.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    Backend, BackendId, BackendRef, HeaderMatch, HostPattern, PathMatch, Policy, QueryMatch, Rank,
    RouteId, Traffic,
};

/// Everything that the data plane serves. `hosts` and `fallback` make the table; `backends` goes to the
/// backend registry and never causes a new table.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Config {
    /// Routes by host.
    pub hosts: BTreeMap<HostPattern, HostRoutes>,
    /// The oldest `defaultBackend`: takes hosts that no rule names.
    pub fallback: Option<Arc<Route>>,
    /// Every backend that a route refers to.
    pub backends: BTreeMap<BackendId, Backend>,
}

/// What is different from the configuration before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// Hosts that serve something else now; `None`: no rule names them any more.
    pub hosts: BTreeMap<HostPattern, Option<Arc<HostRoutes>>>,
    /// The new `fallback`, where it is another one.
    pub fallback: Option<Option<Arc<Route>>>,
    /// Endpoints of backends that may have changed; `None`: no route refers to them any more.
    pub backends: BTreeMap<BackendId, Option<Backend>>,
    /// Rules that are served now and were not.
    pub added: Vec<RouteId>,
    /// Rules that are no longer served.
    pub removed: Vec<RouteId>,
}

impl Delta {
    /// Whether a table would do anything different.
    pub fn changes_table(&self) -> bool {
        !self.hosts.is_empty() || self.fallback.is_some()
    }
}

/// What one host serves.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HostRoutes {
    /// Sorted by [`PathMatch::precedence`], then [`Rank`].
    pub candidates: Vec<Candidate>,
    /// A `defaultBackend` for the paths that no candidate takes.
    pub default: Option<Arc<Route>>,
}

impl HostRoutes {
    /// Whether requests are treated the same, whatever the order of precedence comes from.
    pub fn serves_as(&self, other: &Self) -> bool {
        let same = |a: &Candidate, b: &Candidate| {
            same_route(&a.route, &b.route)
                && (&a.path, &a.headers, &a.query) == (&b.path, &b.headers, &b.query)
                && a.traffic == b.traffic
        };
        let default = match (&self.default, &other.default) {
            (None, None) => true,
            (Some(a), Some(b)) => same_route(a, b),
            _ => false,
        };
        default
            && self.candidates.len() == other.candidates.len()
            && self
                .candidates
                .iter()
                .zip(&other.candidates)
                .all(|(a, b)| same(a, b))
    }
}

/// Most rules are the very same as before.
fn same_route(a: &Arc<Route>, b: &Arc<Route>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// One match of one rule: requests that look like this go to `route`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The path.
    pub path: PathMatch,
    /// All of these headers.
    pub headers: Vec<HeaderMatch>,
    /// All of these query parameters.
    pub query: Vec<QueryMatch>,
    /// Which requests of that path.
    pub traffic: Traffic,
    /// Place among the candidates of the same path.
    pub rank: Rank,
    /// What happens to the request. Shared by all matches of the rule.
    pub route: Arc<Route>,
}

/// What happens to a request that a rule takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// The rule.
    pub id: RouteId,
    /// Where it goes. Never empty.
    pub backends: Vec<BackendRef>,
    /// How it is treated.
    pub policy: Arc<Policy>,
}
