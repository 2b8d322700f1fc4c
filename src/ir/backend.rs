//! Backends and their endpoints.

use std::{fmt, net::SocketAddr};

use serde::Serialize;

use super::BackendId;

/// Where a share of a route's traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendRef {
    /// The backend, or why there is none.
    pub target: Target,
    /// Share of the traffic, relative to the other references of the rule. 0 = none.
    pub weight: u32,
}

/// What a backend reference resolved to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Target {
    /// A port of a Service.
    Backend(BackendId),
    /// Service or port do not exist (or the reference is of no known kind): its share of the traffic
    /// gets 500. The text says what is missing; it goes to logs, never to clients.
    Missing(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(id) => id.fmt(f),
            Self::Missing(why) => write!(f, "500: {why}"),
        }
    }
}

/// A backend as seen in the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Backend {
    /// Endpoints in total order, each address once.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Address and port of the pod.
    pub address: SocketAddr,
    /// New connections may go there.
    pub ready: bool,
    /// It still serves what it has (a terminating pod may serve without being ready).
    pub serving: bool,
    /// It was asked to end.
    pub terminating: bool,
}
