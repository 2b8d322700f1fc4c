//! Which rules are served and which backends they refer to, counted.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::ir::{BackendId, HostRoutes, Route, RouteId, Target};

/// How often each rule and backend is served.
#[derive(Debug, Default, Clone)]
pub(super) struct Uses {
    rules: BTreeMap<RouteId, usize>,
    backends: BTreeMap<BackendId, usize>,
}

/// What was counted: whether it was there before.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) rules: BTreeMap<RouteId, bool>,
    pub(super) backends: BTreeMap<BackendId, bool>,
}

impl Uses {
    /// A host serves something else.
    pub(super) fn swap(&mut self, old: &HostRoutes, new: &HostRoutes, counted: &mut Counted) {
        let (old, new) = (Routes(old), Routes(new));
        let length = old.len().min(new.len());
        let same = |a: Option<&Arc<Route>>, b: Option<&Arc<Route>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        // One object of many changes little of the whole.
        let head = (0..length)
            .take_while(|&at| same(old.get(at), new.get(at)))
            .count();
        let tail = (1..=length - head)
            .take_while(|&back| same(old.get(old.len() - back), new.get(new.len() - back)))
            .count();
        for at in head..new.len() - tail {
            self.add(new.get(at), counted);
        }
        for at in head..old.len() - tail {
            self.take(old.get(at), counted);
        }
    }

    pub(super) fn add(&mut self, route: Option<&Arc<Route>>, counted: &mut Counted) {
        let Some(route) = route else { return };
        let rule = self.rules.entry(route.id.clone()).or_default();
        counted.rules.entry(route.id.clone()).or_insert(*rule > 0);
        *rule += 1;
        for id in targets(route) {
            let backend = self.backends.entry(id.clone()).or_default();
            counted.backends.entry(id.clone()).or_insert(*backend > 0);
            *backend += 1;
        }
    }

    pub(super) fn take(&mut self, route: Option<&Arc<Route>>, counted: &mut Counted) {
        let Some(route) = route else { return };
        counted.rules.entry(route.id.clone()).or_insert(true);
        decrement(&mut self.rules, &route.id);
        for id in targets(route) {
            counted.backends.entry(id.clone()).or_insert(true);
            decrement(&mut self.backends, id);
        }
    }

    pub(super) fn has_rule(&self, id: &RouteId) -> bool {
        self.rules.contains_key(id)
    }

    pub(super) fn has_backend(&self, id: &BackendId) -> bool {
        self.backends.contains_key(id)
    }

    /// The backends that are ports of a Service.
    pub(super) fn of_service(
        &self,
        namespace: &Arc<str>,
        service: &Arc<str>,
    ) -> impl Iterator<Item = &BackendId> {
        let port = |port| BackendId {
            namespace: Arc::clone(namespace),
            service: Arc::clone(service),
            port,
        };
        let range = self.backends.range(port(0)..=port(u16::MAX));
        range.map(|(id, _)| id)
    }

    /// Every backend.
    pub(super) fn backends(&self) -> impl Iterator<Item = &BackendId> {
        self.backends.keys()
    }
}

fn targets(route: &Route) -> impl Iterator<Item = &BackendId> {
    route.backends.iter().filter_map(|it| match &it.target {
        Target::Backend(id) => Some(id),
        Target::Missing(_) => None,
    })
}

fn decrement<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Entry::Occupied(mut entry) = counts.entry(key.clone()) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

/// The routes of a host, its default last.
struct Routes<'a>(&'a HostRoutes);

impl<'a> Routes<'a> {
    fn len(&self) -> usize {
        self.0.candidates.len() + usize::from(self.0.default.is_some())
    }

    fn get(&self, at: usize) -> Option<&'a Arc<Route>> {
        let candidate = self.0.candidates.get(at);
        candidate.map_or(self.0.default.as_ref(), |candidate| Some(&candidate.route))
    }
}
