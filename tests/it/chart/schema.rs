//! values.yaml, values.schema.json and VALUES.md say the same.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::helm::{file, try_render};

/// Every key of VALUES.md, which is made of the documentation in values.yaml.
pub(super) fn documented_keys() -> BTreeSet<String> {
    let row = Regex::new(r"(?m)^\| `([\w.]+)` \|").unwrap();
    let table = file("VALUES.md");
    row.captures_iter(&table)
        .map(|found| found[1].to_owned())
        .collect()
}

fn schema() -> Value {
    serde_json::from_str(&file("values.schema.json")).expect("JSON")
}

/// Leaves and blocks of the schema, by path; a block has properties of its own.
fn walk(schema: &Value, path: &str, leaves: &mut BTreeSet<String>, blocks: &mut BTreeSet<String>) {
    for (key, property) in schema["properties"].as_object().expect("properties") {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if property.get("properties").is_some() {
            blocks.insert(path.clone());
            walk(property, &path, leaves, blocks);
        } else {
            leaves.insert(path);
        }
    }
}

#[test]
fn schema_and_documentation_have_the_same_keys() {
    let (mut leaves, mut blocks) = (BTreeSet::new(), BTreeSet::new());
    walk(&schema(), "", &mut leaves, &mut blocks);
    // Helm adds `global` to the values of every chart.
    leaves.remove("global");
    // Objects of Kubernetes that are values as a whole.
    for whole in ["resources", "affinity"] {
        assert!(blocks.remove(whole));
        leaves.retain(|leaf| !leaf.starts_with(&format!("{whole}.")));
        leaves.insert(whole.to_owned());
    }
    assert_eq!(leaves, documented_keys());
}

#[test]
fn every_block_of_the_schema_is_closed() {
    fn check(schema: &Value, path: &str, open: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                if map.get("properties").is_some_and(Value::is_object)
                    && map.get("type") == Some(&"object".into())
                    && map.get("additionalProperties") != Some(&false.into())
                {
                    open.push(path.to_owned());
                }
                for (key, value) in map {
                    check(value, &format!("{path}/{key}"), open);
                }
            }
            Value::Array(items) => {
                for item in items {
                    check(item, path, open);
                }
            }
            _ => {}
        }
    }
    let mut open = Vec::new();
    check(&schema(), "", &mut open);
    assert!(open.is_empty(), "open blocks: {open:?}");
}

#[test]
fn an_unknown_key_is_refused_in_every_block() {
    let (mut leaves, mut blocks) = (BTreeSet::new(), BTreeSet::new());
    walk(&schema(), "", &mut leaves, &mut blocks);
    blocks.insert(String::new());
    for block in blocks {
        let dot = if block.is_empty() { "" } else { "." };
        let set = format!("{block}{dot}surprise=1");
        let error = try_render(&["--set", &set]).expect_err(&set);
        assert!(error.contains("surprise"), "{set}: {error}");
    }
}
