//! A chunked body (RFC 9112 section 7.1), read strictly: CRLF only, hexadecimal sizes only. It is a subset of what
//! hyper accepts, so that hyper sees the same boundaries.

use super::{Refusal, bytes};

/// All chunk extensions of a body together. Nobody uses them; without a limit they are a body that
/// no body limit counts (hyper stops at the same number).
const EXTENSION_BYTES: usize = 16 * 1024;
/// Trailer section of a body (hyper stops at the same number).
const TRAILER_BYTES: usize = 16 * 1024;
/// Trailer fields; as in a head.
const TRAILER_FIELDS: usize = 100;
/// Hexadecimal digits of a size: what fits in 64 bits.
const SIZE_DIGITS: u8 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// White space after the size.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Start of a trailer line, or of the CRLF that ends the body.
    Line,
    Name,
    Value,
    LineLf,
    EndLf,
}

/// State of a chunked body.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    digits: u8,
    /// Size of the chunk, then what is left of it.
    size: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

/// How far a body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// All bytes belong to it and more are to come.
    More,
    /// It ended.
    Done,
    /// The byte after those that passed breaks it.
    Broken(Refusal),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            size: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
        }
    }

    /// Bytes that are certainly still to come.
    pub(super) fn remaining(&self) -> u64 {
        if self.state == State::Data {
            self.size
        } else {
            0
        }
    }

    /// Reads on; says how many bytes belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Status) {
        let mut passed = 0;
        while let Some((&byte, _)) = bytes.get(passed..).and_then(<[u8]>::split_first) {
            if self.state == State::Data {
                let rest = u64::try_from(bytes.len() - passed).unwrap_or(u64::MAX);
                let taken = self.size.min(rest);
                self.size -= taken;
                passed += usize::try_from(taken).unwrap_or(usize::MAX);
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            match self.step(byte) {
                Ok(Some(next)) => self.state = next,
                Ok(None) => return (passed + 1, Status::Done),
                Err(refusal) => return (passed, Status::Broken(refusal)),
            }
            passed += 1;
        }
        (passed, Status::More)
    }

    /// The state after a byte outside of data; `None` at the end of the body.
    fn step(&mut self, byte: u8) -> Result<Option<State>, Refusal> {
        let next = match (self.state, byte) {
            (State::Size, _) => self.size(byte)?,
            (State::Space, b' ' | b'\t') => self.extension()?,
            (State::Space | State::Extension, b'\r') => State::SizeLf,
            (State::Space, b';') => self.extension().map(|_| State::Extension)?,
            (State::Extension, _) if bytes::is_value(&[byte]) => self.extension()?,
            (State::Extension, _) => return Err(Refusal::ChunkExtension),
            (State::SizeLf, b'\n') if self.size == 0 => State::Line,
            (State::SizeLf, b'\n') => State::Data,
            (State::Space | State::SizeLf, _) => return Err(Refusal::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::Data | State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEnd),
            (State::EndLf, b'\n') => return Ok(None),
            (State::Line | State::Name | State::Value | State::LineLf | State::EndLf, _) => {
                self.trailer(byte)?
            }
        };
        Ok(Some(next))
    }

    fn size(&mut self, byte: u8) -> Result<State, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == SIZE_DIGITS {
                return Err(Refusal::ChunkSize);
            }
            self.size = if self.digits == 0 { 0 } else { self.size << 4 } | u64::from(digit);
            self.digits += 1;
            return Ok(State::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(Refusal::ChunkSize),
            b'\r' => Ok(State::SizeLf),
            b' ' | b'\t' => self.extension().map(|_| State::Space),
            b';' => self.extension().map(|_| State::Extension),
            _ => Err(Refusal::ChunkSize),
        }
    }

    /// Counts a byte that is not needed; the state stays.
    fn extension(&mut self) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes >= EXTENSION_BYTES {
            return Err(Refusal::ChunkExtension);
        }
        Ok(self.state)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        // The two bytes are the final CRLF, which hyper counts too.
        if self.trailer_bytes + 2 >= TRAILER_BYTES {
            return Err(Refusal::Trailer);
        }
        match (self.state, byte) {
            (State::Line, b'\r') => Ok(State::EndLf),
            (State::Line, _) if name_byte(byte) => {
                self.trailer_fields += 1;
                if self.trailer_fields > TRAILER_FIELDS {
                    return Err(Refusal::Trailer);
                }
                Ok(State::Name)
            }
            (State::Name, _) if name_byte(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::LineLf),
            (State::Value, _) if bytes::is_value(&[byte]) => Ok(State::Value),
            (State::LineLf, b'\n') => Ok(State::Line),
            _ => Err(Refusal::Trailer),
        }
    }
}

fn name_byte(byte: u8) -> bool {
    bytes::is_token(byte) && byte != b'_'
}

#[cfg(test)]
mod tests;
