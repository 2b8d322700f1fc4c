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
    BackendPort, BackendRef, ConnectionsStatus, DRAIN_CODE_MESSAGE, Drain, EndpointsStatus,
    Extensions, FRAME_OVER_MESSAGE, HeaderEdits, HeaderField, HeaderMatch, Headers, Keepalive,
    Limits, MAX_BYTES, MAX_CONNECTIONS, MAX_MESSAGES_PER_SECOND, MIN_INTERVAL,
    MIN_INTERVAL_MESSAGE, PathMatch, PathMatchType, PingTarget, QueryParamMatch, Reaction, Rewrite,
    RouteMatch, RouteRule, Timeouts, Upgrade, UpgradeMode, WebSocketRoute, WebSocketRouteSpec,
    WebSocketRouteStatus, is_drain_code,
};
