//! WebSocket handshakes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::MAX_BYTES;
use crate::api::patterns;

/// How WebSocket handshakes are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.maxFrameBytes) || !has(self.maxMessageBytes) || self.maxMessageBytes == 0 \
         || self.maxFrameBytes <= self.maxMessageBytes"
    )
    .message(FRAME_OVER_MESSAGE)
    .field_path(".maxFrameBytes")
)]
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

    /// Longest message in bytes as they are on the wire, compressed if so agreed, its fragments together, 0 to
    /// 1099511627776; 0 = unlimited. A longer one ends the WebSocket before any of the frame that is too much is passed on:
    /// both sides get a Close with code 1009. Example: `1048576` (1 MiB). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_BYTES))]
    pub max_message_bytes: Option<i64>,

    /// Longest payload of one data frame in bytes as they are on the wire, 0 to 1099511627776 and not above
    /// maxMessageBytes; 0 = unlimited. A longer one ends the WebSocket before any of it is passed on: both sides get a Close
    /// with code 1009. Example: `65536` (64 KiB). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_BYTES))]
    pub max_frame_bytes: Option<i64>,

    /// true: a frame of either side that breaks RFC 6455 (wrong masking, a reserved opcode, a reserved bit without an
    /// extension, a bad control frame, bad fragmentation, a close code that must not be sent) ends the WebSocket: both
    /// sides get a Close with code 1002. false: it is passed on, for the ends to judge. Example: `true`. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// What a `maxFrameBytes` that can never be reached is told.
pub const FRAME_OVER_MESSAGE: &str = "a frame is never longer than its message: write at most maxMessageBytes, or leave maxFrameBytes out";

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
