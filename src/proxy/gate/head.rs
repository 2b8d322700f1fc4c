//! A request head, line by line as it arrives. No byte is looked for twice, so a client that sends one byte
//! at a time costs no more than one that sends all at once.

use std::ops::Range;

use memchr::memchr;

use super::{Limits, Refusal, bytes, field, request_line};
use crate::proxy::validate;

/// Empty lines borne before a request: RFC 9112 section 2.2 asks for at least one, for clients that add one
/// after a body.
const EMPTY_LINES: u8 = 4;
/// First byte of every TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Longest body that hyper can count is a little below 2^64; this is far below and far above any body.
const LONGEST_BODY: u64 = i64::MAX.unsigned_abs();

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// The next head.
    Nothing,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A head that passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complete {
    /// Its bytes, empty lines before it included.
    pub(super) length: usize,
    /// What follows.
    pub(super) body: Body,
    /// Whether it asks for a WebSocket.
    pub(super) tunnel: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before or in the request line.
    #[default]
    Start,
    /// After it.
    Fields,
}

/// The state of an unfinished head. Positions count from its first byte.
#[derive(Debug, Default)]
pub(super) struct Head {
    stage: Stage,
    /// Where the unfinished line starts.
    line: usize,
    /// Up to where no LF was found.
    scanned: usize,
    empty_lines: u8,
    started: bool,
    fields: usize,
    http10: bool,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    connection: Connection,
}

/// What Connection and Upgrade ask for.
#[derive(Debug, Default)]
struct Connection {
    upgrade: bool,
    websocket: bool,
}

impl Head {
    /// Whether more than empty lines arrived.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// More than empty lines arrived.
    pub(super) fn start(&mut self) {
        self.started = true;
    }

    /// Reads on. `bytes` starts with the head and grows from call to call.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<Complete>, Refusal> {
        loop {
            if self.stage == Stage::Start {
                match bytes.get(self.line..).unwrap_or_default() {
                    [first, rest @ ..] => self.first_byte(*first, rest.first())?,
                    [] => return Ok(None),
                }
            }
            // Only so many bytes are looked at that the verdict does not depend on how they arrived.
            let longest = self.longest(limits);
            let window = bytes.get(..longest).unwrap_or(bytes);
            let unscanned = window.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unscanned) else {
                if bytes.len() >= longest {
                    return Err(self.too_long(window));
                }
                self.scanned = window.len();
                return Ok(None);
            };
            let end = self.scanned + found;
            let line = window.get(self.line..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Refusal::BareLf)?;
            self.scanned = end + 1;
            match self.stage {
                Stage::Start if line.is_empty() => {
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES {
                        return Err(Refusal::EmptyLines);
                    }
                }
                Stage::Start => {
                    let parsed = request_line::parse(line, limits.target_bytes)?;
                    self.http10 = parsed.http10;
                    self.authority = parsed
                        .authority
                        .map(|found| found.start + self.line..found.end + self.line);
                    self.stage = Stage::Fields;
                }
                Stage::Fields if line.is_empty() => {
                    return self.complete(bytes, end + 1).map(Some);
                }
                Stage::Fields => self.field(line, limits)?,
            }
            self.line = self.scanned;
        }
    }

    /// Refuses at once what cannot become a request, without waiting for a line of it.
    fn first_byte(&mut self, first: u8, second: Option<&u8>) -> Result<(), Refusal> {
        match first {
            b'\r' if second.is_some_and(|&second| second != b'\n') => return Err(Refusal::BareCr),
            b'\r' | b'\n' => return Ok(()),
            TLS_HANDSHAKE => return Err(Refusal::Tls),
            b' ' | b'\t' => return Err(Refusal::RequestLine),
            _ if first.is_ascii_control() => return Err(Refusal::Control),
            _ if !bytes::is_token(first) => return Err(Refusal::Method),
            _ => {}
        }
        self.start();
        Ok(())
    }

    /// Where the unfinished line must have ended.
    fn longest(&self, limits: &Limits) -> usize {
        match self.stage {
            Stage::Start => self.line + request_line::longest(limits.target_bytes),
            Stage::Fields => limits.head_bytes,
        }
        .min(limits.head_bytes)
    }

    fn too_long(&self, window: &[u8]) -> Refusal {
        match self.stage {
            Stage::Start => request_line::too_long(window.get(self.line..).unwrap_or_default()),
            Stage::Fields => Refusal::HeadTooLarge,
        }
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > limits.headers {
            return Err(Refusal::TooManyFields);
        }
        let field::Field { name, value } = field::parse(line)?;
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") => {
                if self.host.is_some() {
                    return Err(Refusal::HostRepeated);
                }
                validate::authority(value).map_err(Refusal::Host)?;
                // The value is part of the line: what comes before it is the name and white space.
                let colon = name.len() + 1;
                let white = line
                    .get(colon..)
                    .unwrap_or_default()
                    .iter()
                    .take_while(|byte| matches!(byte, b' ' | b'\t'))
                    .count();
                let start = self.line + colon + white;
                self.host = Some(start..start + value.len());
            }
            7 if is(b"upgrade") => {
                self.connection.websocket |= field::has_token(value, b"websocket");
            }
            10 if is(b"connection") => {
                self.connection.upgrade |= field::has_token(value, b"upgrade");
            }
            14 if is(b"content-length") => {
                if self.length.is_some() {
                    return Err(Refusal::LengthRepeated);
                }
                self.length = Some(content_length(value).ok_or(Refusal::LengthSyntax)?);
            }
            17 if is(b"transfer-encoding") => {
                if self.http10 {
                    return Err(Refusal::EncodingInHttp10);
                }
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Encoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The checks that need the whole head.
    fn complete(&self, bytes: &[u8], length: usize) -> Result<Complete, Refusal> {
        if self.host.is_none() && !self.http10 {
            return Err(Refusal::HostMissing);
        }
        if let (Some(authority), Some(host)) = (&self.authority, &self.host) {
            let at = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
            let named = validate::authority(at(authority)).map_err(Refusal::Authority)?;
            let host = validate::authority(at(host)).map_err(Refusal::Host)?;
            if !named.same(&host) {
                return Err(Refusal::HostMismatch);
            }
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Refusal::LengthAndEncoding),
            (true, None) => Body::Chunked,
            (false, None | Some(0)) => Body::Nothing,
            (false, Some(length)) => Body::Length(length),
        };
        let Connection { upgrade, websocket } = self.connection;
        Ok(Complete {
            length,
            body,
            tunnel: upgrade && websocket && !self.http10,
        })
    }
}

/// RFC 9110 section 8.6: digits only, and few enough that nothing overflows.
pub(in crate::proxy) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= LONGEST_BODY).then_some(length)
}

#[cfg(test)]
mod tests;
