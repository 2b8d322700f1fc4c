//! What the API server would say to a manifest: structure, types, patterns, limits, CEL rules, and for
//! built-in kinds the checks that matter to routing. Total: any JSON gives an answer.

mod decode;
mod endpoint_slice;
mod ingress;
mod ingress_class;
mod lists;
mod metadata;
mod names;
mod problems;
mod rules;
mod service;
mod structure;
mod websocket_route;
mod words;

use serde_json::Value;

use super::{Object, ObjectKey};
use problems::Problems;

/// One thing that the schema refuses about a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// Path of the field, `spec.rules[0].timeouts.idle`; empty for the object as a whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What the API server would say to a manifest: the typed object, or why it is refused.
#[derive(Debug)]
pub enum Review {
    /// A kind that Hawser does not read.
    UnknownKind {
        /// `apiVersion` of the manifest.
        api_version: String,
        /// `kind` of the manifest.
        kind: String,
    },
    /// The schema accepts it. The object names its namespace even where the manifest does not.
    Accepted(ObjectKey, Object),
    /// The schema refuses it. The key is known where the manifest names itself.
    Refused(Option<ObjectKey>, Vec<Problem>),
}

/// The kinds that Hawser reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    WebSocketRoute,
    Ingress,
    IngressClass,
    Service,
    EndpointSlice,
}

impl Kind {
    fn find(api_version: &str, kind: &str) -> Option<Self> {
        Some(match (api_version, kind) {
            ("hawser.dev/v1alpha1", "WebSocketRoute") => Self::WebSocketRoute,
            ("networking.k8s.io/v1", "Ingress") => Self::Ingress,
            ("networking.k8s.io/v1", "IngressClass") => Self::IngressClass,
            ("v1", "Service") => Self::Service,
            ("discovery.k8s.io/v1", "EndpointSlice") => Self::EndpointSlice,
            _ => return None,
        })
    }
}

/// Reads one manifest as the API server would. A field that a `WebSocketRoute` or an Ingress does not have
/// is refused, as `kubectl` does: a typing error must not be silent.
pub fn review(mut manifest: Value) -> Review {
    let text = |field| {
        manifest
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Review::Refused(
            None,
            vec![Problem {
                field: String::new(),
                message: "this is no Kubernetes object: it needs the texts apiVersion and kind, \
                          as in apiVersion: hawser.dev/v1alpha1 and kind: WebSocketRoute"
                    .to_owned(),
            }],
        );
    };
    let Some(known) = Kind::find(&api_version, &kind) else {
        return Review::UnknownKind { api_version, kind };
    };
    decode::prune_nulls(&mut manifest);

    let key = metadata::key(known, &kind, &manifest);
    let mut problems = Problems::default();
    metadata::check(known, &manifest, &mut problems);
    metadata::default_namespace(known, &mut manifest);
    let object = match known {
        Kind::WebSocketRoute => websocket_route::read(&mut manifest, &mut problems),
        Kind::Ingress => ingress::read(&manifest, &mut problems),
        Kind::IngressClass => ingress_class::read(&manifest, &mut problems),
        Kind::Service => service::read(&manifest, &mut problems),
        Kind::EndpointSlice => endpoint_slice::read(&manifest, &mut problems),
    };
    match (key, object, problems.into_vec()) {
        (Some(key), Some(object), problems) if problems.is_empty() => Review::Accepted(key, object),
        (key, _, problems) => Review::Refused(key, problems),
    }
}

#[cfg(test)]
mod tests;
