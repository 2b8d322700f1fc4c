//! All backends by id.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

use super::Backend;
use crate::ir;

/// All backends by id. Never on the path of a request: a table holds the backends that it needs.
#[derive(Debug, Default)]
pub struct Registry {
    backends: Mutex<BTreeMap<ir::BackendId, Arc<Backend>>>,
}

impl Registry {
    /// The backend of this id, made on first use.
    pub fn backend(&self, id: &ir::BackendId) -> Arc<Backend> {
        match self.backends.lock().entry(id.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(Backend::new(id.clone())))),
        }
    }

    /// Gives every backend its endpoints at once. Backends that are no longer named have no endpoints from
    /// then on, and those of them that nobody holds go.
    pub fn apply(&self, backends: &BTreeMap<ir::BackendId, ir::Backend>) {
        let mut known = self.backends.lock();
        for (id, backend) in backends {
            known
                .entry(id.clone())
                .or_insert_with(|| Arc::new(Backend::new(id.clone())))
                .set_endpoints(&backend.endpoints);
        }
        known.retain(|id, backend| {
            if backends.contains_key(id) {
                return true;
            }
            backend.set_endpoints(&[]);
            // A clone can only be made from the map, which is locked, or from another clone.
            Arc::strong_count(backend) > 1
        });
    }

    /// All backends, for the admin API and metrics, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<Backend>> {
        self.backends.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        registry.apply(&config(&[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")]));
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
        registry.apply(&config(&[("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")]));
        let held = registry.backend(&id("a"));
        registry.apply(&BTreeMap::new());
        assert!(held.endpoints().is_empty(), "nothing new goes there");
        assert_eq!(registry.list().len(), 1);
        registry.apply(&config(&[("a", "10.0.0.3:80")]));
        assert!(
            Arc::ptr_eq(&held, &registry.backend(&id("a"))),
            "it is back"
        );
        drop(held);
        registry.apply(&BTreeMap::new());
        assert!(registry.list().is_empty());
    }
}
