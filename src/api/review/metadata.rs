//! Identity of an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{Kind, ObjectKey, decode, names, problems::Problems, words};

/// Where a manifest that names no namespace goes, as with `kubectl`.
const DEFAULT_NAMESPACE: &str = "default";

/// The identity, where the manifest has one that can be read.
pub(super) fn key(known: Kind, kind: &str, manifest: &Value) -> Option<ObjectKey> {
    let name = manifest.pointer("/metadata/name")?.as_str()?;
    let namespace = match manifest.pointer("/metadata/namespace") {
        _ if known == Kind::IngressClass => "",
        None => DEFAULT_NAMESPACE,
        Some(namespace) => match namespace.as_str()? {
            "" => DEFAULT_NAMESPACE,
            namespace => namespace,
        },
    };
    (!name.is_empty()).then(|| ObjectKey {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Checks the types of all metadata, and name and namespace.
pub(super) fn check(known: Kind, manifest: &Value, problems: &mut Problems) {
    let Some(metadata) = manifest.get("metadata") else {
        problems.push("metadata.name", "required, but missing");
        return;
    };
    let meta = decode::decode::<ObjectMeta>(metadata, "metadata", problems);
    let Some(meta) = meta else { return };
    let (valid, asked): (fn(&str) -> bool, _) = match known {
        Kind::Service => (names::is_service_name, names::SERVICE_WORDS),
        _ => (names::is_subdomain, names::SUBDOMAIN_WORDS),
    };
    match meta.name.as_deref() {
        None | Some("") => problems.push("metadata.name", "required, but missing"),
        Some(name) if !valid(name) => problems.push(
            "metadata.name",
            format!("{} is no valid name: {asked}", words::quote(name)),
        ),
        Some(_) => {}
    }
    if let Some(namespace) = meta.namespace.as_deref()
        && known != Kind::IngressClass
        && !namespace.is_empty()
        && !names::is_label(namespace)
    {
        problems.push(
            "metadata.namespace",
            format!(
                "{} is no valid name: {}",
                words::quote(namespace),
                names::LABEL_WORDS
            ),
        );
    }
}

/// Writes the namespace into an object that names none, and out of one that has none.
pub(super) fn default_namespace(known: Kind, manifest: &mut Value) {
    let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if known == Kind::IngressClass {
        metadata.remove("namespace");
    } else if metadata
        .get("namespace")
        .is_none_or(|namespace| namespace == "")
    {
        metadata.insert("namespace".to_owned(), json!(DEFAULT_NAMESPACE));
    }
}
