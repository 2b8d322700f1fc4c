//! Header fields that a route may not touch: the proxy sets them itself, or an edit would break
//! framing, the handshake, or what backends are told about the client.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::patterns;

/// Protected names, lower case.
pub const PROTECTED: [&str; 15] = [
    // Framing of the message (RFC 9112 section 6).
    "content-length",
    "transfer-encoding",
    "trailer",
    // This connection only (RFC 9110 section 7.6.1), and what else ends at a proxy.
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    // Answered by the proxy itself (RFC 9110 section 10.1.1).
    "expect",
    // Set by the proxy; the host has `rewrite.hostname`.
    "host",
    "forwarded",
    "x-request-id",
];

/// Protected beginnings of names, lower case.
pub const PROTECTED_PREFIXES: [&str; 2] = ["sec-websocket-", "x-forwarded-"];

/// Names that may be edited though a prefix protects them: only the route knows what it cut off.
pub const UNPROTECTED: [&str; 1] = ["x-forwarded-prefix"];

/// What a refused name is told.
pub const PROTECTED_MESSAGE: &str = "this header belongs to the proxy: a route may not edit framing, \
     hop-by-hop, Sec-WebSocket-*, Host, Expect, Forwarded, X-Request-Id and X-Forwarded-* headers \
     (but X-Forwarded-Prefix); for the host use rewrite.hostname";

/// Longest name of a header; longer ones fit no sensible request head.
pub const MAX_NAME_LENGTH: usize = 256;

/// Whether a route may not touch the header. Names are compared without regard to case.
pub fn is_protected(name: &str) -> bool {
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    let starts_with = |prefix: &&str| {
        name.as_bytes()
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    !UNPROTECTED.iter().any(is)
        && (PROTECTED.iter().any(is) || PROTECTED_PREFIXES.iter().any(starts_with))
}

/// [`is_protected`] in CEL, negated, for a `self` that is the name.
fn cel_rule() -> String {
    let list = |names: &[&str]| {
        let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let prefixes: Vec<_> = PROTECTED_PREFIXES
        .iter()
        .map(|prefix| format!("self.lowerAscii().startsWith('{prefix}')"))
        .collect();
    format!(
        "self.lowerAscii() in {} || !(self.lowerAscii() in {} || {})",
        list(&UNPROTECTED),
        list(&PROTECTED),
        prefixes.join(" || "),
    )
}

/// The name of a header that a route edits. Names are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EditableHeaderName(pub String);

impl JsonSchema for EditableHeaderName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EditableHeaderName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_NAME_LENGTH,
            "pattern": patterns::TOKEN.regex,
            "x-kubernetes-validations": [{
                "rule": cel_rule(),
                "message": PROTECTED_MESSAGE,
                "reason": "FieldValueForbidden",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::core::cel::{compile_schema, validate_compiled};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_compared_without_regard_to_case() {
        assert!(is_protected("Content-Length"));
        assert!(is_protected("SEC-WEBSOCKET-KEY"));
        assert!(is_protected("X-Forwarded-For"));
        assert!(!is_protected("X-Forwarded-Prefix"));
        assert!(!is_protected("x-forwarded"));
        assert!(!is_protected("sec-websocket"));
        assert!(!is_protected("x-tenant"));
        assert!(!is_protected(""));
        assert!(!is_protected("sec-websöcket-"));
    }

    #[test]
    fn the_lists_are_lower_case() {
        for name in PROTECTED
            .iter()
            .chain(&PROTECTED_PREFIXES)
            .chain(&UNPROTECTED)
        {
            assert_eq!(**name, name.to_ascii_lowercase());
        }
    }

    proptest! {
        #[test]
        fn the_schema_and_the_function_agree(
            known in proptest::sample::select(
                [PROTECTED.as_slice(), &PROTECTED_PREFIXES, &UNPROTECTED].concat()
            ),
            upper in any::<bool>(),
            start in "[a-z]{0,1}",
            end in "[a-zA-Z-]{0,3}",
        ) {
            let known = if upper { known.to_ascii_uppercase() } else { known.to_owned() };
            let name = format!("{start}{known}{end}");
            let schema = SchemaGenerator::default().into_root_schema_for::<EditableHeaderName>();
            let rules = compile_schema(schema.as_value());
            let refused = validate_compiled(&rules, &serde_json::json!(name), None).is_err();
            prop_assert_eq!(refused, is_protected(&name), "{}", name);
        }
    }
}
