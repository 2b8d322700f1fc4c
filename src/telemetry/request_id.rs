//! The name of a request: in its lines, in its answers, and as `X-Request-Id` at its backend.

use std::fmt;

use serde::{Serialize, Serializer};

/// 128 random bits, written as 32 hexadecimal digits. Only for finding a request again: nobody may rely on it being
/// secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestId(u128);

impl RequestId {
    /// Another one.
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// Its digits.
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        let bytes = self.0.to_be_bytes();
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            // Arithmetic and not a table, so that many are made at a time.
            *pair = [byte >> 4, byte & 0xf]
                .map(|nibble| nibble + if nibble < 10 { b'0' } else { b'a' - 10 });
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_has_32_digits() {
        assert_eq!(RequestId(0xa1).to_string(), format!("{}a1", "0".repeat(30)));
        let id = RequestId::random();
        assert_eq!(id.to_string(), format!("{:032x}", id.0));
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
    }
}
