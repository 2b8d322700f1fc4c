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
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
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
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
    }
}
