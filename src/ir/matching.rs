//! What a request must look like, and THE precedence order.
//!
//! The order: the most specific host that has any rule (exact, one-label wildcard, any host), without
//! falling back to a less specific one. Within it `Exact`, then `Regex` (longest pattern first), then the
//! longest `Prefix`. Among rules with the same path: more header matches, more query matches, the
//! oldest object, `namespace/name`, rule order. [`Rank`] is the part after the path.

use std::{cmp::Reverse, fmt, sync::Arc};

use serde::Serialize;

use super::ObjectId;

/// The hosts that a rule is for. The variants are in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum HostPattern {
    /// One host, lower case, without port or final dot.
    Exact(Arc<str>),
    /// `*.example.com` stored as `example.com`: exactly one more label.
    Wildcard(Arc<str>),
    /// Every host that no other pattern takes.
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Memory of one compiled expression, in bytes. The engine is linear in the path for any pattern, so what
/// remains to be bounded is memory and the time to compile: this is a pattern of some hundred elements and compiles
/// in about a millisecond. `translate` refuses what is larger, so `table` never meets it.
pub const REGEX_SIZE_LIMIT: usize = 256 * 1024;

/// How a path is compared. Paths are compared in their normalised form, case-sensitively.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// A linear-time regular expression that must match the whole path.
    Regex(Arc<str>),
    /// Element-wise. Stored without a final slash, but `/` itself stays `/`.
    Prefix(Arc<str>),
}

impl PathMatch {
    /// The path, pattern or prefix.
    pub fn value(&self) -> &str {
        match self {
            Self::Exact(value) | Self::Regex(value) | Self::Prefix(value) => value,
        }
    }

    /// Order in which paths are tried. Equal only for the same path.
    pub fn precedence(&self) -> impl Ord + '_ {
        let (class, length) = match self {
            Self::Exact(_) => (0_u8, 0),
            Self::Regex(pattern) => (1, pattern.len()),
            Self::Prefix(prefix) => (2, prefix.len()),
        };
        (class, Reverse(length), self.value())
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Exact(_) => "Exact",
            Self::Regex(_) => "Regex",
            Self::Prefix(_) => "Prefix",
        };
        write!(f, "{word} {}", self.value())
    }
}

/// A header that must be there with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HeaderMatch {
    /// Field name, lower case.
    pub name: Box<str>,
    /// Exact value, case-sensitive.
    pub value: Box<str>,
}

/// A query parameter that must be there with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct QueryMatch {
    /// Name, case-sensitive, percent-decoded.
    pub name: Box<str>,
    /// Exact value, percent-decoded.
    pub value: Box<str>,
}

/// Age of an object: seconds since the epoch of its `creationTimestamp`. An object without one (a file)
/// is younger than any with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Age {
    /// Created at this second.
    Created(i64),
    /// No timestamp.
    Unknown,
}

/// Which requests of a path a candidate takes. Only where a `WebSocketRoute` rule and an Ingress path
/// share host, path type and value are they told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Traffic {
    /// All requests.
    Any,
    /// Handshake attempts only, well-formed or not.
    Handshakes,
}

/// Place of a candidate among those with the same host and path. Smaller is tried first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rank {
    /// Candidates for handshakes only come before those for all requests.
    pub traffic: Reverse<Traffic>,
    /// More header matches first.
    pub headers: Reverse<usize>,
    /// More query matches first.
    pub query: Reverse<usize>,
    /// The oldest object first.
    pub age: Age,
    /// Then `namespace/name`.
    pub object: ObjectId,
    /// Then rule order.
    pub rule: usize,
    /// Then the order of the matches of one rule.
    pub item: usize,
}
