//! Durations of a policy as a manifest writes them (GEP-2257).

use std::{fmt::Write, time::Duration};

use serde_json::Value;

/// Replaces every duration inside `value` by its text.
pub(super) fn rewrite(value: &mut Value) {
    if let Some(duration) = as_duration(value) {
        *value = Value::String(text(duration));
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(rewrite),
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        _ => {}
    }
}

/// How serde writes a [`Duration`].
fn as_duration(value: &Value) -> Option<Duration> {
    let fields = value.as_object().filter(|fields| fields.len() == 2)?;
    let seconds = fields.get("secs")?.as_u64()?;
    let nanos = u32::try_from(fields.get("nanos")?.as_u64()?).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// `1h30m`, `5s`, `250ms`; `0s` is zero.
fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (amount, unit) in [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ] {
        if amount > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{amount}{unit}");
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_a_manifest() {
        for (milliseconds, expected) in [
            (0, "0s"),
            (250, "250ms"),
            (5_000, "5s"),
            (90_500, "1m30s500ms"),
            (3_600_000, "1h"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(text(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn only_durations_are_replaced() {
        let mut value = serde_json::json!({
            "timeouts": [{"value": {"secs": 90, "nanos": 0}}, {"value": null}],
            "other": {"secs": 1, "more": 2},
        });
        rewrite(&mut value);
        let expected = serde_json::json!({
            "timeouts": [{"value": "1m30s"}, {"value": null}],
            "other": {"secs": 1, "more": 2},
        });
        assert_eq!(value, expected);
    }
}
