//! Pings of the proxy.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Duration, patterns};

/// WebSocket pings (RFC 6455 section 5.5.2) that Hawser itself sends between the frames of a tunnel. Pings and pongs
/// of the application pass untouched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    // A text that is no duration has its own message.
    validation = Rule::new(format!(
        "!has(self.interval) || !self.interval.matches('{}') \
         || duration(self.interval) == duration('0s') || duration(self.interval) >= duration('1s')",
        patterns::DURATION.regex
    ))
    .message(MIN_INTERVAL_MESSAGE)
    .field_path(".interval")
)]
pub struct Keepalive {
    /// Time between two pings, at least `1s`; `0s` = no pings. The peer's WebSocket layer answers them, neither the
    /// application nor a user sees them, and they do not count for timeouts.idle. Set it below the idle time-out of the
    /// load balancers and NATs on the way. Example: `30s`. Default: `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,

    /// How long a ping may be without its pong, or anything else of that side. Then it counts as lost: the other side gets
    /// a Close, 1001 if it is the backend, 1014 if it is the client. `0s` = no answer is waited for, and pings go on.
    /// Example: `10s`. Default: `20s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,

    /// Who gets pings: Client, Backend or Both. Example: `Client`. Default: Both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PingTarget")]
    pub target: Option<PingTarget>,
}

/// Shortest `keepalive.interval`: more pings than one in a second tell nothing more and cost every tunnel.
pub const MIN_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// What a shorter one is told.
pub const MIN_INTERVAL_MESSAGE: &str =
    "pings go out once a second at most: write 1s or more, as in 30s; 0s means off";

/// Who gets pings.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PingTarget {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// Both.
    Both,
}
