//! Frame headers and the walk along them (RFC 6455 section 5.2).

#[cfg(test)]
mod tests;

/// Opcode of a Close frame (RFC 6455 section 5.5.1).
const CLOSE: u8 = 0x8;
/// First opcode of the control frames (RFC 6455 section 5.5).
const FIRST_CONTROL: u8 = 0x8;
/// Longest header: 2 bytes, 8 bytes of length, 4 bytes of mask.
const LONGEST_HEADER: usize = 14;

/// Whether a frame that starts with this byte is a Close frame.
pub fn starts_close(first: u8) -> bool {
    opcode(first) == CLOSE
}

fn opcode(first: u8) -> u8 {
    first & 0x0f
}

/// Where in the stream of one direction we are, from the headers alone. Of the payload only the first two
/// bytes of the first Close are looked at.
///
/// Invariant: total. Every sequence of bytes, cut anywhere, is a legal input; nothing is allocated.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// The header of the current frame as far as it is known.
    header: [u8; LONGEST_HEADER],
    /// How much of it; 0 at a frame start.
    known: u8,
    /// Bytes of payload that are still to come once the header is complete.
    left: u64,
    /// A message has started and its last fragment has not ended.
    fragmented: bool,
    close: CloseState,
}

/// A Close frame that went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Its status code; `None` when the body was too short for one.
    pub code: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default)]
enum CloseState {
    #[default]
    None,
    /// Inside the first Close: the bytes of its code so far.
    Inside { code: [u8; 2], known: u8 },
    /// The first Close is complete.
    Seen(Close),
}

impl Walk {
    /// Follows `bytes`. Total: anything is a legal input.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.frame(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Follows `bytes` to the end of the current frame (or the next one, at a frame start) at most.
    /// Returns how many bytes that took: at least one, unless `bytes` is empty.
    pub fn frame(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left == 0 {
            loop {
                let Some(byte) = bytes.get(taken) else {
                    return taken;
                };
                taken += 1;
                if self.push(*byte) {
                    break;
                }
            }
            self.start_payload();
        }
        let payload = bytes.get(taken..).unwrap_or_default();
        let here = usize::try_from(self.left).map_or(payload.len(), |left| left.min(payload.len()));
        self.look(payload.get(..here).unwrap_or_default());
        self.left = self.left.saturating_sub(here as u64);
        if self.left == 0 {
            self.end_frame();
        }
        taken + here
    }

    /// Whether the next byte starts a frame, so that a control frame may be put here.
    pub fn at_frame_start(&self) -> bool {
        self.known == 0
    }

    /// Whether additionally no fragmented message is open.
    pub fn at_message_start(&self) -> bool {
        self.at_frame_start() && !self.fragmented
    }

    /// The code of the first Close frame that went by as a whole, where it had one.
    pub fn close(&self) -> Option<Close> {
        match self.close {
            CloseState::Seen(close) => Some(close),
            CloseState::None | CloseState::Inside { .. } => None,
        }
    }

    /// Takes a byte of the header; whether the header is complete with it.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(place) = self.header.get_mut(usize::from(self.known)) {
            *place = byte;
        }
        self.known = self.known.saturating_add(1);
        self.known >= 2 && usize::from(self.known) >= self.header_length()
    }

    /// Length of the current header; needs its first two bytes.
    fn header_length(&self) -> usize {
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.masked() { 4 } else { 0 }
    }

    fn masked(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    fn start_payload(&mut self) {
        let [first, second, extended @ ..] = &self.header;
        let big_endian = |bytes| {
            let bytes = extended.iter().take(bytes);
            bytes.fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
        };
        self.left = match second & 0x7f {
            126 => big_endian(2),
            127 => big_endian(8),
            length => u64::from(length),
        };
        let first = *first;
        if opcode(first) < FIRST_CONTROL {
            self.fragmented = first & 0x80 == 0;
        }
        if starts_close(first) && matches!(self.close, CloseState::None) {
            self.close = CloseState::Inside {
                code: [0; 2],
                known: 0,
            };
        }
    }

    /// Picks the code out of the payload of the first Close.
    fn look(&mut self, payload: &[u8]) {
        let CloseState::Inside { code, known } = &mut self.close else {
            return;
        };
        for byte in payload {
            let Some(place) = code.get_mut(usize::from(*known)) else {
                return;
            };
            *place = *byte;
            *known += 1;
        }
    }

    fn end_frame(&mut self) {
        if let CloseState::Inside { code, known } = self.close {
            let mask = self.mask();
            self.close = CloseState::Seen(Close {
                code: (known == 2)
                    .then(|| u16::from_be_bytes([code[0] ^ mask[0], code[1] ^ mask[1]])),
            });
        }
        self.known = 0;
    }

    /// First two bytes of the mask; 0 when there is none.
    fn mask(&self) -> [u8; 2] {
        let at = self.header_length().saturating_sub(4);
        match (self.masked(), self.header.get(at..at + 2)) {
            (true, Some(&[first, second])) => [first, second],
            _ => [0; 2],
        }
    }
}
