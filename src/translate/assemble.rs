//! What won its claims, in order of precedence, as the configuration.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use super::{
    backend::Backends,
    claim::{Claims, Host, Path, Served},
    judge::{DefaultBackend, Judged, conflicted},
};
use crate::ir::{Candidate, Config, HostPattern, HostRoutes, Rank, Route, RouteKind, Traffic};

/// Puts the configuration together and finds out which `defaultBackend`s are used.
pub(super) fn assemble(judged: &mut Judged<'_>, backends: &Backends<'_>) -> Config {
    let claims = std::mem::replace(&mut judged.claims, Claims::with_capacity(0));
    let mut defaults = Defaults::new(&judged.defaults);
    let mut hosts: Vec<(HostPattern, HostRoutes)> = claims
        .into_hosts()
        .into_iter()
        .map(|host| {
            let default = match host.pattern {
                // No rule names these hosts.
                HostPattern::Any => defaults.fallback(),
                _ => defaults.of_namespace(&host.owner.id.namespace),
            };
            let routes = HostRoutes {
                default: default.map(|default| Arc::clone(&default.route)),
                candidates: candidates(&host),
            };
            (host.pattern.clone(), routes)
        })
        .collect();
    hosts.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut config = Config {
        hosts: hosts.into_iter().collect(),
        fallback: defaults
            .fallback()
            .map(|default| Arc::clone(&default.route)),
        backends: BTreeMap::new(),
    };
    let unused = defaults.unused();
    drop(defaults);
    settle_defaults(judged, &unused);
    config.backends = backends.build(routes(&config));
    config
}

/// Every route of a configuration, those of several matches several times.
fn routes(config: &Config) -> impl Iterator<Item = &Arc<Route>> {
    let of_hosts = config.hosts.values().flat_map(|host| {
        let candidates = host.candidates.iter().map(|candidate| &candidate.route);
        candidates.chain(&host.default)
    });
    of_hosts.chain(&config.fallback)
}

/// The candidates of a host in order of precedence.
fn candidates(host: &Host<'_>) -> Vec<Candidate> {
    let mut paths: Vec<&Path<'_>> = host.paths.iter().collect();
    paths.sort_unstable_by(|a, b| a.value.precedence().cmp(&b.value.precedence()));
    let mut candidates = Vec::with_capacity(paths.iter().map(|path| path.served.len()).sum());
    for path in paths {
        let start = candidates.len();
        let has = |kind| path.served.iter().any(|it| it.object.id.kind == kind);
        let shared = has(RouteKind::Ingress) && has(RouteKind::WebSocketRoute);
        candidates.extend(path.served.iter().map(|served| candidate(served, shared)));
        if let Some(bucket) = candidates.get_mut(start..) {
            bucket.sort_unstable_by(|a, b| a.rank.cmp(&b.rank));
        }
    }
    candidates
}

/// One match. `shared`: both kinds have this host, path type and value.
fn candidate(served: &Served<'_>, shared: bool) -> Candidate {
    let traffic = if shared && served.object.id.kind == RouteKind::WebSocketRoute {
        Traffic::Handshakes
    } else {
        Traffic::Any
    };
    let matched = served.matched;
    Candidate {
        path: matched.path.clone(),
        headers: matched.headers.clone(),
        query: matched.query.clone(),
        traffic,
        rank: Rank {
            traffic: Reverse(traffic),
            headers: Reverse(matched.headers.len()),
            query: Reverse(matched.query.len()),
            age: served.object.age,
            object: served.object.id.clone(),
            rule: served.rule.place.index(),
            item: matched.item,
        },
        route: Arc::clone(&served.route),
    }
}

/// The `defaultBackend`s: the oldest takes what nobody names, the oldest of a namespace the unmatched paths of its
/// hosts.
struct Defaults<'j, 'a> {
    all: &'j [DefaultBackend<'a>],
    of_namespace: HashMap<&'a str, &'j DefaultBackend<'a>>,
    used: HashMap<&'a str, ()>,
}

impl<'j, 'a> Defaults<'j, 'a> {
    fn new(all: &'j [DefaultBackend<'a>]) -> Self {
        let mut of_namespace = HashMap::new();
        for default in all {
            of_namespace
                .entry(&*default.object.id.namespace)
                .or_insert(default);
        }
        Self {
            all,
            of_namespace,
            used: HashMap::new(),
        }
    }

    fn fallback(&self) -> Option<&'j DefaultBackend<'a>> {
        self.all.first()
    }

    fn of_namespace(&mut self, namespace: &'a str) -> Option<&'j DefaultBackend<'a>> {
        let found = self.of_namespace.get(namespace).copied();
        if found.is_some() {
            self.used.insert(namespace, ());
        }
        found
    }

    /// Places in the list of those whose namespace has none that is used.
    fn unused(&self) -> Vec<usize> {
        let fallback = self.fallback().map(|default| &default.object.id.namespace);
        let unused = |default: &DefaultBackend<'_>| {
            let namespace = &default.object.id.namespace;
            Some(namespace) != fallback && !self.used.contains_key(&**namespace)
        };
        (0..)
            .zip(self.all)
            .filter(|(_, default)| unused(default))
            .map(|(place, _)| place)
            .collect()
    }
}

/// A `defaultBackend` that takes nothing, because another namespace has an older one, has lost.
fn settle_defaults(judged: &mut Judged<'_>, unused: &[usize]) {
    let Some(winner) = judged.defaults.first().map(|default| &default.object.id) else {
        return;
    };
    for (place, default) in judged.defaults.iter().enumerate() {
        let Some(outcome) = judged.outcomes.get_mut(default.position) else {
            continue;
        };
        if unused.binary_search(&place).is_err() {
            outcome.live = true;
            continue;
        }
        outcome.conflicts.push(conflicted(
            default.rule,
            "spec.defaultBackend".to_owned(),
            format!(
                "requests that no rule takes belong to {winner}, whose defaultBackend is older"
            ),
        ));
    }
}
