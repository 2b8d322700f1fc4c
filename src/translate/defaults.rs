//! The `defaultBackend`s: the oldest takes what nobody names, the oldest of a namespace the unmatched paths of its
//! hosts.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{HashMap, HashSet};

use super::member::Member;
use crate::ir::{Age, HostPattern, ObjectId, Route};

/// A `defaultBackend`: its object and its route.
pub(super) type Backstop = (ObjectId, Arc<Route>);

/// The `defaultBackend`s of objects that are ours, the oldest first, and whose the hosts are.
#[derive(Debug, Default, Clone)]
pub(super) struct Defaults {
    all: BTreeMap<(Age, ObjectId), Backstop>,
    by_namespace: HashMap<Arc<str>, BTreeMap<(Age, ObjectId), Backstop>>,
    /// Hosts by the namespace of the oldest claim.
    owned: HashMap<Arc<str>, HashSet<HostPattern>>,
    owners: HashMap<HostPattern, Arc<str>>,
}

impl Defaults {
    pub(super) fn add(&mut self, member: &Member) {
        let Some(route) = &member.default else { return };
        let id = &member.object.id;
        let key = (member.object.age, id.clone());
        let default = (id.clone(), Arc::clone(route));
        let namespace = self.by_namespace.entry(Arc::clone(&id.namespace));
        namespace.or_default().insert(key.clone(), default.clone());
        self.all.insert(key, default);
    }

    pub(super) fn remove(&mut self, member: &Member) {
        if member.default.is_none() {
            return;
        }
        let id = &member.object.id;
        let key = (member.object.age, id.clone());
        self.all.remove(&key);
        if let Some(namespace) = self.by_namespace.get_mut(&id.namespace) {
            namespace.remove(&key);
            if namespace.is_empty() {
                self.by_namespace.remove(&id.namespace);
            }
        }
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&Backstop> {
        self.all.values().next()
    }

    /// The oldest of a namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> Option<&Backstop> {
        self.by_namespace.get(namespace)?.values().next()
    }

    /// Every object with one.
    pub(super) fn all(&self) -> impl Iterator<Item = &ObjectId> {
        self.all.values().map(|(id, _)| id)
    }

    /// Whether a namespace's take anything; otherwise the object that has the older one.
    pub(super) fn winner_over(&self, namespace: &str) -> Option<&ObjectId> {
        let (winner, _) = self.first()?;
        let used = *winner.namespace == *namespace || self.owned.contains_key(namespace);
        (!used).then_some(winner)
    }

    /// Hosts that a namespace has the oldest claim on.
    pub(super) fn hosts_of(&self, namespace: &str) -> impl Iterator<Item = &HostPattern> {
        self.owned.get(namespace).into_iter().flatten()
    }

    /// Whether somebody owns the host.
    pub(super) fn knows(&self, host: &HostPattern) -> bool {
        self.owners.contains_key(host)
    }

    /// A host is a namespace's now. Returns the objects with a `defaultBackend` to which this may matter.
    pub(super) fn owned_by(&mut self, host: HostPattern, owner: Option<Arc<str>>) -> Vec<ObjectId> {
        let before = match &owner {
            Some(owner) => self.owners.insert(host.clone(), Arc::clone(owner)),
            None => self.owners.remove(&host),
        };
        // What a rule without a host leaves goes to the oldest of all.
        if before == owner || host == HostPattern::Any {
            return Vec::new();
        }
        let mut moved = Vec::new();
        if let Some(before) = before
            && let Some(hosts) = self.owned.get_mut(&before)
        {
            hosts.remove(&host);
            if hosts.is_empty() {
                self.owned.remove(&before);
                moved.push(before);
            }
        }
        if let Some(owner) = owner {
            let hosts = self.owned.entry(Arc::clone(&owner)).or_default();
            if hosts.is_empty() {
                moved.push(owner);
            }
            hosts.insert(host);
        }
        let defaults = moved
            .iter()
            .filter_map(|namespace| self.by_namespace.get(namespace));
        defaults
            .flat_map(|defaults| defaults.values().map(|(id, _)| id.clone()))
            .collect()
    }
}
