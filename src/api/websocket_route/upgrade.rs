//! WebSocket handshakes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::patterns;

/// How WebSocket handshakes are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Upgrade {
    /// Allow: handshakes are tunnelled, plain HTTP is proxied too, which long-polling fallbacks need. Require: only
    /// handshakes, anything else gets 426. Deny: a handshake gets 403, plain HTTP is proxied. Ignore: the Upgrade
    /// header is dropped and the request served as plain HTTP. Default: Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UpgradeMode")]
    pub mode: Option<UpgradeMode>,

    /// Subprotocols that clients may ask for, at most 16, for example `[chat.v2, chat.v1]`. An offer is reduced to
    /// these; if none is left the handshake goes on without a subprotocol. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 128), regex(pattern = patterns::TOKEN.regex))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subprotocols: Vec<String>,

    /// Allow: an offer of WebSocket extensions, for example compression, reaches the backend. Strip: the offer is
    /// dropped, so that messages stay uncompressed. Default: Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Extensions")]
    pub extensions: Option<Extensions>,
}

/// Whether handshakes are tunnelled.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
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

/// What happens to an offer of WebSocket extensions.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Extensions {
    /// The offer reaches the backend.
    Allow,
    /// `Sec-WebSocket-Extensions` is dropped.
    Strip,
}
