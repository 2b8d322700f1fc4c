//! How the requests of a route are treated.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::{Setting, defaults};

/// Everything that a route decides besides where it goes. Defaults are already applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// WebSocket upgrades.
    pub upgrade: Upgrade,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Pings of our own.
    pub keepalive: Keepalive,
    /// Limits of number and rate.
    pub limits: Limits,
    /// When and how Hawser ends tunnels.
    pub drain: Drain,
    /// Changes to header fields.
    pub headers: HeaderRules,
    /// Changes to path and host towards the backend.
    pub rewrite: Rewrite,
}

/// A policy on which nothing is set.
impl Default for Policy {
    fn default() -> Self {
        Self {
            upgrade: Upgrade {
                mode: Setting::default(defaults::UPGRADE_MODE),
                subprotocols: Setting::default(None),
                extensions: Setting::default(defaults::EXTENSIONS),
                max_message_bytes: Setting::default(None),
                max_frame_bytes: Setting::default(None),
                strict: Setting::default(false),
            },
            timeouts: Timeouts {
                connect: Setting::default(Some(defaults::CONNECT)),
                handshake: Setting::default(Some(defaults::HANDSHAKE)),
                response: Setting::default(Some(defaults::UPGRADE_MODE.default_response())),
                idle: Setting::default(Some(defaults::IDLE)),
                max_lifetime: Setting::default(None),
            },
            keepalive: Keepalive::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            headers: HeaderRules::default(),
            rewrite: Rewrite::default(),
        }
    }
}

/// What happens to a WebSocket handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Whether handshakes are tunnelled.
    pub mode: Setting<UpgradeMode>,
    /// Subprotocols that may be offered; `None` = any.
    pub subprotocols: Setting<Option<Arc<[String]>>>,
    /// Whether extensions may be offered.
    pub extensions: Setting<Extensions>,
    /// Longest message, payload bytes on the wire, fragments together; `None` = unlimited.
    pub max_message_bytes: Setting<Option<u64>>,
    /// Longest payload of a frame; `None` = unlimited.
    pub max_frame_bytes: Setting<Option<u64>>,
    /// Whether a violation of RFC 6455 ends the tunnel (1002) instead of being passed on.
    pub strict: Setting<bool>,
}

/// Whether a route tunnels handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum UpgradeMode {
    /// Handshakes are tunnelled, plain HTTP is proxied too.
    Allow,
    /// Only handshakes; anything else gets 426.
    Require,
    /// A handshake gets 403; plain HTTP is proxied.
    Deny,
    /// `Upgrade` is dropped and the request served as plain HTTP.
    Ignore,
}

impl UpgradeMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Require, Self::Deny, Self::Ignore];

    /// Default of `timeouts.response`: where upgrades are allowed, long-polling fallbacks may run.
    pub fn default_response(self) -> Duration {
        match self {
            Self::Allow | Self::Require => defaults::RESPONSE_WITH_UPGRADES,
            Self::Deny | Self::Ignore => defaults::RESPONSE,
        }
    }
}

impl fmt::Display for UpgradeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Require => "Require",
            Self::Deny => "Deny",
            Self::Ignore => "Ignore",
        })
    }
}

/// What happens to an offer of WebSocket extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Extensions {
    /// The offer reaches the backend.
    Allow,
    /// `Sec-WebSocket-Extensions` is dropped.
    Strip,
}

impl fmt::Display for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Strip => "Strip",
        })
    }
}

/// Time limits; `None` = off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// One attempt to connect to an endpoint.
    pub connect: Setting<Option<Duration>>,
    /// From the handshake's arrival to the backend's 101.
    pub handshake: Setting<Option<Duration>>,
    /// Plain HTTP: from the end of the request, body included, to the head of the response.
    pub response: Setting<Option<Duration>>,
    /// Tunnel: no byte in either direction.
    pub idle: Setting<Option<Duration>>,
    /// Tunnel: total age.
    pub max_lifetime: Setting<Option<Duration>>,
}

/// Pings that Hawser itself sends into a tunnel (RFC 6455 section 5.5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keepalive {
    /// Between two pings; `None` = no pings.
    pub interval: Setting<Option<Duration>>,
    /// From a ping to its pong; `None` = the answer is not waited for.
    pub timeout: Setting<Option<Duration>>,
    /// Who is pinged.
    pub target: Setting<PingTarget>,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Setting::default(None),
            timeout: Setting::default(Some(defaults::PONG)),
            target: Setting::default(PingTarget::Both),
        }
    }
}

/// Who gets pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum PingTarget {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// Both.
    Both,
}

impl fmt::Display for PingTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "Client",
            Self::Backend => "Backend",
            Self::Both => "Both",
        })
    }
}

/// Limits of number and rate, all counted in this process; `None` = none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Open tunnels of the rule.
    pub connections: Setting<Option<u32>>,
    /// Open tunnels of the rule that one client address may have.
    pub connections_per_client: Setting<Option<u32>>,
    /// The answer when `connections` is reached.
    pub connections_status: Setting<ConnectionsStatus>,
    /// Data messages per second, of each tunnel and direction, by back-pressure.
    pub messages_per_second: Setting<Option<u32>>,
    /// Bytes per second, of each tunnel and direction, by back-pressure.
    pub bytes_per_second: Setting<Option<u64>>,
    /// How long a side may take nothing at all while something waits for it.
    pub write_stall: Setting<Option<Duration>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Setting::default(None),
            connections_per_client: Setting::default(None),
            connections_status: Setting::default(ConnectionsStatus::ServiceUnavailable),
            messages_per_second: Setting::default(None),
            bytes_per_second: Setting::default(None),
            write_stall: Setting::default(Some(defaults::WRITE_STALL)),
        }
    }
}

/// The answer to a handshake beyond `limits.connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "u16")]
pub enum ConnectionsStatus {
    /// 503
    ServiceUnavailable,
    /// 429
    TooManyRequests,
}

impl ConnectionsStatus {
    /// The status code.
    pub fn code(self) -> u16 {
        match self {
            Self::ServiceUnavailable => 503,
            Self::TooManyRequests => 429,
        }
    }
}

impl From<ConnectionsStatus> for u16 {
    fn from(status: ConnectionsStatus) -> Self {
        status.code()
    }
}

impl fmt::Display for ConnectionsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

/// When and how Hawser ends tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Over how long the ends of many tunnels are spread.
    pub window: Setting<Duration>,
    /// The same for the tunnels to a terminating endpoint: the smaller of both counts.
    pub backend_grace: Setting<Duration>,
    /// Close code: 1001, 1012, 1013 or 3000 to 4999.
    pub code: Setting<u16>,
    /// When an endpoint is terminating.
    pub on_backend_terminating: Setting<Reaction>,
    /// When an endpoint is in no slice of its Service any more.
    pub on_backend_removed: Setting<Reaction>,
    /// When no rule has the host and path any more.
    pub on_route_removed: Setting<Reaction>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            window: Setting::default(defaults::DRAIN_WINDOW),
            backend_grace: Setting::default(defaults::BACKEND_GRACE),
            code: Setting::default(defaults::DRAIN_CODE),
            on_backend_terminating: Setting::default(Reaction::Drain),
            on_backend_removed: Setting::default(Reaction::Close),
            on_route_removed: Setting::default(Reaction::Drain),
        }
    }
}

/// What an event does to the tunnels that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Reaction {
    /// Each gets a Close, spread over a window.
    Drain,
    /// They stay.
    Keep,
    /// Each gets a Close at once.
    Close,
}

impl fmt::Display for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drain => "Drain",
            Self::Keep => "Keep",
            Self::Close => "Close",
        })
    }
}

/// Header changes of a route, applied after hop-by-hop fields went and before Hawser's own are set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HeaderRules {
    /// Towards the backend.
    pub request: HeaderEdits,
    /// Towards the client.
    pub response: HeaderEdits,
}

/// Changes to one header section, in this order: remove, set, add. Names are lower case and valid, values
/// are valid field values (RFC 9110 section 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HeaderEdits {
    /// Replaces all values of the name.
    pub set: Vec<HeaderValue>,
    /// Adds one value.
    pub add: Vec<HeaderValue>,
    /// Removes all values of the name.
    pub remove: Vec<String>,
}

/// A header field to write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HeaderValue {
    /// Field name, lower case.
    pub name: String,
    /// Field value.
    pub value: String,
}

/// Changes to the target towards the backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rewrite {
    /// Replaces what a `Prefix` matched, element-wise, or the whole path of an `Exact`.
    pub prefix: Option<String>,
    /// Replaces the Host field.
    pub hostname: Option<String>,
}
