//! Counts of a `WebSocketRoute`: endpoints, and connections of all replicas.

use std::{sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::judge::UNREACHABLE;
use crate::{
    api::{EndpointsStatus, ObjectKey},
    ir,
    source::{
        cluster::StoredRoute,
        peers::{Reached, View},
    },
    upstream,
};

/// Shortest time between two writes of counts of the same object.
pub(super) const INTERVAL: Duration = Duration::from_mins(1);

/// What the field manager `hawser-counts` says. The default is nothing at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `status.endpoints`.
    pub(super) endpoints: Option<EndpointsStatus>,
    /// `status.connections.active`.
    pub(super) connections: Option<i64>,
}

impl Counts {
    /// What is stored.
    pub(super) fn stored(stored: &StoredRoute) -> Self {
        Self {
            endpoints: stored.endpoints.clone(),
            connections: stored.connections,
        }
    }

    /// Whether it says anything.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The `status` of an apply.
    pub(super) fn body(&self) -> Value {
        let mut status = serde_json::Map::new();
        if let Some(endpoints) = &self.endpoints {
            status.insert("endpoints".to_owned(), json!(endpoints));
        }
        if let Some(active) = self.connections {
            status.insert("connections".to_owned(), json!({ "active": active }));
        }
        Value::Object(status)
    }
}

/// Whether the step from `before` to `now` is worth a write: 10 %, or to or from 0.
pub(super) fn worth(before: &Counts, now: &Counts) -> bool {
    let endpoints = match (&before.endpoints, &now.endpoints) {
        (Some(before), Some(now)) => {
            moved(before.ready.into(), now.ready.into())
                || moved(before.total.into(), now.total.into())
        }
        (before, now) => before.is_some() != now.is_some(),
    };
    let connections = match (before.connections, now.connections) {
        (Some(before), Some(now)) => moved(before, now),
        (before, now) => before.is_some() != now.is_some(),
    };
    endpoints || connections
}

fn moved(before: i64, now: i64) -> bool {
    before != now && (before == 0 || now == 0 || (before - now).abs() * 10 >= before)
}

/// The endpoints of all backends, as they are now.
#[derive(Debug, Default)]
pub(super) struct Endpoints(HashMap<ir::BackendId, Arc<upstream::Backend>>);

impl Endpoints {
    /// Reads them.
    pub(super) fn new(registry: &upstream::Registry) -> Self {
        let backends = registry.list().into_iter();
        Self(
            backends
                .map(|backend| (backend.id().clone(), backend))
                .collect(),
        )
    }

    /// The endpoints of these backends, each counted once.
    pub(super) fn count(&self, backends: &[ir::BackendId]) -> EndpointsStatus {
        let (mut ready, mut total) = (0, 0);
        let mut seen = HashSet::new();
        for backend in backends.iter().filter_map(|id| self.0.get(id)) {
            for endpoint in backend.endpoints().iter() {
                // Two ports of a Service may lead to the same place.
                if backends.len() > 1 && !seen.insert(endpoint.address()) {
                    continue;
                }
                total += 1;
                ready += i32::from(endpoint.state().ready);
            }
        }
        EndpointsStatus {
            ready,
            total,
            summary: format!("{ready}/{total}"),
        }
    }
}

/// Connections of the other replicas, with the last word of those that are missing.
#[derive(Debug, Default)]
pub(super) struct Heard {
    replicas: HashMap<Arc<str>, Replica>,
    /// A replica that was never heard and may have connections: until then there is no total.
    unheard: Option<Instant>,
}

#[derive(Debug)]
struct Replica {
    connections: Arc<HashMap<Box<str>, u64>>,
    missing: Option<Instant>,
}

impl Heard {
    /// Takes what the replicas say now.
    pub(super) fn take(&mut self, view: &View, now: Instant) {
        self.unheard = None;
        for replica in &view.replicas {
            let missing = match replica.reached {
                Reached::Yes => None,
                Reached::NoSince(since) => Some(since),
            };
            let known = self.replicas.contains_key(&replica.name);
            if let Some(since) = missing
                && !known
                && replica.connections.is_empty()
            {
                let until = since + UNREACHABLE;
                self.unheard = Some(self.unheard.map_or(until, |known| known.max(until)));
                continue;
            }
            let connections = Arc::clone(&replica.connections);
            let said = Replica {
                connections,
                missing,
            };
            self.replicas.insert(Arc::clone(&replica.name), said);
        }
        let there: HashSet<&Arc<str>> = view.replicas.iter().map(|known| &known.name).collect();
        for (name, replica) in &mut self.replicas {
            if !there.contains(name) {
                replica.missing.get_or_insert(now);
            }
        }
        self.expire(now);
    }

    /// Forgets those that are missing for too long, and says whether there is a total.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.replicas.retain(|_, replica| {
            replica
                .missing
                .is_none_or(|since| now < since + UNREACHABLE)
        });
        self.unheard.is_none_or(|until| now >= until)
    }

    /// Connections of an object on all other replicas.
    pub(super) fn connections(&self, object: &ObjectKey) -> u64 {
        if self.replicas.is_empty() {
            return 0;
        }
        let key = format!("{}/{}/{}", object.kind, object.namespace, object.name);
        let replicas = self.replicas.values();
        replicas
            .filter_map(|replica| replica.connections.get(&*key))
            .sum()
    }
}

#[cfg(test)]
mod tests;
