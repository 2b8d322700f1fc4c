//! One JSON object per event, written without a tree, a map or an allocation in between.
//!
//! `{"timestamp":…,"level":…,` then the fields of the event in their order, `message` among them, then `"target":…}`.

use std::{
    cell::RefCell,
    fmt::{self, Debug, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Room for nearly every access line, and what glibc hands out without a lock.
const LINE: usize = 1000;

/// The format. Spans are not written: there are none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'fields> FormatFields<'fields> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What comes from the `log` crate has its level and target in fields.
        let normalised = event.normalized_metadata();
        let metadata = normalised.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = String::with_capacity(LINE);
        begin(&mut line, *metadata.level());
        let mut fields = Fields {
            line: &mut line,
            of_log: normalised.is_some(),
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        end(&mut line, metadata.target());
        // Piece by piece it would be a virtual call for each.
        writer.write_str(&line)
    }
}

/// What is in front of the fields.
pub(super) fn begin(line: &mut String, level: Level) {
    line.push_str("{\"timestamp\":\"");
    timestamp(line);
    line.push_str("\",\"level\":\"");
    line.push_str(level.as_str());
    line.push_str("\",");
}

/// What is behind them.
pub(super) fn end(line: &mut String, target: &str) {
    line.push_str("\"target\":");
    string(line, target);
    line.push_str("}\n");
}

/// The time of day, RFC 3339 with microseconds.
fn timestamp(line: &mut String) {
    thread_local! {
        /// A second since 1970, and it as text.
        static SECOND: RefCell<(i64, String)> = const { RefCell::new((-1, String::new())) };
    }
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            *known = second;
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
            *text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        line.push_str(text);
    });
    // The one in front keeps the zeros.
    let mut digits = itoa::Buffer::new();
    let micros = digits.format(1_000_000 + now.subsec_micros());
    line.push('.');
    line.push_str(micros.get(1..).unwrap_or_default());
    line.push('Z');
}

/// Appends each field with a comma behind it.
struct Fields<'l> {
    line: &'l mut String,
    /// The event is one of the `log` crate.
    of_log: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut String) -> fmt::Result) {
        let name = field.name();
        if self.result.is_err() || (self.of_log && name.starts_with("log.")) {
            return;
        }
        // An identifier: there is nothing to escape.
        self.line.push('"');
        self.line.push_str(name.strip_prefix("r#").unwrap_or(name));
        self.line.push_str("\":");
        self.result = value(self.line);
        self.line.push(',');
    }

    fn number(&mut self, field: &Field, value: impl itoa::Integer) {
        self.field(field, |line| {
            line.push_str(itoa::Buffer::new().format(value));
            Ok(())
        });
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| {
            string(line, value);
            Ok(())
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| {
            line.push_str(if value { "true" } else { "false" });
            Ok(())
        });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |line| {
            let mut digits = zmij::Buffer::new();
            line.push_str(if value.is_finite() {
                digits.format_finite(value)
            } else {
                "null"
            });
            Ok(())
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |line| {
            line.push('"');
            write!(Escaped(line), "{value:?}")?;
            line.push('"');
            Ok(())
        });
    }
}

/// A string of RFC 8259 section 7.
fn string(line: &mut String, text: &str) {
    line.push('"');
    escape(line, text);
    line.push('"');
}

/// Escapes what is written through it.
struct Escaped<'l>(&'l mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// What stands between the quotes.
pub(super) fn escape(line: &mut String, text: &str) {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let mut plain = text;
    // Without a way out in the middle the compiler looks at many bytes at a time, and nearly always there is none.
    if !text.bytes().fold(false, |any, byte| any | special(byte)) {
        return line.push_str(text);
    }
    while let Some(at) = plain.bytes().position(special) {
        // All of them are ASCII, so both ends are at characters.
        let (before, rest) = plain.split_at(at);
        line.push_str(before);
        let mut characters = rest.chars();
        match characters.next() {
            Some('"') => line.push_str("\\\""),
            Some('\\') => line.push_str("\\\\"),
            Some('\n') => line.push_str("\\n"),
            Some('\r') => line.push_str("\\r"),
            Some('\t') => line.push_str("\\t"),
            Some(control) => {
                line.push_str("\\u00");
                for digit in [u32::from(control) >> 4, u32::from(control) & 0xf] {
                    line.extend(char::from_digit(digit, 16));
                }
            }
            None => {}
        }
        plain = characters.as_str();
    }
    line.push_str(plain);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use tracing::field::Empty;
    use tracing_subscriber::EnvFilter;

    use crate::telemetry::log::{self, tests::Captured};

    /// The one line that `log` writes, parsed.
    fn line(log: impl FnOnce()) -> (String, Value) {
        let captured = Captured::default();
        let subscriber = log::subscriber(
            log::Format::Json,
            EnvFilter::new("trace"),
            false,
            captured.clone(),
        );
        tracing::subscriber::with_default(subscriber, log);
        let text = captured.text();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let value = serde_json::from_str(&text).expect("one JSON object");
        (text, value)
    }

    #[test]
    fn fields_have_the_types_of_json() {
        let error = std::io::Error::other("broke \"off\"");
        let (text, line) = line(|| {
            tracing::warn!(
                target: "a::b",
                text = "t",
                number = 7_u64,
                negative = -7_i64,
                yes = true,
                half = 0.5,
                small = 1e-9,
                nothing = Empty,
                infinite = f64::INFINITY,
                shown = %"s",
                debugged = ?Some("d"),
                error = &error as &(dyn std::error::Error + 'static),
                r#type = "raw",
                "said {}",
                1
            );
        });
        let expected = serde_json::json!({
            "timestamp": line["timestamp"], "level": "WARN", "target": "a::b", "message": "said 1",
            "text": "t", "number": 7, "negative": -7, "yes": true, "half": 0.5, "small": 1e-9, "infinite": null,
            "shown": "s", "debugged": "Some(\"d\")", "error": "broke \"off\"", "type": "raw",
        });
        assert_eq!(line, expected, "{text}");
        let timestamp = line["timestamp"].as_str().expect("a string");
        let read: jiff::Timestamp = timestamp.parse().expect("RFC 3339");
        assert!(timestamp.ends_with('Z') && read > jiff::Timestamp::UNIX_EPOCH);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>(), controls in "[\u{0}-\u{1f}\"\\\\a]{0,20}") {
            let (raw, line) = line(|| tracing::info!(text, controls = %controls, debugged = ?text));
            let debugged = format!("{text:?}");
            let back = ["text", "controls", "debugged"].map(|name| line[name].as_str());
            prop_assert_eq!(back, [Some(&*text), Some(&*controls), Some(&*debugged)], "{}", raw);
        }
    }
}
