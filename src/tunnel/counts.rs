//! What has moved in one direction.

use crate::ws::frame::Kind;

/// Bytes and messages of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Bytes that were read, dropped ones included.
    pub(super) bytes: u64,
    /// Messages and control frames that were passed on, by [`Kind`].
    pub(super) messages: [u32; Kind::ALL.len()],
    /// Small frames that are none of these: fragments that end no message, and control frames of a reserved opcode.
    pub(super) small: u32,
}

impl Counts {
    /// Counts a message that has ended.
    pub(super) fn message(&mut self, ended: Option<Kind>) {
        if let Some(count) = ended.and_then(|kind| self.messages.get_mut(kind as usize)) {
            *count = count.wrapping_add(1);
        }
    }

    /// What has come since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        since.bytes = since.bytes.wrapping_sub(before.bytes);
        for (count, before) in since.messages.iter_mut().zip(before.messages) {
            *count = count.wrapping_sub(before);
        }
        since.small = since.small.wrapping_sub(before.small);
        since
    }

    /// Text and binary messages.
    pub(super) fn data(&self) -> u32 {
        let [text, binary, ..] = self.messages;
        text.wrapping_add(binary)
    }

    /// What a limit of messages counts: also what costs as much as a message and is none.
    pub(super) fn charged(&self) -> u32 {
        let frames = self.messages.iter().chain([&self.small]);
        frames.fold(0, |sum, count| sum.wrapping_add(*count))
    }
}
