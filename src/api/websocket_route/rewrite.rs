//! Changes to the target of a request.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::patterns;

/// Changes to the path and the host that the backend sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "!has(self.prefix) || !(self.prefix.contains('//') || self.prefix.contains('/./') \
         || self.prefix.endsWith('/.') || self.prefix.contains('/../') || self.prefix.endsWith('/..'))"
    )
    .message("a path has no '//' and no '.' or '..' segment")
    .field_path(".prefix")
)]
pub struct Rewrite {
    /// Path that replaces what a Prefix path matched, element by element, or the whole of an Exact path; not with a
    /// Regex path. With the Prefix `/ws` and the prefix `/` the backend sees `/room` for `/ws/room`. At most 1024
    /// characters. Default: the path stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = patterns::PATH.regex))]
    pub prefix: Option<String>,

    /// Host that the backend sees in place of the one that the client sent, for example `internal.example.com`.
    /// Default: the host stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = patterns::PRECISE_HOSTNAME.regex))]
    pub hostname: Option<String>,
}
