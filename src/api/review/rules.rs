//! The CEL rules of the schema.

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::Value;

use super::problems::Problems;
use crate::api::{
    Duration, MIN_INTERVAL, PathMatchType, RouteRule, WebSocketRoute, headers, is_drain_code,
};

/// The rules, compiled once.
pub(super) struct Rules(CompiledSchema);

impl Rules {
    pub(super) fn compile(openapi: &Value) -> Self {
        Self(compile_schema(openapi))
    }

    /// Reports every rule that the manifest breaks. `route` is the same object, read.
    ///
    /// The interpreter takes 50 to 250 us for an object, a hundred times what all other checks take together,
    /// and ten thousand routes may come in one file. So it looks only at a route that may break a rule.
    pub(super) fn check(&self, manifest: &Value, route: &WebSocketRoute, problems: &mut Problems) {
        if !route.spec.rules.iter().any(is_suspicious) {
            return;
        }
        if let Err(errors) = validate_compiled(&self.0, manifest, None) {
            for error in errors {
                problems.push(error.field_path, error.message);
            }
        }
    }
}

/// Whether a rule of the route may break a CEL rule. Says yes too often rather than too seldom; a test holds
/// it against the interpreter.
fn is_suspicious(rule: &RouteRule) -> bool {
    /// What only an expression may have; the pattern of the field refuses the other characters.
    const NOT_IN_PATHS: [char; 8] = ['?', '[', ']', '{', '}', '|', '^', '\\'];

    let edits = [&rule.headers.request, &rule.headers.response];
    let protected = edits.into_iter().any(|edits| {
        let written = edits.set.iter().chain(&edits.add).map(|field| &field.name);
        written
            .chain(&edits.remove)
            .any(|name| headers::is_protected(&name.0))
    });
    let unclean = |path: &str| path.contains("//") || path.contains("/.");
    let mut paths = rule.matches.iter().filter_map(|each| each.path.as_ref());
    let path = paths.any(|path| match path.type_ {
        PathMatchType::Regex => rule.rewrite.prefix.is_some(),
        PathMatchType::Exact | PathMatchType::Prefix => {
            !path.value.starts_with('/')
                || unclean(&path.value)
                || path.value.contains("%2")
                || path.value.contains(NOT_IN_PATHS)
        }
    });
    let rewrite = rule.rewrite.prefix.as_deref().is_some_and(unclean);
    protected || path || rewrite || is_suspicious_tunnel(rule)
}

/// The same for the fields that are about open tunnels.
fn is_suspicious_tunnel(rule: &RouteRule) -> bool {
    let interval = rule.keepalive.interval.and_then(Duration::enabled);
    rule.upgrade.max_frame_bytes > rule.upgrade.max_message_bytes
        || interval.is_some_and(|interval| interval < MIN_INTERVAL)
        || rule.drain.code.is_some_and(|code| !is_drain_code(code))
}

#[cfg(test)]
mod tests;
