//! Changes to header fields.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::api::{headers::EditableHeaderName, patterns};

/// Changes to header fields in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Headers {
    /// Changes to requests and handshakes on their way to the backend.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: HeaderEdits,

    /// Changes to responses on their way to the client, the 101 of a handshake included.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response: HeaderEdits,
}

/// Changes to one header section, done in the order remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct HeaderEdits {
    /// Headers to write in place of all values that they have, at most 16, for example
    /// `[{name: x-tenant, value: a}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub set: Vec<HeaderField>,

    /// Headers to write besides the values that they have, at most 16, for example
    /// `[{name: vary, value: origin}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub add: Vec<HeaderField>,

    /// Names of headers to drop, at most 16, for example `[server]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub remove: Vec<EditableHeaderName>,
}

/// A header field to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct HeaderField {
    /// Name of the header, at most 256 characters, for example `x-tenant`. Headers that belong to the proxy are
    /// refused: framing, hop-by-hop, Sec-WebSocket-*, Host, Expect, Forwarded, X-Request-Id and X-Forwarded-* but
    /// X-Forwarded-Prefix.
    pub name: EditableHeaderName,

    /// Value of the header, at most 4096 visible ASCII characters, spaces and tabs.
    #[schemars(length(min = 1, max = 4096), regex(pattern = patterns::FIELD_VALUE.regex))]
    pub value: String,
}
