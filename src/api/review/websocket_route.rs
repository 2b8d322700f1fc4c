//! A `WebSocketRoute` against its own CRD.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Object, decode, lists, problems::Problems, rules::Rules, structure::Structure};
use crate::api::crd::review_json;

/// The schema, compiled once: a compilation takes milliseconds, a review microseconds.
static SCHEMA: LazyLock<Result<Schema, String>> = LazyLock::new(Schema::compile);

struct Schema {
    openapi: Value,
    structure: Structure,
    rules: Rules,
}

impl Schema {
    fn compile() -> Result<Self, String> {
        let mut openapi = review_json()
            .pointer("/spec/versions/0/schema/openAPIV3Schema")
            .cloned()
            .ok_or("the CRD has no schema")?;
        // The API server knows these fields without a schema; the type reads metadata itself.
        for (name, schema) in [
            ("apiVersion", json!({"type": "string"})),
            ("kind", json!({"type": "string"})),
            ("metadata", json!({"type": "object"})),
        ] {
            if let Some(properties) = openapi.get_mut("properties").and_then(Value::as_object_mut) {
                properties.insert(name.to_owned(), schema);
            }
        }
        Ok(Self {
            structure: Structure::compile(&openapi)?,
            rules: Rules::compile(&openapi),
            openapi,
        })
    }
}

pub(super) fn read(manifest: &mut Value, problems: &mut Problems) -> Option<Object> {
    let schema = match &*SCHEMA {
        Ok(schema) => schema,
        Err(error) => {
            problems.push("", format!("the schema of this version is broken: {error}"));
            return None;
        }
    };
    // The API server drops the status of what a user writes.
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    schema.structure.check(manifest, problems);
    lists::check_unique(&schema.openapi, manifest, "", problems);
    // As in the API server: rules see only what the structure accepts.
    if !problems.is_empty() {
        return None;
    }
    let route = decode::decode(manifest, "", problems)?;
    schema.rules.check(manifest, &route, problems);
    Some(Object::WebSocketRoute(Box::new(route)))
}
