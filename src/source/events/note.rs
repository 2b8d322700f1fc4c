//! The text of an event: what tenants wrote may be in it.

use std::fmt::Write as _;

/// The API server takes no more bytes.
const MAX_BYTES: usize = 1024;

const MORE: &str = "…";

/// The text in one line: control characters, and those that turn the direction of writing, are escaped; cut
/// between two characters.
pub(super) fn note(text: &str) -> String {
    let mut note = String::with_capacity(text.len().min(MAX_BYTES));
    // As far as it may go if something has to follow.
    let mut end = 0;
    for char in text.chars() {
        if char.is_control() || is_invisible(char) {
            let _ = write!(note, "{}", char.escape_unicode());
        } else {
            note.push(char);
        }
        if note.len() > MAX_BYTES {
            note.truncate(end);
            note.push_str(MORE);
            break;
        }
        if note.len() <= MAX_BYTES - MORE.len() {
            end = note.len();
        }
    }
    note
}

/// Line separators, zero width characters and marks of direction (Unicode, general punctuation).
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_seen() {
        assert_eq!(
            note("a\nb\u{1b}[31m\u{202e}ä"),
            "a\\u{a}b\\u{1b}[31m\\u{202e}ä"
        );
    }

    #[test]
    fn as_much_as_fits() {
        assert_eq!(note(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(note(&"x".repeat(1025)), format!("{}…", "x".repeat(1021)));
    }

    proptest! {
        #[test]
        fn any_text_fits_in_one_line(text in "\\PC{0,20}", times in 1_usize..200, other in any::<String>()) {
            let note = note(&format!("{}{other}", text.repeat(times)));
            prop_assert!(note.len() <= MAX_BYTES);
            prop_assert!(!note.chars().any(char::is_control));
        }
    }
}
