//! Close codes and the bytes of control frames of our own (RFC 6455 section 5.5 and 7.4).

/// The server goes away, or the client navigated away.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A message is too big to be processed.
pub const TOO_BIG: u16 = 1009;
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
const CLOSE: u8 = 0x88;
/// FIN and the opcode of Ping.
const PING: u8 = 0x89;
/// The mask bit of the second header byte.
const MASKED: u8 = 0x80;

/// Whether a code stands for something that was not on the wire and may never be there (RFC 6455 section 7.4.1).
pub fn is_never_sent(code: u16) -> bool {
    matches!(code, 1005 | 1006 | 1015)
}

/// An unmasked Close frame, server to client. A reason that is too long is cut between two characters.
///
/// Codes that may never be on the wire give a Close without a body.
pub fn frame(code: u16, reason: &str) -> Vec<u8> {
    unmasked(CLOSE, &payload(code, reason))
}

/// A masked Close frame, client to server; otherwise as [`frame`]. `mask` must be unpredictable to
/// whoever chose the payload (RFC 6455 section 5.3).
pub fn masked_frame(code: u16, reason: &str, mask: [u8; 4]) -> Vec<u8> {
    masked(CLOSE, &payload(code, reason), mask)
}

/// An unmasked Ping, server to client.
pub fn ping(payload: [u8; 8]) -> Vec<u8> {
    unmasked(PING, &payload)
}

/// A masked Ping, client to server.
pub fn masked_ping(payload: [u8; 8], mask: [u8; 4]) -> Vec<u8> {
    masked(PING, &payload, mask)
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload, 0);
    frame.extend_from_slice(payload);
    frame
}

fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = header(first, payload, MASKED);
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// The first two bytes, with room for all that follows.
fn header(first: u8, payload: &[u8], masked: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(6 + payload.len());
    // A control frame has at most 125 bytes, so its length always fits the short form.
    let length = u8::try_from(payload.len()).unwrap_or(0);
    frame.extend_from_slice(&[first, masked | length]);
    frame
}

fn payload(code: u16, reason: &str) -> Vec<u8> {
    if is_never_sent(code) {
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
    use crate::ws::frame::{Kind, Rules, Step, Tracker};

    /// The code of a Close frame.
    fn seen(frame: &[u8]) -> Option<u16> {
        match Tracker::default().next(frame, &Rules::NONE) {
            Step::Control(control) => {
                assert_eq!(control.kind, Some(Kind::Close));
                assert_eq!(control.bytes, frame.len(), "one whole frame");
                control.close_code()
            }
            other => panic!("{other:?}"),
        }
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
    fn a_tracker_reads_the_code_back() {
        for code in [1000, 1001, 1012, 3000, 4999] {
            assert_eq!(seen(&frame(code, "")), Some(code));
            let masked = masked_frame(code, "reason", [9, 8, 7, 6]);
            assert_eq!(seen(&masked), Some(code));
        }
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let close = frame(1000, &"ä".repeat(100));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(seen(&close), Some(1000));
    }

    #[test]
    fn bytes_of_a_ping() {
        assert_eq!(ping(*b"12345678"), b"\x89\x0812345678");
        let masked = masked_ping([0; 8], [1, 2, 3, 4]);
        assert_eq!(masked, [0x89, 0x88, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn codes_that_are_never_on_the_wire() {
        for code in [1005, 1006, 1015] {
            assert_eq!(frame(code, "x"), b"\x88\x00");
            assert_eq!(masked_frame(code, "x", [1; 4]), b"\x88\x80\x01\x01\x01\x01");
        }
    }
}
