//! The `WebSocketRoute` kind.

#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct with its visibility into a function"
)]

mod backend_ref;
mod drain;
mod header_edits;
mod keepalive;
mod limits;
mod matches;
mod rewrite;
mod rule;
mod status;
mod timeouts;
mod upgrade;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::patterns;

pub use backend_ref::{BackendPort, BackendRef};
pub use drain::{DRAIN_CODE_MESSAGE, Drain, Reaction, is_drain_code};
pub use header_edits::{HeaderEdits, HeaderField, Headers};
pub use keepalive::{Keepalive, MIN_INTERVAL, MIN_INTERVAL_MESSAGE, PingTarget};
pub use limits::{Limits, MAX_BYTES, MAX_CONNECTIONS, MAX_MESSAGES_PER_SECOND};
pub use matches::{HeaderMatch, PathMatch, PathMatchType, QueryParamMatch, RouteMatch};
pub use rewrite::Rewrite;
pub use rule::RouteRule;
pub use status::{ConnectionsStatus, EndpointsStatus, WebSocketRouteStatus};
pub use timeouts::Timeouts;
pub use upgrade::{Extensions, FRAME_OVER_MESSAGE, Upgrade, UpgradeMode};

/// What a `WebSocketRoute` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hawser.dev",
    version = "v1alpha1",
    kind = "WebSocketRoute",
    plural = "websocketroutes",
    shortname = "wsr",
    category = "hawser",
    namespaced,
    status = "WebSocketRouteStatus",
    derive = "PartialEq",
    doc = "WebSocketRoute sends the HTTP requests and WebSocket handshakes for some hosts and paths to Services. A manifest with hosts, one rule with a path and a backend is already right for a WebSocket: every other field has a default that suits long-lived connections.",
    selectable = ".spec.ingressClassName",
    printcolumn = r#"{"name":"Hosts","type":"string","jsonPath":".spec.hostnames","description":"Hosts that the route is for; empty means every host."}"#,
    printcolumn = r#"{"name":"Class","type":"string","jsonPath":".spec.ingressClassName","description":"IngressClass; empty means the default class."}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status","description":"Whether every ready replica serves the route."}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason","description":"The first reason that is not the good one."}"#,
    printcolumn = r#"{"name":"Endpoints","type":"string","jsonPath":".status.endpoints.summary","description":"Ready endpoints of all endpoints."}"#,
    printcolumn = r#"{"name":"Connections","type":"integer","jsonPath":".status.connections.active","description":"Open WebSocket connections of all replicas."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketRouteSpec {
    /// Name of the `IngressClass` whose controller serves this route, as for Ingress, for example `hawser`.
    /// Default: the default `IngressClass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::SUBDOMAIN.regex))]
    pub ingress_class_name: Option<String>,

    /// Hosts that the route is for, at most 16, in lower case and without port. `*.example.com` stands for
    /// exactly one more label (`chat.example.com`, but neither `example.com` nor `a.b.example.com`).
    /// Example: `[chat.example.com]`. Default: every host that no other route names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 253), regex(pattern = patterns::HOSTNAME.regex))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub hostnames: Vec<String>,

    /// What to do with the requests for these hosts, at least one rule and at most 64. Which rule takes a
    /// request is decided by its matches, not by its place: Exact paths first, then Regex (the longest pattern
    /// first), then the longest Prefix; among equal paths more headers, then more query parameters.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RouteRule>,
}

/// For `skip_serializing_if`: a block that says nothing is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
