//! From JSON to typed objects, with the path of the field that does not fit.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::{problems::Problems, words};

/// Takes out fields that are null: the API server reads them as absent.
pub(super) fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// Reads a typed object below the field `parent` (empty for a whole object).
pub(super) fn decode<T: DeserializeOwned>(
    value: &Value,
    parent: &str,
    problems: &mut Problems,
) -> Option<T> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| {
            let field = field(parent, error.path());
            problems.push(field, error.into_inner().to_string());
        })
        .ok()
}

fn field(parent: &str, path: &Path) -> String {
    path.iter()
        .fold(parent.to_owned(), |field, segment| match segment {
            Segment::Seq { index } => format!("{field}[{index}]"),
            Segment::Map { key } => words::join(&field, key),
            Segment::Enum { variant } => words::join(&field, variant),
            Segment::Unknown => field,
        })
}

/// Finds fields of `manifest` that the typed object does not have: what it was read from, but does not
/// write back.
pub(super) fn unknown_fields(
    manifest: &Value,
    object: &impl Serialize,
    field: &str,
    problems: &mut Problems,
) {
    if let Ok(known) = serde_json::to_value(object) {
        compare(manifest, &known, field, problems);
    }
}

fn compare(given: &Value, known: &Value, field: &str, problems: &mut Problems) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let field = words::join(field, name);
                match known.get(name) {
                    Some(known) => compare(value, known, &field, problems),
                    None => {
                        problems.push(field, "unknown field: check its spelling and indentation");
                    }
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{field}[{index}]"), problems);
            }
        }
        _ => {}
    }
}
