//! Time limits.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;

/// Time limits of a rule; an absent one has its default, `0s` turns it off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// How long one attempt to connect to an endpoint may take. When the last attempt took too long the client gets
    /// 504. Example: `2s`. Default: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,

    /// How long a WebSocket handshake may take until the backend has switched protocols (101); then the client gets
    /// 504. Example: `30s`. Default: `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Duration>,

    /// Plain HTTP: how long the backend may take from the end of the request, body included, to the head of its
    /// response; then the client gets 504. Example: `30s`. Default: `300s` where upgrade.mode is Allow or Require,
    /// because long-polling fallbacks hold a request for minutes, else `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Duration>,

    /// How long an open WebSocket may be without a single byte in either direction before it is closed, with code
    /// 1001. Example: `24h`. Default: `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,

    /// How old a WebSocket may get, however busy it is, before it is closed with code 1012. Each ends at a time of its own
    /// in the last tenth before that, never later, so that clients that came together do not come back together; `0s` =
    /// off. Example: `12h`. Default: `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Duration>,
}
