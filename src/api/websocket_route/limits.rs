//! Limits of number and rate.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;

/// Most tunnels that a limit can name: ten times what fits into one process.
pub const MAX_CONNECTIONS: i32 = 10_000_000;

/// Most messages per second that a limit can name: several times what a core passes on.
pub const MAX_MESSAGES_PER_SECOND: i32 = 10_000_000;

/// Most bytes that a limit can name: 1 TiB.
pub const MAX_BYTES: i64 = 1 << 40;

/// Limits of a rule. Each replica counts for itself: with three replicas a rule may have three times `connections`. 0, and
/// `0s`, turn a limit off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Open WebSockets of the rule, counted per replica, 0 to 10000000; 0 = off. A handshake beyond gets
    /// connectionsStatus with Retry-After; what is open stays. Example: `5000`. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_CONNECTIONS))]
    pub connections: Option<i32>,

    /// Open WebSockets of the rule that one client address may have, counted per replica, 0 to 10000000; 0 = off. A
    /// handshake beyond gets 429 with Retry-After. Clients behind one NAT share an address. Example: `20`. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_CONNECTIONS))]
    pub connections_per_client: Option<i32>,

    /// Status code of the answer when `connections` is reached: 503 (Service Unavailable) or 429 (Too Many Requests,
    /// for clients that back off on nothing else). Example: `429`. Default: 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", extend("enum" = CONNECTIONS_STATUS))]
    pub connections_status: Option<i32>,

    /// Messages per second, for each WebSocket and direction, 0 to 10000000; 0 = off. Control frames, and fragments of
    /// about 125 bytes or less, count too. What comes faster waits: the sender's writes block (back-pressure), nothing is
    /// dropped and nothing is closed. Example: `50`. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_MESSAGES_PER_SECOND))]
    pub messages_per_second: Option<i32>,

    /// Bytes per second, for each WebSocket and direction, 0 to 1099511627776; 0 = off. What comes faster waits, as for
    /// messagesPerSecond. Example: `262144` (256 KiB). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_BYTES))]
    pub bytes_per_second: Option<i64>,

    /// How long a side of a WebSocket may take nothing at all while bytes wait for it. Then that side counts as lost: the
    /// other one gets a Close, 1001 if it is the backend, 1014 if it is the client. `0s` = off. Example: `30s`.
    /// Default: `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_stall: Option<Duration>,
}

/// The values of `connectionsStatus`.
const CONNECTIONS_STATUS: [i32; 2] = [503, 429];
