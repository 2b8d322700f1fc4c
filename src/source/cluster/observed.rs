//! What the API server says about objects whose status Hawser writes.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    api::{EndpointsStatus, ObjectKey},
    ir::ObjectVersion,
};

/// `WebSocketRoute` and Ingress objects as they were last seen, in compact form.
#[derive(Debug)]
pub struct Observed {
    state: RwLock<State>,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<ObjectKey>, (u64, Arc<StoredObject>)>,
    /// Objects by the cursor of their last change, so that whoever follows asks only for what is new.
    order: BTreeMap<u64, Arc<ObjectKey>>,
    cursor: u64,
}

/// An object as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredObject {
    /// Its version.
    pub version: ObjectVersion,
    /// `metadata.resourceVersion`: a write names it, so that it cannot reach a later object of the same name.
    pub resource_version: Box<str>,
    /// Its status.
    pub status: StoredStatus,
}

/// The status that is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredStatus {
    /// Of a `WebSocketRoute`.
    Route(StoredRoute),
    /// Of an Ingress.
    Ingress(StoredIngress),
}

/// Stored status of a `WebSocketRoute`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredRoute {
    /// The field manager of this install for conditions owns some of it.
    pub ours: bool,
    /// The one for counts does.
    pub counted: bool,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `status.reason`.
    pub reason: Option<Box<str>>,
    /// All conditions, those of other writers included.
    pub conditions: Vec<StoredCondition>,
    /// `status.endpoints`.
    pub endpoints: Option<EndpointsStatus>,
    /// `status.connections.active`.
    pub connections: Option<i64>,
}

/// A stored condition.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCondition {
    /// `type`.
    pub type_: Box<str>,
    /// `status`: True, False or Unknown.
    pub status: Box<str>,
    /// `reason`.
    pub reason: Box<str>,
    /// `message`.
    pub message: Box<str>,
    /// `observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `lastTransitionTime`.
    pub since: Time,
}

/// Stored status of an Ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredIngress {
    /// `status.loadBalancer.ingress`.
    pub addresses: Vec<Address>,
    /// The field manager of this install owns them.
    pub ours: bool,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `ip`.
    Ip(Box<str>),
    /// `hostname`.
    Hostname(Box<str>),
}

impl Observed {
    /// An object.
    pub fn get(&self, object: &ObjectKey) -> Option<Arc<StoredObject>> {
        let state = self.state.read();
        let (_, object) = state.objects.get(object)?;
        Some(Arc::clone(object))
    }

    /// Every object.
    pub fn list(&self) -> Vec<(ObjectKey, Arc<StoredObject>)> {
        let state = self.state.read();
        let objects = state.objects.iter();
        objects
            .map(|(key, (_, object))| (ObjectKey::clone(key), Arc::clone(object)))
            .collect()
    }

    /// The objects of a kind.
    pub(in crate::source) fn keys(&self, kind: &str) -> Vec<Arc<ObjectKey>> {
        let state = self.state.read();
        let keys = state.objects.keys().filter(|key| key.kind == kind);
        keys.map(Arc::clone).collect()
    }

    /// The cursor, and the objects that are new or changed after one; 0 for all. Those that are gone are not
    /// told: their verdicts go, too.
    pub(in crate::source) fn after(&self, cursor: u64) -> (u64, Vec<Arc<ObjectKey>>) {
        let state = self.state.read();
        let changed = state.order.range(cursor.saturating_add(1)..);
        (
            state.cursor,
            changed.map(|(_, key)| Arc::clone(key)).collect(),
        )
    }

    /// Moves with every change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Replaces objects; `None` for one that is gone.
    pub(in crate::source) fn apply(
        &self,
        changes: impl IntoIterator<Item = (ObjectKey, Option<StoredObject>)>,
    ) {
        {
            let mut state = self.state.write();
            for (key, object) in changes {
                state.put(key, object);
            }
        }
        self.moved.send_modify(|count| *count += 1);
    }
}

impl State {
    fn put(&mut self, key: ObjectKey, object: Option<StoredObject>) {
        let before = self.objects.remove_entry(&key);
        if let Some((_, (at, _))) = &before {
            self.order.remove(at);
        }
        if let Some(object) = object {
            self.cursor += 1;
            let key = before.map_or_else(|| Arc::new(key), |(key, _)| key);
            self.order.insert(self.cursor, Arc::clone(&key));
            self.objects.insert(key, (self.cursor, Arc::new(object)));
        }
    }
}

impl Default for Observed {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            moved: watch::Sender::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_sees_each_change_once() {
        let observed = Observed::default();
        let key = |name: &str| ObjectKey {
            kind: "Ingress".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let object = |generation| StoredObject {
            version: ObjectVersion {
                uid: "u".into(),
                generation,
            },
            resource_version: "".into(),
            status: StoredStatus::Ingress(StoredIngress::default()),
        };
        observed.apply([(key("a"), Some(object(1))), (key("b"), Some(object(1)))]);
        let (cursor, changed) = observed.after(0);
        assert_eq!(changed.len(), 2);
        assert!(observed.after(cursor).1.is_empty());
        observed.apply([(key("a"), Some(object(2)))]);
        let (cursor, changed) = observed.after(cursor);
        assert_eq!(*changed[0], key("a"));
        assert_eq!(changed.len(), 1);
        observed.apply([(key("b"), None)]);
        assert!(observed.after(cursor).1.is_empty());
        assert!(observed.get(&key("b")).is_none());
        assert_eq!(observed.after(0).1.len(), 1, "nothing of it is kept");
    }
}
