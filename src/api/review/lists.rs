//! Lists whose items must differ: `x-kubernetes-list-type` map and set.

use std::collections::HashSet;

use serde_json::Value;

use super::{problems::Problems, words};

/// Reports every item that repeats the key of an earlier one, in all lists below `value`.
pub(super) fn check_unique(schema: &Value, value: &Value, field: &str, problems: &mut Problems) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.get("properties").and_then(|all| all.get(name)) {
                    check_unique(schema, value, &words::join(field, name), problems);
                }
            }
        }
        Value::Array(items) => {
            check_list(schema, items, field, problems);
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check_unique(schema, item, &format!("{field}[{index}]"), problems);
                }
            }
        }
        _ => {}
    }
}

fn check_list(schema: &Value, items: &[Value], field: &str, problems: &mut Problems) {
    let keys = || {
        schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
    };
    let key = |item: &Value| -> Option<String> {
        match schema
            .get("x-kubernetes-list-type")
            .and_then(Value::as_str)?
        {
            "set" => Some(words::plain(item)),
            "map" => {
                let parts: Option<Vec<_>> = keys()?
                    .iter()
                    .map(|key| item.get(key.as_str()?).map(words::plain))
                    .collect();
                Some(parts?.join(", "))
            }
            _ => None,
        }
    };
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(key) = key(item)
            && !seen.insert(key.clone())
        {
            problems.push(
                format!("{field}[{index}]"),
                format!(
                    "{} is there twice: every item needs its own",
                    words::quote(&key)
                ),
            );
        }
    }
}
