//! Durations as in GEP-2257: `10s`, `1h30m`, `500ms`; `0s` means off.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::patterns;

/// A GEP-2257 duration: up to four numbers of at most five digits, each with a unit (`h`, `m`, `s` or
/// `ms`), which are added up. No sign, no fraction, no space.
///
/// Milliseconds are the smallest unit. More than [`Duration::MAX`] counts as [`Duration::MAX`], so that
/// everything the pattern of the schema accepts is a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Why a text is no GEP-2257 duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no duration: {}", patterns::DURATION.words)]
pub struct DurationError {
    /// The text, cut to a length that fits into a log line.
    text: String,
}

/// Numbers in one duration (GEP-2257).
const MAX_PARTS: usize = 4;

/// Digits in one number (GEP-2257).
const MAX_DIGITS: usize = 5;

/// Longest text that the format allows: four times five digits and a unit of two letters.
const MAX_LENGTH: usize = MAX_PARTS * (MAX_DIGITS + 2);

/// Characters of a bad duration that an error repeats.
const QUOTED: usize = 40;

const HOUR_MS: u64 = 60 * MINUTE_MS;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const SECOND_MS: u64 = 1000;

/// 99999h59m59s999ms, the longest duration that GEP-2257 can print.
const MAX_MS: u64 = 99_999 * HOUR_MS + 59 * MINUTE_MS + 59 * SECOND_MS + 999;

impl Duration {
    /// The longest duration: 99999h59m59s999ms, about eleven years.
    pub const MAX: Self = Self(time::Duration::from_millis(MAX_MS));

    /// The duration, or `None` where it is zero, which means off.
    pub fn enabled(self) -> Option<time::Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }

    /// The duration as it was written, zero included.
    pub fn get(self) -> time::Duration {
        self.0
    }
}

/// Cuts to whole milliseconds and to [`Duration::MAX`].
impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(MAX_MS);
        Self(time::Duration::from_millis(millis.min(MAX_MS)))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_millis(text)
            .map(|millis| Self(time::Duration::from_millis(millis.min(MAX_MS))))
            .ok_or_else(|| DurationError {
                text: text.chars().take(QUOTED).collect(),
            })
    }
}

/// The sum of all parts. At most 4 x 99999 h, far from overflow.
fn parse_millis(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut millis = 0;
    for _ in 0..MAX_PARTS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=MAX_DIGITS).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        // "ms" before "m": the longer unit first.
        let (unit, tail) = [
            ("ms", 1),
            ("h", HOUR_MS),
            ("m", MINUTE_MS),
            ("s", SECOND_MS),
        ]
        .into_iter()
        .find_map(|(name, unit)| tail.strip_prefix(name).map(|tail| (unit, tail)))?;
        millis += number.parse::<u64>().ok()? * unit;
        if tail.is_empty() {
            return Some(millis);
        }
        rest = tail;
    }
    None
}

/// The canonical form of GEP-2257: largest unit first, `0s` for zero.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(MAX_MS);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, name) in [
            (HOUR_MS, "h"),
            (MINUTE_MS, "m"),
            (SECOND_MS, "s"),
            (1, "ms"),
        ] {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": MAX_LENGTH,
            "pattern": patterns::DURATION.regex,
        })
    }
}

#[cfg(test)]
mod tests;
