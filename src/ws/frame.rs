//! Where frames and messages begin in the stream of one direction (RFC 6455 section 5.2).
//!
//! Payload of data frames is skipped by length and never looked at, so compression (RFC 7692) does not matter. Control
//! frames are seen whole or not at all, and so are headers: between two steps the stream never stands inside of one.

#[cfg(test)]
mod tests;

/// Longest header: 2 bytes, 8 bytes of length, 4 bytes of mask.
pub const LONGEST_HEADER: usize = 14;

/// Longest payload of a control frame (RFC 6455 section 5.5).
pub const LONGEST_CONTROL: usize = 125;

/// With this many bytes at a frame start [`Tracker::next`] never asks for more.
pub const LONGEST_HELD: usize = LONGEST_HEADER + LONGEST_CONTROL;

/// First opcode of the control frames (RFC 6455 section 5.5).
const FIRST_CONTROL: u8 = 0x8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
/// The first of them.
const RSV1: u8 = 0x40;

/// What a message or control frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text message, fragments together.
    Text,
    /// A binary message, fragments together; also one with a reserved opcode.
    Binary,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
    /// Close.
    Close,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Text,
        Self::Binary,
        Self::Ping,
        Self::Pong,
        Self::Close,
    ];

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close => "close",
        }
    }
}

/// What a stream may contain.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Longest payload of a data frame.
    pub frame: u64,
    /// Longest payload of a message, fragments together.
    pub message: u64,
    /// Whether violations of RFC 6455 count.
    pub strict: Option<Strict>,
}

impl Rules {
    /// Anything.
    pub const NONE: Self = Self {
        frame: u64::MAX,
        message: u64::MAX,
        strict: None,
    };
}

/// What the frames of a strict stream must look like.
#[derive(Debug, Clone, Copy)]
pub struct Strict {
    /// Client to server: every frame is masked. Server to client: none is (RFC 6455 section 5.1).
    pub masked: bool,
    /// Which may give the reserved bits a meaning.
    pub extensions: Extensions,
}

/// What was negotiated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extensions {
    /// Nothing.
    #[default]
    None,
    /// Only `permessage-deflate`: RSV1 of the first frame of a message says that it is compressed (RFC 7692 section 6).
    Deflate,
    /// Something that is not known here.
    Other,
}

/// Why a frame must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Payload over [`Rules::frame`].
    FrameTooBig,
    /// Payload over [`Rules::message`].
    MessageTooBig,
    /// Masked or not, the wrong way round (RFC 6455 section 5.1).
    Mask,
    /// A reserved bit without an extension (section 5.2).
    ReservedBits,
    /// An opcode that has no meaning (section 5.2).
    ReservedOpcode,
    /// A length that is not written in its shortest form, or of 2^63 and more (section 5.2).
    Length,
    /// A control frame that is fragmented or over 125 bytes (section 5.5).
    Control,
    /// A continuation without a start, or a start inside of a fragmented message (section 5.4).
    Fragmentation,
    /// A Close of one byte, or with a code that must not be sent (section 7.4).
    CloseCode,
}

impl Violation {
    /// For the Close frame and the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::FrameTooBig => "message_too_big: a frame is over the limit",
            Self::MessageTooBig => "message_too_big: a message is over the limit",
            Self::Mask => "protocol_error: wrong masking",
            Self::ReservedBits => "protocol_error: reserved bit",
            Self::ReservedOpcode => "protocol_error: reserved opcode",
            Self::Length => "protocol_error: bad payload length",
            Self::Control => "protocol_error: bad control frame",
            Self::Fragmentation => "protocol_error: bad fragmentation",
            Self::CloseCode => "protocol_error: bad close code",
        }
    }

    /// Whether it is about a limit and not about RFC 6455.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::FrameTooBig | Self::MessageTooBig)
    }
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// A frame starts here; more bytes must be there to tell what it is. Nothing was taken.
    More,
    /// This many bytes belong to a data frame.
    Data {
        /// How many: at least one.
        bytes: usize,
        /// The message that ends with them.
        ended: Option<Kind>,
    },
    /// A whole control frame.
    Control(Control<'b>),
    /// The frame that starts here must not pass. Nothing was taken.
    Broken(Violation),
}

/// A whole control frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Control<'b> {
    /// What it is; `None` for a reserved opcode.
    pub kind: Option<Kind>,
    /// Bytes of the frame.
    pub bytes: usize,
    payload: &'b [u8],
    mask: [u8; 4],
}

impl Control<'_> {
    /// Payload without mask.
    fn payload(&self) -> impl Iterator<Item = u8> {
        self.payload
            .iter()
            .zip(self.mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
    }

    /// Whether the payload is this.
    pub fn says(&self, payload: &[u8]) -> bool {
        self.payload().eq(payload.iter().copied())
    }

    /// Status code of a Close; `None` when the body is too short for one.
    pub fn close_code(&self) -> Option<u16> {
        let mut payload = self.payload();
        Some(u16::from_be_bytes([payload.next()?, payload.next()?]))
    }
}

/// A position in the stream of one direction.
///
/// Invariant: total. Every sequence of bytes, cut anywhere, is a legal input; nothing is allocated.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    /// Bytes of payload of the current data frame that are still to come; 0 = at a frame start.
    left: u64,
    /// Payload of the current message up to the end of its current frame.
    message: u64,
    /// The current frame is the last of its message.
    last: bool,
    /// A message has started and its last frame has not.
    fragmented: bool,
    /// The message is text.
    text: bool,
}

impl Tracker {
    /// What `bytes` begin with. `More` leaves everything as it is: to be asked again with the same bytes and more.
    pub fn next<'b>(&mut self, bytes: &'b [u8], rules: &Rules) -> Step<'b> {
        if self.left > 0 {
            let bytes =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            if bytes == 0 {
                return Step::More;
            }
            return Step::Data {
                bytes,
                ended: self.skip(bytes as u64),
            };
        }
        let Some(header) = Header::read(bytes) else {
            return Step::More;
        };
        // Even a header that breaks a rule may be the start of a control frame that is not whole yet: it is judged first.
        if let Some(strict) = rules.strict
            && let Err(violation) = self.check(&header, strict)
        {
            return Step::Broken(violation);
        }
        if header.is_control() && header.payload <= LONGEST_CONTROL as u64 {
            return control(&header, bytes, rules.strict.is_some());
        }
        self.data(&header, bytes, rules)
    }

    /// Passes over `bytes` of the payload of the current frame, at most [`Tracker::left`]. The message that ends with
    /// them.
    pub fn skip(&mut self, bytes: u64) -> Option<Kind> {
        self.left = self.left.saturating_sub(bytes);
        (self.left == 0).then(|| self.end_frame()).flatten()
    }

    /// Bytes of payload of the current frame that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the data frame of the last step, which `ended` this message, is the last one of a message.
    pub fn ends_message(&self, ended: Option<Kind>) -> bool {
        self.last || ended.is_some()
    }

    /// Whether the next byte starts a frame, so that a control frame may be put here.
    pub fn at_frame_start(&self) -> bool {
        self.left == 0
    }

    /// Whether additionally no fragmented message is open.
    pub fn at_message_start(&self) -> bool {
        self.left == 0 && !self.fragmented
    }

    /// A data frame, or a control frame that is too long to be one.
    fn data<'b>(&mut self, header: &Header, bytes: &'b [u8], rules: &Rules) -> Step<'b> {
        if header.payload > rules.frame {
            return Step::Broken(Violation::FrameTooBig);
        }
        let before = if header.opcode() == 0 {
            self.message
        } else {
            0
        };
        let message = before.saturating_add(header.payload);
        if message > rules.message {
            return Step::Broken(Violation::MessageTooBig);
        }
        if !header.is_control() {
            self.message = message;
            if header.opcode() != 0 {
                self.text = header.opcode() == 1;
            }
            self.fragmented = !header.is_final();
        }
        self.last = header.is_final() && !header.is_control();
        self.left = header.payload;
        let here = (bytes.len() - header.bytes) as u64;
        let here = here.min(self.left);
        let ended = self.skip(here);
        Step::Data {
            // Not more than `bytes` has.
            bytes: header.bytes + usize::try_from(here).unwrap_or(0),
            ended,
        }
    }

    fn end_frame(&mut self) -> Option<Kind> {
        if !std::mem::take(&mut self.last) {
            return None;
        }
        self.message = 0;
        Some(if self.text { Kind::Text } else { Kind::Binary })
    }

    fn check(&self, header: &Header, strict: Strict) -> Result<(), Violation> {
        let opcode = header.opcode();
        let may_be_set = match strict.extensions {
            Extensions::Deflate if matches!(opcode, 1 | 2) => RSV1,
            Extensions::None | Extensions::Deflate => 0,
            Extensions::Other => RESERVED_BITS,
        };
        if header.first & RESERVED_BITS & !may_be_set != 0 {
            return Err(Violation::ReservedBits);
        }
        if matches!(opcode, 3..=7 | 11..) {
            return Err(Violation::ReservedOpcode);
        }
        if header.masked != strict.masked {
            return Err(Violation::Mask);
        }
        if !header.is_shortest || header.payload >> 63 != 0 {
            return Err(Violation::Length);
        }
        if header.is_control() {
            if !header.is_final() || header.payload > LONGEST_CONTROL as u64 {
                return Err(Violation::Control);
            }
        } else if (opcode == 0) != self.fragmented {
            return Err(Violation::Fragmentation);
        }
        Ok(())
    }
}

/// A control frame of legal length, if it is whole.
fn control<'b>(header: &Header, bytes: &'b [u8], strict: bool) -> Step<'b> {
    // At most 125, so it fits.
    let end = header.bytes + usize::try_from(header.payload).unwrap_or(LONGEST_CONTROL);
    let Some(payload) = bytes.get(header.bytes..end) else {
        return Step::More;
    };
    let frame = Control {
        kind: match header.opcode() {
            0x8 => Some(Kind::Close),
            0x9 => Some(Kind::Ping),
            0xa => Some(Kind::Pong),
            _ => None,
        },
        bytes: end,
        payload,
        mask: header.mask,
    };
    if strict && frame.kind == Some(Kind::Close) && !payload.is_empty() {
        match frame.close_code() {
            Some(1000..=1003 | 1007..=1014 | 3000..=4999) => {}
            _ => return Step::Broken(Violation::CloseCode),
        }
    }
    Step::Control(frame)
}

/// A whole frame header.
struct Header {
    first: u8,
    masked: bool,
    mask: [u8; 4],
    payload: u64,
    /// The length is written in as few bytes as possible.
    is_shortest: bool,
    /// Bytes of the header.
    bytes: usize,
}

impl Header {
    /// `None` when it is not whole.
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, ..] = *bytes else {
            return None;
        };
        let (payload, is_shortest, end) = match second & 0x7f {
            126 => {
                let length = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                (u64::from(length), length > 125, 4)
            }
            127 => {
                let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                (length, length > 0xffff, 10)
            }
            length => (u64::from(length), true, 2),
        };
        let masked = second & MASKED != 0;
        let (mask, bytes) = if masked {
            (*bytes.get(end..)?.first_chunk()?, end + 4)
        } else {
            ([0; 4], end)
        };
        Some(Self {
            first,
            masked,
            mask,
            payload,
            is_shortest,
            bytes,
        })
    }

    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    fn is_control(&self) -> bool {
        self.opcode() >= FIRST_CONTROL
    }

    fn is_final(&self) -> bool {
        self.first & FIN != 0
    }
}
