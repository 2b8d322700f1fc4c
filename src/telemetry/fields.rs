//! The fields of an access line, in the format of the log.
//!
//! Not by way of `tracing`, which asks for each field what it is: a proxy writes a line for each request.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use super::{address, json};

/// Longest field, bytes: a path may have 8 KiB, and a line must stay readable and cheap to ship.
pub(super) const MAX_FIELD: usize = 1024;

/// Ends a field that was cut.
const CUT: &str = "...";

/// Appends fields to a line.
pub(super) struct Fields<'l> {
    line: &'l mut String,
    /// `"name":value,` or else ` name=value`.
    json: bool,
}

impl<'l> Fields<'l> {
    /// A JSON object: the members, each with a comma behind it.
    pub(super) fn json(line: &'l mut String) -> Self {
        Self { line, json: true }
    }

    /// For people: pairs, each with a space in front.
    pub(super) fn text(line: &'l mut String) -> Self {
        Self { line, json: false }
    }

    #[inline]
    fn field(&mut self, name: &Name, value: impl FnOnce(&mut String)) -> &mut Self {
        if self.json {
            self.line.push_str(name.json);
            value(self.line);
            self.line.push(',');
        } else {
            self.line.push_str(name.text);
            value(self.line);
        }
        self
    }

    /// A value between quotes, which must need no escape.
    #[inline]
    fn quoted(&mut self, name: &Name, value: impl FnOnce(&mut String)) -> &mut Self {
        if self.json {
            self.line.push_str(name.json_quote);
            value(self.line);
            self.line.push_str("\",");
        } else {
            self.line.push_str(name.text);
            self.line.push('"');
            value(self.line);
            self.line.push('"');
        }
        self
    }

    /// Text of whatever origin: escaped, and cut to [`MAX_FIELD`].
    #[inline]
    pub(super) fn string(&mut self, name: &Name, value: &str) -> &mut Self {
        self.quoted(name, |line| {
            let is_plain = value.bytes().all(|byte| PLAIN[usize::from(byte)]);
            if is_plain && value.len() <= MAX_FIELD {
                line.push_str(value);
            } else {
                json::escape(line, &clean(value));
            }
        })
    }

    /// Text, if there is any.
    #[inline]
    pub(super) fn some_string(&mut self, name: &Name, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.string(name, value),
            None => self,
        }
    }

    /// A whole number.
    #[inline]
    pub(super) fn number(&mut self, name: &Name, value: impl itoa::Integer) -> &mut Self {
        self.field(name, |line| {
            line.push_str(itoa::Buffer::new().format(value));
        })
    }

    /// Yes or no.
    #[inline]
    pub(super) fn flag(&mut self, name: &Name, value: bool) -> &mut Self {
        self.field(name, |line| {
            line.push_str(if value { "true" } else { "false" });
        })
    }

    /// Seconds, with a fraction.
    #[inline]
    pub(super) fn seconds(&mut self, name: &Name, value: Duration) -> &mut Self {
        self.field(name, |line| {
            line.push_str(zmij::Buffer::new().format_finite(value.as_secs_f64()));
        })
    }

    /// An address with its port.
    #[inline]
    pub(super) fn address(&mut self, name: &Name, value: SocketAddr) -> &mut Self {
        self.quoted(name, |line| address::push_socket(line, value))
    }
}

/// A field's name with what surrounds it, by [`name!`]: so that it is appended at once.
pub(super) struct Name {
    /// `"name":`
    pub(super) json: &'static str,
    /// `"name":"`
    pub(super) json_quote: &'static str,
    /// ` name=`
    pub(super) text: &'static str,
}

/// The [`Name`] of a literal.
macro_rules! name {
    ($name:literal) => {
        &$crate::telemetry::fields::Name {
            json: concat!('"', $name, "\":"),
            json_quote: concat!('"', $name, "\":\""),
            text: concat!(' ', $name, '='),
        }
    };
}

pub(super) use name;

/// What stands for itself between quotes, in whatever format.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = !matches!(byte, b'"' | b'\\');
        byte += 1;
    }
    table
};

/// Escapes what could start a new line or steer a terminal, in whatever format the line is written, and cuts to
/// [`MAX_FIELD`].
pub(super) fn clean(value: &str) -> Cow<'_, str> {
    if value.len() <= MAX_FIELD && !value.chars().any(is_unsafe) {
        return Cow::Borrowed(value);
    }
    let mut clean = String::with_capacity(value.len().min(MAX_FIELD));
    // Where to cut if the rest turns out to be too long.
    let mut end = 0;
    for character in value.chars() {
        if clean.len() + CUT.len() <= MAX_FIELD {
            end = clean.len();
        }
        if is_unsafe(character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
        if clean.len() > MAX_FIELD {
            clean.truncate(end);
            clean.push_str(CUT);
            break;
        }
    }
    Cow::Owned(clean)
}

/// Controls (C0, DEL, C1: ESC and CSI among them), line and paragraph separators, and the marks that turn the direction of
/// text.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_to_their_limit() {
        let short = "x".repeat(MAX_FIELD);
        assert_eq!(clean(&short), short);
        for long in [
            "x".repeat(MAX_FIELD + 1),
            "ü".repeat(MAX_FIELD),
            "\u{2028}".repeat(MAX_FIELD),
            format!("{}\n", "x".repeat(MAX_FIELD - 1)),
        ] {
            let clean = clean(&long);
            assert!(clean.len() <= MAX_FIELD, "{}", clean.len());
            assert!(clean.len() > MAX_FIELD - CUT.len() - 12);
            assert!(clean.ends_with(CUT));
        }
    }

    #[test]
    fn escapes_are_readable() {
        assert_eq!(clean("a\u{1b}[2Jb"), r"a\u{1b}[2Jb");
        assert!(matches!(clean("plain ü text"), Cow::Borrowed(_)));
    }
}
