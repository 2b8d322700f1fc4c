//! The Kubernetes API as Hawser sees it: the `WebSocketRoute` kind, the annotations of an Ingress, the
//! words of conditions, and what the API server would say to a manifest.

pub mod annotations;
pub mod conditions;
mod crd;
mod duration;
pub mod headers;
mod object;
mod patterns;
mod review;
mod websocket_route;

pub use crd::{crd, crd_yaml};
pub use duration::{Duration, DurationError};
pub use object::{Object, ObjectKey};
pub use review::{Problem, Review, review};
pub use websocket_route::{
    BackendPort, BackendRef, ConnectionsStatus, EndpointsStatus, Extensions, HeaderEdits,
    HeaderField, HeaderMatch, Headers, PathMatch, PathMatchType, QueryParamMatch, Rewrite,
    RouteMatch, RouteRule, Timeouts, Upgrade, UpgradeMode, WebSocketRoute, WebSocketRouteSpec,
    WebSocketRouteStatus,
};
