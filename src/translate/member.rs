//! An object that is ours, with its references looked up.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    backend::{Services, Unresolved},
    fault::{Listed, Quoted},
    prepare::{RouteObject, Rule},
};
use crate::ir::{Age, BackendId, HostPattern, ObjectId, Route, RouteId, Target};

/// An object that is ours, with its references looked up.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) object: Arc<RouteObject>,
    /// One per rule.
    pub(super) routes: Vec<Arc<Route>>,
    /// Of the `defaultBackend`.
    pub(super) default: Option<Arc<Route>>,
    /// References that lead nowhere, each with the words of the condition.
    pub(super) unresolved: Listed<Unresolved>,
    pub(super) warnings: Listed<String>,
    /// Every backend that the rules refer to, each once, in order. A set of one would cost ten times its size.
    pub(super) backends: Vec<BackendId>,
    /// Hosts with the places of the rules that claim paths of them, in order; without a rule where only the host is
    /// named.
    claims: Vec<(HostPattern, Option<usize>)>,
}

impl Member {
    /// Looks up all references. Rules that are as they were in `old` keep their route.
    pub(super) fn new(object: &Arc<RouteObject>, services: &Services, old: Option<&Self>) -> Self {
        let mut member = Self {
            routes: Vec::with_capacity(object.rules.len()),
            default: None,
            unresolved: Listed::default(),
            warnings: Listed::default(),
            backends: Vec::new(),
            claims: claims(object),
            object: Arc::clone(object),
        };
        let old_routes = old
            .into_iter()
            .flat_map(|old| old.routes.iter().chain(&old.default));
        let old: HashMap<&RouteId, &Arc<Route>> =
            old_routes.map(|route| (&route.id, route)).collect();
        let same = |route: Arc<Route>| match old.get(&route.id) {
            Some(&known) if *known == route => Arc::clone(known),
            _ => route,
        };
        for rule in &object.rules {
            let route = same(member.resolve(rule, services));
            member.routes.push(route);
        }
        if let Some(rule) = &object.default {
            member.default = Some(same(member.resolve(rule, services)));
        }
        member.backends.sort_unstable();
        member.backends.dedup();
        member.backends.shrink_to_fit();
        member
    }

    /// What decides between objects: the oldest first.
    pub(super) fn seniority(&self) -> (Age, &ObjectId) {
        (self.object.age, &self.object.id)
    }

    /// Every host that it names, once.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        let chunks = self.claims.chunk_by(|(a, _), (b, _)| a == b);
        chunks.filter_map(|chunk| chunk.first().map(|(host, _)| host))
    }

    /// The rules that claim paths of a host, in order, with their routes.
    pub(super) fn rules_of(
        &self,
        host: &HostPattern,
    ) -> impl Iterator<Item = (&Rule, &Arc<Route>)> {
        let start = self.claims.partition_point(|(known, _)| known < host);
        let claims = self.claims.get(start..).unwrap_or_default();
        let claims = claims.iter().take_while(move |(known, _)| known == host);
        claims.filter_map(|(_, place)| {
            let place = (*place)?;
            Some((self.object.rules.get(place)?, self.routes.get(place)?))
        })
    }

    /// Whether the other one routes with the very same routes.
    pub(super) fn routes_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(a, b);
        Arc::ptr_eq(&self.object, &other.object)
            && self.routes.iter().zip(&other.routes).all(same)
            && self.default.iter().zip(&other.default).all(same)
    }

    fn resolve(&mut self, rule: &Rule, services: &Services) -> Arc<Route> {
        #[cfg(test)]
        poison(rule);
        let unresolved = &mut self.unresolved;
        let missing = |index, missing: Unresolved| {
            let field = rule.ref_field(index);
            unresolved.push_once(Unresolved {
                reason: missing.reason,
                message: format!(
                    "rule {}: {field}: {}",
                    Quoted(&rule.id.rule),
                    missing.message
                ),
            });
        };
        let route = services.resolve(rule, missing, &mut self.warnings);
        let targets = route.backends.iter();
        self.backends
            .extend(targets.filter_map(|reference| match &reference.target {
                Target::Backend(id) => Some(id.clone()),
                Target::Missing(_) => None,
            }));
        route
    }
}

/// Hosts that some match is for, and hosts that are only named.
fn claims(object: &RouteObject) -> Vec<(HostPattern, Option<usize>)> {
    let named = object.bare_hosts.iter().map(|host| (host.clone(), None));
    let rules = object.rules.iter().enumerate();
    let claimed = rules
        .filter(|(_, rule)| !rule.matches.is_empty())
        .flat_map(|(place, rule)| {
            rule.hosts
                .iter()
                .map(move |host| (host.clone(), Some(place)))
        });
    let mut claims: Vec<_> = named.chain(claimed).collect();
    claims.sort();
    claims.shrink_to_fit();
    claims
}

/// Stands for a mistake in translation.
#[cfg(test)]
fn poison(rule: &Rule) {
    assert!(&*rule.id.rule != "poison", "injected");
}
