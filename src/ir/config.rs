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

/// What one host serves.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HostRoutes {
    /// Sorted by [`PathMatch::precedence`], then [`Rank`].
    pub candidates: Vec<Candidate>,
    /// A `defaultBackend` for the paths that no candidate takes.
    pub default: Option<Arc<Route>>,
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
