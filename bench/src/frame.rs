//! RFC 6455 frames: writing whole ones, and reading them from pieces of any size.

use std::io;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Appends one final frame. A client masks (section 5.3), a server does not (section 5.1).
pub(crate) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    head(out, true, opcode, payload.len() as u64, mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply(mask, 0, &mut out[start..]);
    }
}

/// Appends the header of a frame (section 5.2).
pub(crate) fn head(out: &mut Vec<u8>, fin: bool, opcode: u8, length: u64, mask: Option<[u8; 4]>) {
    out.push(u8::from(fin) << 7 | opcode);
    let masked = u8::from(mask.is_some()) << 7;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => out.push(masked | length),
        (_, Ok(length)) => {
            out.push(masked | 0x7e);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 0x7f);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
}

/// Masks or unmasks bytes that stand `offset` bytes behind the start of the payload.
pub(crate) fn apply(mask: [u8; 4], offset: u64, bytes: &mut [u8]) {
    let turn = (offset % 4) as usize;
    // Wide, so that the compiler uses vectors.
    let mask: [u8; 32] = std::array::from_fn(|index| mask[(index + turn) % 4]);
    let mut blocks = bytes.chunks_exact_mut(32);
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in blocks.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// What `Reader::next` found: the next bytes of a frame.
pub(crate) struct Piece<'a> {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    /// Length of the whole payload of the frame.
    pub(crate) length: u64,
    /// Where `bytes` begin in the payload.
    pub(crate) offset: u64,
    /// Unmasked.
    pub(crate) bytes: &'a mut [u8],
}

impl Piece<'_> {
    pub(crate) fn ends_frame(&self) -> bool {
        self.offset + self.bytes.len() as u64 == self.length
    }
}

/// Reads frames from pieces of any size; holds a header at most.
#[derive(Default)]
pub(crate) struct Reader {
    header: [u8; 14],
    have: usize,
    /// Of the frame that is being read; none between frames and inside a header.
    current: Option<Current>,
    /// Whether the peer has to mask.
    from_client: bool,
}

struct Current {
    length: u64,
    offset: u64,
    mask: Option<[u8; 4]>,
}

impl Reader {
    /// Reads what a client sends: masked frames.
    pub(crate) fn of_client() -> Self {
        Self {
            from_client: true,
            ..Self::default()
        }
    }

    /// Reads what a server sends: unmasked frames.
    pub(crate) fn of_server() -> Self {
        Self::default()
    }

    /// Takes the next piece off `input`; none when that holds nothing more.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> io::Result<Option<Piece<'a>>> {
        let current = match self.current.take() {
            Some(current) if input.is_empty() => {
                self.current = Some(current);
                return Ok(None);
            }
            Some(current) => current,
            None => match self.read_header(input)? {
                Some(current) => current,
                None => return Ok(None),
            },
        };
        let left = current.length - current.offset;
        let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = std::mem::take(input).split_at_mut(take);
        *input = rest;
        if let Some(mask) = current.mask {
            apply(mask, current.offset, bytes);
        }
        let piece = Piece {
            fin: self.header[0] & 0x80 != 0,
            opcode: self.header[0] & 0x0f,
            length: current.length,
            offset: current.offset,
            bytes,
        };
        if piece.ends_frame() {
            self.have = 0;
        } else {
            let offset = current.offset + take as u64;
            self.current = Some(Current { offset, ..current });
        }
        Ok(Some(piece))
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_inside(&self) -> bool {
        self.current.is_some()
    }

    fn read_header(&mut self, input: &mut &mut [u8]) -> io::Result<Option<Current>> {
        loop {
            let need = match (self.have, self.header[1] & 0x7f) {
                (..2, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            let masked = self.have >= 2 && self.header[1] & 0x80 != 0;
            let need = need + if masked { 4 } else { 0 };
            let take = (need - self.have.min(need)).min(input.len());
            let (bytes, rest) = std::mem::take(input).split_at_mut(take);
            self.header[self.have..self.have + take].copy_from_slice(bytes);
            *input = rest;
            self.have += take;
            if self.have < need {
                return Ok(None);
            }
            if self.have == 2 && (self.header[1] & 0x7f >= 126 || self.header[1] & 0x80 != 0) {
                continue;
            }
            return self.current(need, masked).map(Some);
        }
    }

    fn current(&self, end: usize, masked: bool) -> io::Result<Current> {
        if masked != self.from_client {
            return Err(io::Error::other(
                "a frame is masked, or not, against RFC 6455 5.1",
            ));
        }
        if self.header[0] & 0x70 != 0 {
            return Err(io::Error::other("a reserved bit is set"));
        }
        let h = &self.header;
        let length = match h[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([h[2], h[3]])),
            127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
            length => u64::from(length),
        };
        let mask = masked.then(|| [h[end - 4], h[end - 3], h[end - 2], h[end - 1]]);
        Ok(Current {
            length,
            offset: 0,
            mask,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length form, masked or not, in pieces of every size: what was written is read.
    #[test]
    fn what_is_written_is_read_over_any_split() {
        for mask in [None, Some([1, 2, 3, 4])] {
            for length in [0usize, 1, 125, 126, 300, 65_535, 65_536] {
                let payload: Vec<u8> = (0..=250).cycle().take(length).collect();
                let mut wire = Vec::new();
                write(&mut wire, BINARY, &payload, mask);
                write(&mut wire, TEXT, b"next", mask);
                for size in [1, 2, 3, 7, 1000, 100_000] {
                    let mut reader = if mask.is_some() {
                        Reader::of_client()
                    } else {
                        Reader::of_server()
                    };
                    let mut frames: Vec<(u8, Vec<u8>)> = Vec::new();
                    for chunk in wire.clone().chunks_mut(size) {
                        let mut input = &mut *chunk;
                        while let Some(piece) = reader.next(&mut input).unwrap() {
                            assert!(piece.fin);
                            if piece.offset == 0
                                && frames
                                    .last()
                                    .is_none_or(|(opcode, _)| *opcode != piece.opcode)
                            {
                                frames.push((piece.opcode, Vec::new()));
                            }
                            frames.last_mut().unwrap().1.extend_from_slice(piece.bytes);
                        }
                    }
                    assert!(
                        frames == [(BINARY, payload.clone()), (TEXT, b"next".to_vec())],
                        "{length} in {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_side_that_masks_wrongly_is_an_error() {
        let mut wire = Vec::new();
        write(&mut wire, TEXT, b"x", None);
        assert!(Reader::of_client().next(&mut &mut wire[..]).is_err());
        wire.clear();
        write(&mut wire, TEXT, b"x", Some([9; 4]));
        assert!(Reader::of_server().next(&mut &mut wire[..]).is_err());
    }
}
