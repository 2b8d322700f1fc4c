//! Objects and their identity.

use std::fmt;

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};

use super::WebSocketRoute;

/// Any object that Hawser reads.
#[derive(Debug, Clone)]
pub enum Object {
    /// `hawser.dev/v1alpha1` `WebSocketRoute`.
    WebSocketRoute(Box<WebSocketRoute>),
    /// `networking.k8s.io/v1` Ingress.
    Ingress(Box<Ingress>),
    /// `networking.k8s.io/v1` `IngressClass`.
    IngressClass(Box<IngressClass>),
    /// `v1` Service.
    Service(Box<Service>),
    /// `discovery.k8s.io/v1` `EndpointSlice`.
    EndpointSlice(Box<EndpointSlice>),
}

/// Kind, namespace and name of an object: what makes two definitions the same object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct ObjectKey {
    /// Kind, as in the manifest.
    pub kind: String,
    /// Namespace; empty for cluster-scoped kinds, `default` where a manifest has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
