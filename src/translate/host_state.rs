//! One host: who may serve what of it. Between namespaces the oldest claim decides.
//!
//! Claims are made by the oldest object first, so the first claim of a path is the oldest. The oldest claim on a
//! host is a winning one whatever its path, so one pass is enough.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::{HashMap, hash_map::Entry};

use super::{
    member::Member,
    prepare::{Match, RouteObject, Rule},
};
use crate::ir::{
    Candidate, HostPattern, HostRoutes, ObjectId, PathMatch, Rank, Route, RouteKind, Traffic,
};

/// A host that some object names.
#[derive(Debug, Default, Clone)]
pub(super) struct HostState {
    /// The objects that name it, the oldest first.
    members: Vec<Arc<Member>>,
    /// What it serves.
    pub(super) routes: Arc<HostRoutes>,
    /// Objects that lost paths, with the winner of each.
    lost: Lost,
}

type Lost = HashMap<ObjectId, HashMap<PathMatch, ObjectId>>;

impl HostState {
    pub(super) fn add(&mut self, member: &Arc<Member>) {
        let key = member.seniority();
        let place = self
            .members
            .partition_point(|known| known.seniority() < key);
        self.members.insert(place, Arc::clone(member));
    }

    pub(super) fn remove(&mut self, member: &Member) {
        let key = member.seniority();
        let place = self
            .members
            .partition_point(|known| known.seniority() < key);
        if self
            .members
            .get(place)
            .is_some_and(|known| known.seniority() == key)
        {
            self.members.remove(place);
        }
    }

    /// The object with the oldest claim; `None` when nobody names the host.
    pub(super) fn owner(&self) -> Option<&ObjectId> {
        self.members.first().map(|member| &member.object.id)
    }

    /// Who won a path that an object lost.
    pub(super) fn winner(&self, object: &ObjectId, path: &PathMatch) -> Option<&ObjectId> {
        self.lost.get(object)?.get(path)
    }

    /// Decides anew. Returns the objects whose losses are others now.
    pub(super) fn decide(
        &mut self,
        pattern: &HostPattern,
        default: Option<Arc<Route>>,
    ) -> Vec<ObjectId> {
        let (mut candidates, lost) = decide(pattern, &self.members);
        candidates.shrink_to_fit();
        self.routes = Arc::new(HostRoutes {
            candidates,
            default,
        });
        let differs = |id: &&ObjectId| lost.get(*id) != self.lost.get(*id);
        let mut moved: Vec<ObjectId> = lost.keys().filter(differs).cloned().collect();
        moved.extend(
            self.lost
                .keys()
                .filter(|id| !lost.contains_key(*id))
                .cloned(),
        );
        self.lost = lost;
        moved
    }
}

/// A path of a host.
struct Path<'a> {
    value: &'a PathMatch,
    /// The object with the oldest claim on it.
    owner: &'a RouteObject,
    /// Matches of the owner's namespace.
    served: Vec<Served<'a>>,
}

/// A match that won its claim.
struct Served<'a> {
    object: &'a RouteObject,
    rule: &'a Rule,
    matched: &'a Match,
    route: &'a Arc<Route>,
}

fn decide(pattern: &HostPattern, members: &[Arc<Member>]) -> (Vec<Candidate>, Lost) {
    let mut paths: Vec<Path<'_>> = Vec::new();
    let mut index: HashMap<&PathMatch, usize> = HashMap::new();
    let mut lost = Lost::new();
    let Some(owner) = members.first().map(|member| &*member.object) else {
        return (Vec::new(), lost);
    };
    for member in members {
        let object = &*member.object;
        let claims = member.rules_of(pattern);
        let claims = claims.flat_map(|(rule, route)| {
            let matches = rule.matches.iter();
            matches.map(move |matched| Served {
                object,
                rule,
                matched,
                route,
            })
        });
        for served in claims {
            let path = &served.matched.path;
            // Expressions overlap in ways that nobody can see: they belong to one namespace per host.
            let winner = if matches!(path, PathMatch::Regex(_)) && !same_namespace(owner, object) {
                owner
            } else {
                let place = match index.entry(path) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        paths.push(Path {
                            value: path,
                            owner: object,
                            served: Vec::new(),
                        });
                        *entry.insert(paths.len() - 1)
                    }
                };
                let Some(known) = paths.get_mut(place) else {
                    continue;
                };
                if same_namespace(known.owner, object) {
                    known.served.push(served);
                    continue;
                }
                known.owner
            };
            let lost = lost.entry(object.id.clone()).or_default();
            lost.insert(path.clone(), winner.id.clone());
        }
    }
    (candidates(paths), lost)
}

fn same_namespace(a: &RouteObject, b: &RouteObject) -> bool {
    a.id.namespace == b.id.namespace
}

/// The candidates of a host in order of precedence.
fn candidates(mut paths: Vec<Path<'_>>) -> Vec<Candidate> {
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
        route: Arc::clone(served.route),
    }
}
