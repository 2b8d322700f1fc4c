//! Names of things. The same thing has the same name in logs, metrics, status and the admin API.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// Which API kind a route comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RouteKind {
    /// `WebSocketRoute`, `hawser.dev/v1alpha1`.
    WebSocketRoute,
    /// `Ingress`, `networking.k8s.io/v1`.
    Ingress,
}

impl RouteKind {
    /// The word that labels and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocketRoute => "WebSocketRoute",
            Self::Ingress => "Ingress",
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which version of which object something is about: what a status reports, and what replicas compare.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectVersion {
    /// `metadata.uid`; empty for a file.
    pub uid: Arc<str>,
    /// `metadata.generation`; 0 for a file.
    pub generation: i64,
}

/// The object that a route comes from. Ordered by `namespace/name`, then kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectId {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Kind of the object.
    pub kind: RouteKind,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// One rule of one object: the unit that logs, metrics and status speak of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteId {
    /// The object.
    pub object: ObjectId,
    /// Name of the rule; for an Ingress the host and path, or `defaultBackend`.
    pub rule: Arc<str>,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.object, self.rule)
    }
}

/// A port of a Service: what endpoints, pools, health and counts belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendId {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// Port number of the Service (not of its pods).
    pub port: u16,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}
