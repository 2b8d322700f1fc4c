//! The intermediate representation: what is to be served, as plain data.
//!
//! `translate` writes it, `table` compiles it, tests compare it. It knows neither Kubernetes nor
//! sockets. Two equal inputs give equal bytes: every collection here has a total order.
//!
//! Invariant: no kube, tokio or hyper type in this module (`tests/it/layering.rs`).

mod backend;
mod bytes;
mod config;
mod explain;
mod id;
mod matching;
mod path;
mod policy;
mod settings;

pub use backend::{Backend, BackendRef, Endpoint, Target};
pub(crate) use bytes::alphanumeric_or;
pub use config::{Candidate, Config, Delta, HostRoutes, Route};
pub use explain::{ANNOTATIONS, Explained, Explanation};
pub use id::{BackendId, ObjectId, ObjectVersion, RouteId, RouteKind};
pub use matching::{
    Age, HeaderMatch, HostPattern, PathMatch, QueryMatch, REGEX_SIZE_LIMIT, Rank, Traffic,
};
pub use path::{PathProblem, normalize_path};
pub use policy::{
    ConnectionsStatus, Drain, Extensions, HeaderEdits, HeaderRules, HeaderValue, Keepalive, Limits,
    PingTarget, Policy, Reaction, Rewrite, Timeouts, Upgrade, UpgradeMode,
};
pub use settings::{Origin, Setting, defaults};
