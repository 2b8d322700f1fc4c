//! Words for values in messages.

use serde_json::Value;

/// Characters of a value that a message repeats.
const QUOTED: usize = 60;

/// A text in quotes, cut to a length that fits into a line.
pub(super) fn quote(text: &str) -> String {
    if text.chars().count() <= QUOTED {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(QUOTED).collect();
    format!("{start:?}...")
}

/// What a value is: `the number 30`.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// One word for a plain value, for lists of choices.
pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `a.b` from `a` and `b`, with brackets where the name is not a plain word: `annotations[hawser.dev/x]`.
pub(super) fn join(parent: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match (plain, parent.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{parent}.{name}"),
        (false, _) => {
            let name: String = name.chars().take(QUOTED).collect();
            format!("{parent}[{name}]")
        }
    }
}
