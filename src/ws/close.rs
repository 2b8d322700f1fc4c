//! Close codes and the bytes of a Close frame (RFC 6455 section 5.5.1 and 7.4).

/// The server goes away, or the client navigated away.
pub const GOING_AWAY: u16 = 1001;
/// The service restarts; come back (IANA registry).
pub const SERVICE_RESTART: u16 = 1012;
/// A gateway got an invalid answer from the server behind it (IANA registry).
pub const BAD_GATEWAY: u16 = 1014;

/// What a Close frame of our own says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Status code.
    pub code: u16,
    /// Reason, for people.
    pub reason: &'static str,
}

/// Longest payload of a control frame (RFC 6455 section 5.5).
const LONGEST_PAYLOAD: usize = 125;
/// FIN and the opcode of Close.
const FIN_CLOSE: u8 = 0x88;
/// The mask bit of the second header byte.
const MASKED: u8 = 0x80;

/// An unmasked Close frame, server to client. A reason that is too long is cut between two characters.
///
/// Codes that may never be on the wire (1005, 1006, 1015; RFC 6455 section 7.4.1) give a Close without
/// a body.
pub fn frame(code: u16, reason: &str) -> Vec<u8> {
    let payload = payload(code, reason);
    let mut frame = header(&payload, 0);
    frame.extend_from_slice(&payload);
    frame
}

/// A masked Close frame, client to server; otherwise as [`frame`]. `mask` must be unpredictable to
/// whoever chose the payload (RFC 6455 section 5.3).
pub fn masked_frame(code: u16, reason: &str, mask: [u8; 4]) -> Vec<u8> {
    let payload = payload(code, reason);
    let mut frame = header(&payload, MASKED);
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// The first two bytes, with room for all that follows.
fn header(payload: &[u8], masked: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(6 + payload.len());
    // A control frame has at most 125 bytes, so its length always fits the short form.
    let length = u8::try_from(payload.len()).unwrap_or(0);
    frame.extend_from_slice(&[FIN_CLOSE, masked | length]);
    frame
}

fn payload(code: u16, reason: &str) -> Vec<u8> {
    if matches!(code, 1005 | 1006 | 1015) {
        return Vec::new();
    }
    let mut payload = code.to_be_bytes().to_vec();
    let reason = reason.get(..reason.floor_char_boundary(LONGEST_PAYLOAD - 2));
    payload.extend_from_slice(reason.unwrap_or_default().as_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame::{Close, Walk};

    fn seen(frame: &[u8]) -> Option<Close> {
        let mut walk = Walk::default();
        walk.advance(frame);
        assert!(walk.at_message_start(), "one whole frame");
        walk.close()
    }

    #[test]
    fn bytes_of_a_close() {
        assert_eq!(frame(1012, "bye"), b"\x88\x05\x03\xf4bye");
        assert_eq!(
            masked_frame(1012, "bye", [1, 2, 3, 4]),
            [
                0x88,
                0x85,
                1,
                2,
                3,
                4,
                2,
                0xf6,
                b'b' ^ 3,
                b'y' ^ 4,
                b'e' ^ 1
            ]
        );
    }

    #[test]
    fn a_walk_reads_the_code_back() {
        for code in [1000, 1001, 1012, 3000, 4999] {
            assert_eq!(seen(&frame(code, "")), Some(Close { code: Some(code) }));
            let masked = masked_frame(code, "reason", [9, 8, 7, 6]);
            assert_eq!(seen(&masked), Some(Close { code: Some(code) }));
        }
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let close = frame(1000, &"ä".repeat(100));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(seen(&close), Some(Close { code: Some(1000) }));
    }

    #[test]
    fn codes_that_are_never_on_the_wire() {
        for code in [1005, 1006, 1015] {
            assert_eq!(frame(code, "x"), b"\x88\x00");
            assert_eq!(masked_frame(code, "x", [1; 4]), b"\x88\x80\x01\x01\x01\x01");
        }
    }
}
