//! Structure, types, enums, patterns and limits of a schema.

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};

use super::{problems::Problems, words};
use crate::api::patterns;

/// Errors of one manifest that are read; see the limit of [`Problems`].
const MAX_ERRORS: usize = 64;

/// Memory for one compiled pattern; the largest of ours takes a few kilobytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A schema that manifests are held against.
pub(super) struct Structure {
    validator: Validator,
    schema: Value,
}

impl Structure {
    /// Takes an `openAPIV3Schema`. Fails on a schema that is none.
    pub(super) fn compile(openapi: &Value) -> Result<Self, String> {
        let schema = to_json_schema(openapi);
        // The linear-time engine: the others may need exponential time for a pattern.
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        jsonschema::draft202012::options()
            .with_pattern_options(patterns)
            .build(&schema)
            .map(|validator| Self { validator, schema })
            .map_err(|error| error.to_string())
    }

    /// Reports everything about the manifest that the schema refuses.
    pub(super) fn check(&self, manifest: &Value, problems: &mut Problems) {
        if self.validator.is_valid(manifest) {
            return;
        }
        for error in self.validator.iter_errors(manifest).take(MAX_ERRORS) {
            let (field, node) = locate(&self.schema, manifest, error.instance_path().as_str());
            explain(&error, &field, node, problems);
        }
    }
}

/// JSON Schema for what `OpenAPI` says with extensions. Unknown fields are refused.
fn to_json_schema(openapi: &Value) -> Value {
    const KEEP: [&str; 11] = [
        "type",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "required",
        "items",
    ];
    let Value::Object(node) = openapi else {
        return openapi.clone();
    };
    let mut schema = Map::new();
    for (keyword, value) in node {
        match keyword.as_str() {
            "items" => {
                schema.insert(keyword.clone(), to_json_schema(value));
            }
            "properties" => {
                let properties: Map<_, _> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name.clone(), to_json_schema(value)))
                    .collect();
                schema.insert(keyword.clone(), Value::Object(properties));
                schema.insert("additionalProperties".to_owned(), json!(false));
            }
            "x-kubernetes-int-or-string" => {
                schema.insert("type".to_owned(), json!(["integer", "string"]));
            }
            keep if KEEP.contains(&keep) => {
                schema.insert(keyword.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(schema)
}

/// The field that a JSON pointer means, as Kubernetes writes it, and its schema.
fn locate<'a>(schema: &'a Value, manifest: &Value, pointer: &str) -> (String, Option<&'a Value>) {
    let mut field = String::new();
    let mut node = Some(schema);
    let mut value = Some(manifest);
    for segment in pointer.split('/').skip(1) {
        if value.is_some_and(Value::is_array) {
            field = format!("{field}[{segment}]");
            node = node.and_then(|node| node.get("items"));
            value = segment
                .parse::<usize>()
                .ok()
                .and_then(|index| value?.get(index));
        } else {
            let name = segment.replace("~1", "/").replace("~0", "~");
            field = words::join(&field, &name);
            node = node.and_then(|node| node.get("properties")?.get(&name));
            value = value.and_then(|value| value.get(&name));
        }
    }
    (field, node)
}

/// Says what is wrong and what would be right.
fn explain(
    error: &ValidationError<'_>,
    field: &str,
    node: Option<&Value>,
    problems: &mut Problems,
) {
    use ValidationErrorKind as Kind;

    let given = error.instance();
    match error.kind() {
        Kind::Required { property } => {
            let name = words::plain(property);
            problems.push(words::join(field, &name), "required, but missing");
        }
        Kind::AdditionalProperties { unexpected } => {
            let known = fields(node);
            for name in unexpected {
                problems.push(
                    words::join(field, name),
                    format!("unknown field; the fields here are {known}"),
                );
            }
        }
        Kind::Type { .. } => problems.push(
            field,
            format!(
                "got {}, but this is {}",
                words::value(given),
                expected(node)
            ),
        ),
        // A value of another type has its own problem.
        Kind::Enum { options } if !is_like(given, options) => {}
        Kind::Enum { options } => {
            let words: Vec<_> = options
                .as_array()
                .into_iter()
                .flatten()
                .map(words::plain)
                .collect();
            problems.push(
                field,
                format!("{} is none of {}", plain(given), words.join(", ")),
            );
        }
        Kind::Pattern { pattern } => problems.push(
            field,
            format!("{} is not valid: {}", plain(given), pattern_words(pattern)),
        ),
        Kind::MinLength { .. } => {
            problems.push(field, format!("empty: this is {}", expected(node)));
        }
        Kind::MaxLength { limit } => {
            problems.push(field, format!("longer than {limit} characters"));
        }
        Kind::MinItems { limit } => problems.push(
            field,
            format!("the list needs at least {limit}; an optional list can be left out"),
        ),
        Kind::MaxItems { limit } => problems.push(field, format!("more than {limit} in the list")),
        Kind::Minimum { limit } => problems.push(field, format!("{given} is less than {limit}")),
        Kind::Maximum { limit } => problems.push(field, format!("{given} is more than {limit}")),
        _ => problems.push(field, error.to_string()),
    }
}

/// Whether the value has the type of the choices.
fn is_like(value: &Value, options: &Value) -> bool {
    match options.get(0) {
        Some(Value::Number(_)) => value.is_number(),
        _ => value.is_string(),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| words::value(value), words::quote)
}

fn pattern_words(pattern: &str) -> &str {
    patterns::ALL
        .iter()
        .find(|known| known.regex == pattern)
        .map_or(pattern, |known| known.words)
}

/// What a field takes: `text: write numbers with a unit ...`.
fn expected(node: Option<&Value>) -> String {
    let get = |keyword| node.and_then(|node| node.get(keyword));
    if let Some(words) = get("enum").and_then(Value::as_array) {
        let words: Vec<_> = words.iter().map(words::plain).collect();
        return format!("one of {}", words.join(", "));
    }
    let pattern = get("pattern").and_then(Value::as_str);
    match get("type").and_then(Value::as_str) {
        Some("object") => format!("an object with the fields {}", fields(node)),
        Some("array") => "a list: put '- ' before each item".to_owned(),
        Some("integer") => "a whole number without quotes".to_owned(),
        Some("string") => match pattern.map(pattern_words) {
            Some(words) if pattern == Some(patterns::DURATION.regex) => format!("text: {words}"),
            _ => "text: in YAML put numbers and true or false into quotes, as in \"2\"".to_owned(),
        },
        _ => pattern.map_or_else(
            || "of another type".to_owned(),
            |pattern| format!("a number or a name: {}", pattern_words(pattern)),
        ),
    }
}

/// The names of the fields of an object.
fn fields(node: Option<&Value>) -> String {
    let names: Vec<_> = node
        .and_then(|node| node.get("properties")?.as_object())
        .into_iter()
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect();
    names.join(", ")
}
