//! Who ended a tunnel, and why: exactly one answer per tunnel.

use std::time::Duration;

/// Who ended a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// Hawser.
    Hawser,
}

impl Initiator {
    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Hawser => "hawser",
        }
    }
}

/// Why a tunnel ended. The words of the contract that can happen today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The client sent Close first.
    ClientClosed,
    /// The backend sent Close first.
    BackendClosed,
    /// FIN, RST or time-out of the client without Close.
    ClientLost,
    /// FIN, RST or time-out of the backend without Close.
    BackendLost,
    /// No byte in either direction for `timeouts.idle`.
    IdleTimeout,
    /// The process is ending.
    Drain,
}

impl Cause {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::BackendClosed => "backend_closed",
            Self::ClientLost => "client_lost",
            Self::BackendLost => "backend_lost",
            Self::IdleTimeout => "idle_timeout",
            Self::Drain => "drain",
        }
    }

    /// Who brings it about.
    pub fn initiator(self) -> Initiator {
        match self {
            Self::ClientClosed | Self::ClientLost => Initiator::Client,
            Self::BackendClosed | Self::BackendLost => Initiator::Backend,
            Self::IdleTimeout | Self::Drain => Initiator::Hawser,
        }
    }
}

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Who.
    pub initiator: Initiator,
    /// Why.
    pub cause: Cause,
    /// Close code: the one seen, or the one that Hawser sent.
    pub code: Option<u16>,
    /// Bytes that the client sent. What came after the end had begun, and was dropped, counts too.
    pub bytes_from_client: u64,
    /// Bytes that the backend sent, likewise.
    pub bytes_from_backend: u64,
    /// From the 101 to the end.
    pub duration: Duration,
}

/// The end as the pump sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cause: Cause,
    pub(super) code: Option<u16>,
}
