//! An object as it comes from the API server: any JSON that names itself. So no object, whatever it holds, can make
//! a list or a watch fail.

use std::{
    borrow::Cow,
    hash::{BuildHasher, Hash as _, Hasher},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{kind::Kind, managers};
use crate::{api::ObjectKey, ir::ObjectVersion};

/// An object that was not decoded yet.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// What identifies it; nothing else of its metadata.
    meta: ObjectMeta,
    /// All of it but `managedFields`, which may be more than half.
    value: Value,
    /// Field managers of Hawser, of any install, that own something of the status.
    managers: Vec<Box<str>>,
}

impl Raw {
    /// Reads an object.
    pub(super) fn new(mut value: Value) -> Self {
        let managed = value
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.remove("managedFields"));
        let metadata = value.get("metadata");
        let text = |field: &str| {
            let text = metadata?.get(field)?.as_str()?;
            Some(text.to_owned())
        };
        Self {
            meta: ObjectMeta {
                name: text("name"),
                namespace: text("namespace"),
                uid: text("uid"),
                resource_version: text("resourceVersion"),
                generation: metadata
                    .and_then(|metadata| metadata.get("generation"))
                    .and_then(Value::as_i64),
                ..ObjectMeta::default()
            },
            managers: managed.as_ref().map(status_managers).unwrap_or_default(),
            value,
        }
    }

    /// Identity.
    pub(super) fn key(&self, kind: Kind) -> ObjectKey {
        ObjectKey {
            kind: kind.as_str().to_owned(),
            namespace: self.meta.namespace.clone().unwrap_or_default(),
            name: self.meta.name.clone().unwrap_or_default(),
        }
    }

    /// Version.
    pub(super) fn version(&self) -> ObjectVersion {
        ObjectVersion {
            uid: self.meta.uid.as_deref().unwrap_or_default().into(),
            generation: self.meta.generation.unwrap_or_default(),
        }
    }

    /// `metadata.resourceVersion`, where there is one. Opaque: it is handed back, never compared.
    pub(super) fn resource_version(&self) -> Option<&str> {
        let version = self.meta.resource_version.as_deref();
        version.filter(|version| !version.is_empty())
    }

    /// Whether some of the status is this field manager's.
    pub(super) fn is_reported_by(&self, manager: &str) -> bool {
        self.managers.iter().any(|known| **known == *manager)
    }

    /// Takes the status out.
    pub(super) fn take_status(&mut self) -> Option<Value> {
        self.value.as_object_mut()?.remove("status")
    }

    /// The object without what was taken out.
    pub(super) fn into_value(self) -> Value {
        self.value
    }

    /// A print of what counts: everything but the status and the bookkeeping of the API server; and of its version.
    pub(super) fn print(&self, kind: Kind, prints: &impl BuildHasher) -> u64 {
        // Of endpoints, annotations only say when they changed; a Service's are for load balancers.
        let metadata: &[&str] = if kind.is_route() || kind == Kind::IngressClass {
            &["labels", "annotations", "creationTimestamp"]
        } else {
            &["labels", "creationTimestamp"]
        };
        let mut print = prints.build_hasher();
        (&self.meta.uid, self.meta.generation).hash(&mut print);
        for field in metadata {
            add(
                &mut print,
                self.value
                    .get("metadata")
                    .and_then(|metadata| metadata.get(field)),
            );
        }
        for (name, value) in self.value.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind") {
                print.write(name.as_bytes());
                add(&mut print, Some(value));
            }
        }
        print.finish()
    }
}

fn add(print: &mut impl Hasher, value: Option<&Value>) {
    value.hash(print);
}

/// Who of Hawser wrote some of the status, by `metadata.managedFields`. What it owns of an Ingress are the addresses.
fn status_managers(fields: &Value) -> Vec<Box<str>> {
    let entries = fields.as_array().into_iter().flatten();
    let managers = entries.filter_map(|entry| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        let manager = text("manager").filter(|manager| manager.starts_with(managers::CONDITIONS));
        let status =
            text("subresource") == Some("status") && entry.pointer("/fieldsV1/f:status").is_some();
        manager.filter(|_| status).map(Into::into)
    });
    managers.collect()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::new)
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(dynamic: &ApiResource) -> Cow<'_, str> {
        dynamic.kind.as_str().into()
    }

    fn group(dynamic: &ApiResource) -> Cow<'_, str> {
        dynamic.group.as_str().into()
    }

    fn version(dynamic: &ApiResource) -> Cow<'_, str> {
        dynamic.version.as_str().into()
    }

    fn plural(dynamic: &ApiResource) -> Cow<'_, str> {
        dynamic.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use serde_json::json;

    use super::*;

    fn ingress(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = json!({
            "metadata": {
                "name": "chat", "namespace": "shop", "uid": "1", "generation": 2, "resourceVersion": "7",
                "labels": {"app": "chat"},
                "managedFields": [{
                    "manager": "hawser", "subresource": "status", "operation": "Apply",
                    "fieldsV1": {"f:status": {"f:loadBalancer": {"f:ingress": {}}}},
                }],
            },
            "spec": {"ingressClassName": "hawser"},
            "status": {"loadBalancer": {}},
        });
        change(&mut value);
        value
    }

    #[test]
    fn only_what_counts_is_in_the_print() {
        let prints = RandomState::new();
        let print = |value| Raw::new(value).print(Kind::Ingress, &prints);
        let same = print(ingress(|_| ()));
        for (pointer, text) in [
            ("/status/loadBalancer", "10.0.0.1"),
            ("/metadata/resourceVersion", "8"),
            ("/metadata/managedFields/0/manager", "kubectl"),
        ] {
            let other =
                ingress(|value| *value.pointer_mut(pointer).expect("a field") = text.into());
            assert_eq!(print(other), same, "{pointer}");
        }
        for (pointer, text) in [
            ("/spec/ingressClassName", "other"),
            ("/metadata/labels/app", "other"),
            ("/metadata/uid", "2"),
        ] {
            let other =
                ingress(|value| *value.pointer_mut(pointer).expect("a field") = text.into());
            assert_ne!(print(other), same, "{pointer}");
        }
    }

    #[test]
    fn whose_status_it_is_is_read_from_managed_fields() {
        assert!(Raw::new(ingress(|_| ())).is_reported_by("hawser"));
        assert!(!Raw::new(ingress(|_| ())).is_reported_by("hawser@hawser.dev/other"));
        for pointer in ["manager", "subresource"] {
            let pointer = format!("/metadata/managedFields/0/{pointer}");
            let other =
                ingress(|value| *value.pointer_mut(&pointer).expect("a field") = "x".into());
            assert!(!Raw::new(other).is_reported_by("hawser"), "{pointer}");
        }
    }

    #[test]
    fn any_json_can_be_read() {
        for value in [
            json!(null),
            json!([]),
            json!({"metadata": 3}),
            json!({"metadata": {"name": []}}),
        ] {
            let raw = Raw::new(value);
            assert_eq!(raw.key(Kind::Service).name, "");
            assert_eq!(raw.resource_version(), None);
        }
    }
}
