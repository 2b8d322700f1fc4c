//! From JSON to what routing needs, one object at a time. An object that does not decode, or that makes Hawser fail,
//! is its own problem.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;
use tracing::{error, warn};

use super::{kind::Kind, raw::Raw};
use crate::{
    api::{self, Object, ObjectKey, Problem, WebSocketRoute},
    source::rebuild::Change,
    telemetry::metrics::Metrics,
    translate,
};

/// Fields of a newer schema that are named in the log, each once.
const MAX_NEWER: usize = 100;

/// Never panics, whatever the object does to Hawser: the rest of its list goes on.
pub(super) fn decode(kind: Kind, key: &ObjectKey, raw: Raw, metrics: &Metrics) -> Change {
    let version = raw.version();
    let mut value = raw.into_value();
    let prepared = catch_unwind(AssertUnwindSafe(|| {
        prune_nulls(&mut value);
        if let Some(fields) = value.as_object_mut() {
            // Items of a list do not name themselves.
            fields.insert("apiVersion".to_owned(), kind.api_version().into());
            fields.insert("kind".to_owned(), kind.as_str().into());
            fields.remove("status");
        }
        read(kind, key, &value)
    }));
    let problem = match prepared {
        Ok(Ok(prepared)) => return Change::Set(prepared),
        Ok(Err(problem)) => problem,
        Err(_) => {
            error!(object = %key, "made Hawser fail; its last good version stays live. Please report it");
            metrics.source().failed();
            Problem {
                field: String::new(),
                message: "made Hawser fail; please report it".to_owned(),
            }
        }
    };
    Change::Refused {
        version,
        problems: vec![problem],
        bare: catch_unwind(AssertUnwindSafe(|| bare(kind, value)))
            .ok()
            .flatten(),
    }
}

/// The typed object lives only in here.
fn read(kind: Kind, key: &ObjectKey, value: &Value) -> Result<translate::Prepared, Problem> {
    let object = match kind {
        Kind::WebSocketRoute => {
            tell_newer(key, value);
            Object::WebSocketRoute(Box::new(typed::<WebSocketRoute>(value)?))
        }
        Kind::Ingress => Object::Ingress(Box::new(typed::<Ingress>(value)?)),
        Kind::IngressClass => Object::IngressClass(Box::new(typed::<IngressClass>(value)?)),
        Kind::Service => Object::Service(Box::new(typed::<Service>(value)?)),
        Kind::EndpointSlice => Object::EndpointSlice(Box::new(typed::<EndpointSlice>(value)?)),
    };
    Ok(translate::prepare(&object))
}

/// A route object without rules: enough to tell whose it is. Nothing is written about an object of another class.
fn bare(kind: Kind, mut value: Value) -> Option<translate::Prepared> {
    let class = value.pointer("/spec/ingressClassName").cloned();
    let class = class.filter(Value::is_string);
    let spec = value.get_mut("spec")?;
    *spec = match kind {
        Kind::WebSocketRoute => json!({"rules": []}),
        Kind::Ingress => json!({}),
        Kind::IngressClass | Kind::Service | Kind::EndpointSlice => return None,
    };
    if let (Some(class), Some(spec)) = (class, spec.as_object_mut()) {
        spec.insert("ingressClassName".to_owned(), class);
    }
    let object = match kind {
        Kind::WebSocketRoute => Object::WebSocketRoute(Box::new(typed(&value).ok()?)),
        _ => Object::Ingress(Box::new(typed(&value).ok()?)),
    };
    Some(translate::prepare(&object))
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = field(error.path().iter());
        Problem {
            field,
            message: words(&error.into_inner().to_string()),
        }
    })
}

/// serde speaks of variants; a user knows values.
fn words(message: &str) -> String {
    match message.strip_prefix("unknown variant ") {
        Some(rest) => format!(
            "unsupported value {rest}; a newer Hawser may know it, this one is {}",
            env!("CARGO_PKG_VERSION")
        ),
        None => message.to_owned(),
    }
}

fn field<'a>(path: impl Iterator<Item = &'a Segment>) -> String {
    let mut field = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => field.extend(["[", &index.to_string(), "]"]),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(name);
            }
            Segment::Unknown => {}
        }
    }
    field
}

/// Takes out fields that are null: the API server reads them as absent.
fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Schema of `spec`, as this version of Hawser knows it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(api::crd()).unwrap_or_default();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    spec.cloned().unwrap_or_default()
});

/// Fields that were told.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says in the log which fields of a newer CRD are ignored.
fn tell_newer(key: &ObjectKey, value: &Value) {
    let mut found = BTreeSet::new();
    if let Some(spec) = value.get("spec") {
        unknown(spec, &SCHEMA, "spec", &mut found);
    }
    if found.is_empty() {
        return;
    }
    let mut told = TOLD.lock();
    for field in found {
        if told.len() < MAX_NEWER && told.insert(field.clone()) {
            warn!(
                object = %key,
                field,
                "this Hawser does not know the field and ignores it, here and in other WebSocketRoutes: the CRD that is \
                 installed is newer than this Hawser, update Hawser"
            );
        }
    }
}

/// Names the fields that a schema does not have, without the places in lists.
fn unknown(value: &Value, schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                match known.get(name) {
                    Some(schema) => unknown(value, schema, &at, found),
                    None if found.len() < MAX_NEWER => {
                        found.insert(at);
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return;
            };
            for item in items {
                unknown(item, schema, at, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// Of one rule, with a backend unless it has one.
    fn route(mut rule: Value) -> Value {
        let fields = rule.as_object_mut().expect("a rule");
        let backends = json!([{"name": "chat", "port": 80}]);
        fields.entry("backendRefs").or_insert(backends);
        json!({
            "metadata": {"name": "chat", "namespace": "shop", "uid": "u", "generation": 3},
            "spec": {"rules": [rule]},
            "status": {"conditions": "of a newer version"},
        })
    }

    fn decoded(kind: Kind, value: Value) -> Change {
        let raw = Raw::new(value);
        let key = raw.key(kind);
        decode(kind, &key, raw, &Metrics::new())
    }

    fn problem(kind: Kind, value: Value) -> Problem {
        match decoded(kind, value) {
            Change::Refused {
                version, problems, ..
            } => {
                assert_eq!((&*version.uid, version.generation), ("u", 3));
                problems.into_iter().next().expect("a problem")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let wrong = route(json!({"name": "all", "backendRefs": [{"name": "chat", "port": {}}]}));
        let problem = problem(Kind::WebSocketRoute, wrong);
        assert_eq!(problem.field, "spec.rules[0].backendRefs[0].port");
    }

    #[rstest]
    #[case::unreadable(json!({"name": "all", "backendRefs": 3}))]
    #[case::poison(json!({"name": "poison-alone"}))]
    fn what_cannot_be_read_still_says_whose_it_is(#[case] rule: Value) {
        let mut wrong = route(rule);
        wrong["spec"]["ingressClassName"] = "other".into();
        let Change::Refused {
            bare: Some(bare), ..
        } = decoded(Kind::WebSocketRoute, wrong)
        else {
            panic!("no refusal with a bare object")
        };
        let options = translate::Options {
            controller_name: "hawser.dev/ingress-controller".to_owned(),
            ingress_class: "hawser".to_owned(),
            watch_ingress_without_class: false,
            origin: translate::SourceKind::Cluster,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        };
        let output = translate::translate([&bare], &options);
        assert!(!output.verdicts[0].ours && output.config.hosts.is_empty());
    }

    #[test]
    fn a_value_of_a_newer_version_is_unsupported() {
        let newer = route(json!({"name": "all", "upgrade": {"mode": "Mirror"}}));
        let problem = problem(Kind::WebSocketRoute, newer);
        assert_eq!(problem.field, "spec.rules[0].upgrade.mode");
        assert!(
            problem
                .message
                .starts_with("unsupported value `Mirror`, expected one of `Allow`"),
            "{problem:?}"
        );
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored_and_found() {
        let newer = json!({"name": "all", "mirror": {"percent": 3}, "upgrade": {"shadow": true}, "timeouts": {}});
        let value = route(newer);
        let mut found = BTreeSet::new();
        unknown(&value["spec"], &SCHEMA, "spec", &mut found);
        let expected = ["spec.rules.mirror", "spec.rules.upgrade.shadow"];
        assert_eq!(found, expected.map(str::to_owned).into());
        assert!(matches!(
            decoded(Kind::WebSocketRoute, value),
            Change::Set(_)
        ));
    }

    #[test]
    fn a_null_is_as_good_as_nothing() {
        let nulls = route(json!({"name": "all", "matches": null, "upgrade": null}));
        assert!(matches!(
            decoded(Kind::WebSocketRoute, nulls),
            Change::Set(_)
        ));
    }

    #[test]
    fn every_kind_is_read_without_naming_itself() {
        for kind in Kind::ALL {
            let value = match kind {
                Kind::WebSocketRoute => route(json!({"name": "all"})),
                Kind::EndpointSlice => {
                    json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": []})
                }
                _ => json!({"metadata": {"name": "x"}, "spec": {}}),
            };
            assert!(matches!(decoded(kind, value), Change::Set(_)), "{kind:?}");
        }
        let wrong = json!({"metadata": {"uid": "u", "generation": 3}, "spec": 7});
        assert_eq!(problem(Kind::Service, wrong).field, "spec");
    }
}
