//! One rule of a `WebSocketRoute`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    BackendRef, Drain, Headers, Keepalive, Limits, Rewrite, RouteMatch, Timeouts, Upgrade,
    is_default,
};
use crate::api::patterns;

/// Requests that are treated alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.rewrite) || !has(self.rewrite.prefix) || !has(self.matches) \
         || !self.matches.exists(m, has(m.path) && m.path.type == 'Regex')"
    )
    .message(
        "prefix replaces what a Prefix or Exact path matched, which a Regex path does not tell: \
         use a Prefix or Exact path in this rule, or leave rewrite.prefix out"
    )
    .field_path(".rewrite.prefix")
    .reason(Reason::FieldValueInvalid)
)]
pub struct RouteRule {
    /// Name of the rule, unique in the route: lower case letters, digits and `-`, at most 63 characters, for
    /// example `socket`. It stands in conditions, logs and metrics, and it is what server-side apply merges by.
    #[schemars(length(min = 1, max = 63), regex(pattern = patterns::LABEL.regex))]
    pub name: String,

    /// Which requests the rule takes: those that any of these matches, at most 16. Default: one match with the
    /// path Prefix `/`, which is every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub matches: Vec<RouteMatch>,

    /// Services that take the requests, at least one and at most 16, each with a share by its weight. While a
    /// Service is missing its share of the requests gets 500; without ready endpoints 503.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub backend_refs: Vec<BackendRef>,

    /// How WebSocket handshakes are treated. Default: they are tunnelled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upgrade: Upgrade,

    /// Time limits, as durations like `10s` or `1h30m`; `0s` turns one off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,

    /// WebSocket pings of Hawser's own, which keep a quiet WebSocket alive on its way and find a peer that is gone.
    /// Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keepalive: Keepalive,

    /// Limits of the number of WebSockets and of what each may send, counted per replica. Default: none, but for
    /// writeStall.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,

    /// How WebSockets end when the process, an endpoint or the rule goes: a Close frame with code 1012 each, spread over
    /// time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain: Drain,

    /// Changes to header fields of requests and responses, handshakes included.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: Headers,

    /// Changes to the path and the host that the backend sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite: Rewrite,
}
