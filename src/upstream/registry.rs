//! All backends by id.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Backend;
use crate::ir;

/// All backends by id. Never on the path of a request: a table holds the backends that it needs.
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
    leaving: Notify,
}

#[derive(Debug, Default)]
struct State {
    backends: BTreeMap<ir::BackendId, Arc<Backend>>,
    /// No route leads to these any more, but somebody may hold them: an older table, a tunnel.
    left: BTreeSet<ir::BackendId>,
}

impl Registry {
    /// The backend of this id, made on first use.
    pub fn backend(&self, id: &ir::BackendId) -> Arc<Backend> {
        self.state.lock().backend(id)
    }

    /// Gives backends their endpoints.
    pub fn set<'a>(
        &self,
        backends: impl IntoIterator<Item = (&'a ir::BackendId, &'a ir::Backend)>,
    ) {
        let mut leaves = false;
        let mut state = self.state.lock();
        for (id, backend) in backends {
            state.left.remove(id);
            leaves |= state.backend(id).set_endpoints(&backend.endpoints);
        }
        drop(state);
        if leaves {
            self.leaving.notify_one();
        }
    }

    /// Returns when an endpoint that has tunnels is terminating or gone that was not so at the last call. For one
    /// caller.
    pub async fn leaving(&self) {
        self.leaving.notified().await;
    }

    /// No route leads to these any more, and they go when nobody holds them. Nothing is known of their endpoints from now
    /// on, unless `exists` says that there is no such Service (any more): then they are gone. To be called after every
    /// change, so that those go that were held the last time.
    pub fn release<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a ir::BackendId>,
        exists: impl Fn(&ir::BackendId) -> bool,
    ) {
        let mut leaves = false;
        let mut state = self.state.lock();
        let State { backends, left } = &mut *state;
        for id in ids {
            if backends.contains_key(id) {
                left.insert(id.clone());
            }
        }
        left.retain(|id| {
            // A clone can only be made from the map, which is locked, or from another clone.
            let held = backends.get(id);
            let held = held.filter(|backend| Arc::strong_count(backend) > 1);
            match held {
                Some(backend) if !exists(id) => leaves |= backend.set_endpoints(&[]),
                // It may have been away.
                Some(backend) => backend.release(),
                None => {
                    backends.remove(id);
                    return false;
                }
            }
            true
        });
        drop(state);
        if leaves {
            self.leaving.notify_one();
        }
    }

    /// Gives every backend its endpoints at once, and lets go of all others as [`Self::release`] does.
    pub fn apply(
        &self,
        backends: &BTreeMap<ir::BackendId, ir::Backend>,
        exists: impl Fn(&ir::BackendId) -> bool,
    ) {
        self.set(backends);
        let known: Vec<_> = self.state.lock().backends.keys().cloned().collect();
        let others = known.iter().filter(|id| !backends.contains_key(*id));
        self.release(others, exists);
    }

    /// Those that a route names, in the order of their ids.
    pub fn named(&self) -> Vec<Arc<Backend>> {
        let state = self.state.lock();
        let named = state.backends.iter();
        let named = named.filter(|(id, _)| !state.left.contains(*id));
        named.map(|(_, backend)| Arc::clone(backend)).collect()
    }

    /// All backends, also those that only open tunnels still have, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<Backend>> {
        self.state.lock().backends.values().cloned().collect()
    }
}

impl State {
    fn backend(&mut self, id: &ir::BackendId) -> Arc<Backend> {
        match self.backends.entry(id.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(Backend::new(id.clone())))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Standing;

    fn id(service: &str) -> ir::BackendId {
        ir::BackendId {
            namespace: "shop".into(),
            service: service.into(),
            port: 80,
        }
    }

    fn config(services: &[(&str, &str)]) -> BTreeMap<ir::BackendId, ir::Backend> {
        let endpoint = |address: &str| ir::Endpoint {
            address: address.parse().unwrap(),
            ready: true,
            serving: true,
            terminating: false,
        };
        services
            .iter()
            .map(|(service, address)| {
                let endpoints = vec![endpoint(address)];
                (id(service), ir::Backend { endpoints })
            })
            .collect()
    }

    #[test]
    fn a_backend_keeps_its_identity() {
        let registry = Registry::default();
        let before = registry.backend(&id("a"));
        registry.apply(
            &config(&[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")]),
            |_| true,
        );
        assert!(Arc::ptr_eq(&before, &registry.backend(&id("a"))));
        assert_eq!(before.endpoints().len(), 1);
        let ids = registry
            .list()
            .iter()
            .map(|b| b.id().clone())
            .collect::<Vec<_>>();
        assert_eq!(ids, [id("a"), id("b")]);
    }

    #[test]
    fn a_backend_that_is_no_longer_named_goes_with_its_last_holder() {
        let registry = Registry::default();
        registry.apply(
            &config(&[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")]),
            |_| true,
        );
        let held = registry.backend(&id("a"));
        registry.apply(&BTreeMap::new(), |_| true);
        assert!(held.endpoints().is_empty(), "nothing new goes there");
        assert_eq!(registry.list().len(), 1);
        registry.apply(&config(&[("a", "10.0.0.3:80")]), |_| true);
        assert!(
            Arc::ptr_eq(&held, &registry.backend(&id("a"))),
            "it is back"
        );
        drop(held);
        registry.apply(&BTreeMap::new(), |_| true);
        assert!(registry.list().is_empty());
    }

    #[test]
    fn a_change_of_some_leaves_the_others_alone() {
        let registry = Registry::default();
        registry.apply(
            &config(&[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")]),
            |_| true,
        );
        let held = registry.backend(&id("b"));
        registry.set(&config(&[("c", "10.0.0.3:80")]));
        registry.release([&id("b")], |_| true);
        assert!(held.endpoints().is_empty());
        assert_eq!(registry.list().len(), 3, "b is held");
        assert_eq!(registry.named().len(), 2, "but not named");
        assert_eq!(registry.backend(&id("a")).endpoints().len(), 1);
        registry.set(&config(&[("b", "10.0.0.4:80")]));
        drop(held);
        registry.release([], |_| true);
        assert_eq!(registry.list().len(), 3, "b is named again");
        assert_eq!(registry.named().len(), 3);
        let held = registry.backend(&id("c"));
        registry.release([&id("c")], |_| true);
        drop(held);
        registry.release([], |_| true);
        assert_eq!(registry.list().len(), 2, "c goes later");
    }

    #[test]
    fn a_service_may_go_after_the_routes_to_it() {
        let registry = Registry::default();
        registry.apply(&config(&[("a", "10.0.0.1:80")]), |_| true);
        let held = registry.backend(&id("a"));
        let endpoint = Arc::clone(&held.endpoints()[0]);
        registry.release([&id("a")], |_| true);
        assert_eq!(endpoint.standing(), Standing::There);
        // A change of something else.
        registry.release([], |_| false);
        let gone = endpoint.standing();
        assert_ne!(gone, Standing::There);
        registry.release([], |_| false);
        registry.apply(&BTreeMap::new(), |_| false);
        assert_eq!(endpoint.standing(), gone, "once");
        registry.release([], |_| true);
        assert_eq!(endpoint.standing(), Standing::There, "made anew");
    }

    #[test]
    fn endpoints_are_gone_with_their_service_and_unknown_without_a_route() {
        for exists in [true, false] {
            let registry = Registry::default();
            registry.apply(&config(&[("a", "10.0.0.1:80")]), |_| true);
            let held = registry.backend(&id("a"));
            let endpoint = Arc::clone(&held.endpoints()[0]);
            registry.release([&id("a")], |_| exists);
            let is_there = endpoint.standing() == Standing::There;
            assert_eq!(is_there, exists, "{:?}", endpoint.standing());
            registry.apply(&config(&[("a", "10.0.0.1:80")]), |_| true);
            assert_eq!(endpoint.standing(), Standing::There, "it is back");
        }
    }
}
