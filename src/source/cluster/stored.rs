//! The status that an object has, in compact form.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Address, StoredCondition, StoredIngress, StoredObject, StoredRoute, StoredStatus,
    kind::Kind,
    managers::{self, Managers},
    raw::Raw,
};

/// Takes the status out of an object that Hawser reports about. What cannot be read counts as absent: Hawser then
/// writes it anew.
pub(super) fn take(kind: Kind, raw: &mut Raw, managers: &Managers) -> Option<StoredObject> {
    let is_by = |manager| raw.is_reported_by(&managers.name(manager));
    let (ours, counted) = (is_by(managers::CONDITIONS), is_by(managers::COUNTS));
    let resource_version = raw.resource_version().unwrap_or_default().into();
    let status = raw.take_status().unwrap_or_default();
    let status = match kind {
        Kind::WebSocketRoute => StoredStatus::Route(StoredRoute {
            ours,
            counted,
            ..route(&status)
        }),
        Kind::Ingress => StoredStatus::Ingress(StoredIngress {
            addresses: addresses(&status),
            ours,
        }),
        Kind::IngressClass | Kind::Service | Kind::EndpointSlice => return None,
    };
    Some(StoredObject {
        version: raw.version(),
        resource_version,
        status,
    })
}

/// A field, if it is there and fits.
fn read<T: DeserializeOwned>(value: &Value, field: &str) -> Option<T> {
    T::deserialize(value.get(field)?).ok()
}

fn route(status: &Value) -> StoredRoute {
    let conditions = status.get("conditions").and_then(Value::as_array);
    StoredRoute {
        observed_generation: read(status, "observedGeneration"),
        reason: read(status, "reason"),
        conditions: conditions
            .into_iter()
            .flatten()
            .filter_map(|condition| Condition::deserialize(condition).ok())
            .map(|condition| StoredCondition {
                type_: condition.type_.into(),
                status: condition.status.into(),
                reason: condition.reason.into(),
                message: condition.message.into(),
                observed_generation: condition.observed_generation,
                since: condition.last_transition_time,
            })
            .collect(),
        endpoints: read(status, "endpoints"),
        connections: status
            .get("connections")
            .and_then(|connections| read(connections, "active")),
        ..StoredRoute::default()
    }
}

fn addresses(status: &Value) -> Vec<Address> {
    let entries = status
        .pointer("/loadBalancer/ingress")
        .and_then(Value::as_array);
    let entries = entries.into_iter().flatten();
    let addresses = entries.filter_map(|entry| {
        let ip = read(entry, "ip").map(Address::Ip);
        ip.or_else(|| read(entry, "hostname").map(Address::Hostname))
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(kind: Kind, status: &Value) -> StoredStatus {
        let mut raw = Raw::new(json!({"metadata": {"name": "x"}, "status": status}));
        take(kind, &mut raw, &Managers::default())
            .expect("a kind with a status")
            .status
    }

    #[test]
    fn what_does_not_fit_is_absent_and_the_rest_is_there() {
        let status = json!({
            "observedGeneration": "three",
            "reason": "Programmed",
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Broken"},
            ],
            "endpoints": {"ready": 1, "total": 2, "summary": "1/2"},
            "connections": {"active": 7},
        });
        let StoredStatus::Route(route) = stored(Kind::WebSocketRoute, &status) else {
            panic!("not a route")
        };
        assert_eq!(route.observed_generation, None);
        assert_eq!(route.reason.as_deref(), Some("Programmed"));
        assert_eq!(route.conditions.len(), 1);
        assert_eq!(route.endpoints.map(|endpoints| endpoints.total), Some(2));
        assert_eq!(route.connections, Some(7));
    }

    #[test]
    fn addresses_are_kept_in_their_order() {
        let status = json!({"loadBalancer": {"ingress": [{"hostname": "a.example.com"}, {"ip": "10.0.0.1"}, {}]}});
        let expected = StoredIngress {
            addresses: vec![
                Address::Hostname("a.example.com".into()),
                Address::Ip("10.0.0.1".into()),
            ],
            ours: false,
        };
        let stored = stored(Kind::Ingress, &status);
        assert_eq!(stored, StoredStatus::Ingress(expected));
    }
}
