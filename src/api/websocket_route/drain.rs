//! When and how Hawser ends WebSockets.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;

/// What a `drain.code` that is none is told.
pub const DRAIN_CODE_MESSAGE: &str = "write a code with which a server may ask a client to come back: 1001 (going away), \
     1012 (service restart), 1013 (try again later), or 3000 to 4999 for one that your application knows; \
     1005, 1006 and 1015 never stand in a Close frame (RFC 6455 section 7.4.1)";

/// Whether a server may send the code when it ends a tunnel that did nothing wrong. 1000 is not among them: clients
/// take it for the end of what they wanted and do not come back.
pub fn is_drain_code(code: i32) -> bool {
    matches!(code, 1001 | 1012 | 1013 | 3000..=4999)
}

/// How WebSockets end that Hawser itself ends because the process, an endpoint or the rule goes. Each gets a Close frame at
/// a message boundary, the client first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.code) || self.code in [1001, 1012, 1013] || (self.code >= 3000 && self.code <= 4999)"
    )
    .message(DRAIN_CODE_MESSAGE)
    .field_path(".code")
)]
pub struct Drain {
    /// Time over which the ends of many WebSockets are spread, so that their clients do not come back all at once; `0s` =
    /// all at once. When the process ends, the smaller of this and the flag --drain-window counts. Example: `30s`.
    /// Default: `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,

    /// The same for the WebSockets of an endpoint that is terminating; the smaller of this and the window counts. Keep it
    /// below the terminationGracePeriodSeconds of the pods, which is 30 s where it is not set; `0s` = all at once. Example:
    /// `50s`. Default: `20s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_grace: Option<Duration>,

    /// Code of the Close frame that both sides get: 1001 (going away), 1012 (service restart), 1013 (try again later), or
    /// 3000 to 4999 for one that the application knows. Example: `4001`. Default: 1012.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,

    /// What happens to the WebSockets of an endpoint that is terminating (its pod is being deleted). Drain: each gets a
    /// Close, spread over backendGrace. Keep: nothing, the backend ends them. Close: each gets a Close at once. Example:
    /// `Keep`. Default: Drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reaction")]
    pub on_backend_terminating: Option<Reaction>,

    /// What happens to the WebSockets of an endpoint that has been in no EndpointSlice of its Service for 10 s. Drain: each
    /// gets a Close, spread over the window. Keep: nothing. Close: each gets a Close at once. Example: `Keep`. Default:
    /// Close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reaction")]
    pub on_backend_removed: Option<Reaction>,

    /// What happens to the WebSockets of the rule when for 10 s no rule of the namespace has had their host and path.
    /// Drain: each gets a Close, spread over the window. Keep: nothing. Close: each gets a Close at once. A rule that only
    /// changes keeps its WebSockets. Example: `Keep`. Default: Drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reaction")]
    pub on_route_removed: Option<Reaction>,
}

/// What an event does to the WebSockets that it is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Reaction {
    /// Each gets a Close, spread over a window.
    Drain,
    /// They stay.
    Keep,
    /// Each gets a Close at once.
    Close,
}

#[cfg(test)]
mod tests {
    use kube::core::cel::{compile_schema, validate_compiled};
    use schemars::SchemaGenerator;

    use super::*;

    #[test]
    fn the_schema_and_the_function_agree_on_every_code() {
        let schema = SchemaGenerator::default().into_root_schema_for::<Drain>();
        let rules = compile_schema(schema.as_value());
        for code in (0..=5100).chain([-1, 65_535, 65_536 + 1012]) {
            let refused =
                validate_compiled(&rules, &serde_json::json!({ "code": code }), None).is_err();
            assert_eq!(!refused, is_drain_code(code), "{code}");
        }
    }
}
