//! The CEL rules of the schema.

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::Value;

use super::problems::Problems;
use crate::api::{PathMatchType, RouteRule, WebSocketRoute, headers};

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
    protected || path || rule.rewrite.prefix.as_deref().is_some_and(unclean)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::LazyLock};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::crd::review_json;

    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        let crd = review_json();
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema");
        Rules::compile(schema.expect("a schema"))
    });

    fn messages(node: &Value, found: &mut BTreeSet<String>) {
        match node {
            Value::Object(fields) => {
                for rule in fields
                    .get("x-kubernetes-validations")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    found.insert(rule["rule"].to_string());
                }
                fields.values().for_each(|value| messages(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| messages(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_is_one_that_is_suspicious_knows() {
        let mut found = BTreeSet::new();
        messages(&review_json(), &mut found);
        assert_eq!(
            found.len(),
            10,
            "the CEL rules changed: teach `is_suspicious`, and the strategy below, about {found:#?}"
        );
    }

    fn text() -> impl Strategy<Value = String> {
        let part = proptest::sample::select(
            [
                "/",
                "/",
                "//",
                ".",
                "..",
                "a",
                "%2f",
                "%2F",
                "%20",
                "?",
                "#",
                "[",
                "]",
                "{",
                "}",
                "|",
                "^",
                "\\",
                "host",
                "x-forwarded-",
                "prefix",
                "for",
                "sec-websocket-",
                "TE",
            ]
            .as_slice(),
        );
        proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_the_interpreter_refuses_is_suspicious(
            path in text(),
            type_ in proptest::sample::select(["Exact", "Prefix", "Regex"].as_slice()),
            prefix in proptest::option::of(text()),
            name in text(),
            place in 0..3_usize,
        ) {
            let mut edits = [json!([]), json!([]), json!([])];
            edits[place] = if place == 2 { json!([name]) } else { json!([{"name": name, "value": "1"}]) };
            let [set, add, remove] = edits;
            let mut manifest = json!({"metadata": {}, "spec": {"rules": [{
                "name": "a",
                "matches": [{}, {"path": {"type": type_, "value": path}}],
                "backendRefs": [],
                "headers": {"response": {"set": set, "add": add, "remove": remove}},
                "rewrite": {"prefix": prefix},
            }]}});
            super::super::decode::prune_nulls(&mut manifest);
            let route: WebSocketRoute = serde_json::from_value(manifest.clone()).expect("a route");
            let refused = validate_compiled(&RULES.0, &manifest, None).is_err();
            let suspicious = route.spec.rules.iter().any(is_suspicious);
            prop_assert!(suspicious || !refused, "{manifest}");
        }
    }
}
