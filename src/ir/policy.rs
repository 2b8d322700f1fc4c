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
            },
            timeouts: Timeouts {
                connect: Setting::default(Some(defaults::CONNECT)),
                handshake: Setting::default(Some(defaults::HANDSHAKE)),
                response: Setting::default(Some(defaults::UPGRADE_MODE.default_response())),
                idle: Setting::default(Some(defaults::IDLE)),
            },
            headers: HeaderRules::default(),
            rewrite: Rewrite::default(),
        }
    }
}

/// What happens to a WebSocket handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Whether handshakes are tunnelled.
    pub mode: Setting<UpgradeMode>,
    /// Subprotocols that may be offered; `None` = any.
    pub subprotocols: Setting<Option<Arc<[String]>>>,
    /// Whether extensions may be offered.
    pub extensions: Setting<Extensions>,
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
pub struct Timeouts {
    /// One attempt to connect to an endpoint.
    pub connect: Setting<Option<Duration>>,
    /// From the handshake's arrival to the backend's 101.
    pub handshake: Setting<Option<Duration>>,
    /// Plain HTTP: from the end of the request, body included, to the head of the response.
    pub response: Setting<Option<Duration>>,
    /// Tunnel: no byte in either direction.
    pub idle: Setting<Option<Duration>>,
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
