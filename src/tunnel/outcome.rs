//! Who ended a tunnel, and why: exactly one answer per tunnel.

use std::{io, time::Duration};

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
    /// No byte of the application in either direction for `timeouts.idle`.
    IdleTimeout,
    /// `timeouts.maxLifetime` is over.
    MaxLifetime,
    /// A ping of ours was not answered within `keepalive.timeout`.
    PingTimeout,
    /// The process is ending.
    Drain,
    /// The endpoint is terminating.
    BackendTerminating,
    /// The endpoint is in no slice of its Service any more.
    BackendRemoved,
    /// No rule has the host and path any more, or it must not be tunnelled any more.
    RouteRemoved,
    /// A message or frame was over the limit of the route.
    MessageTooBig,
    /// A violation of RFC 6455 on a strict route.
    ProtocolError,
    /// Somebody asked for it at the admin address.
    Admin,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ClientClosed,
        Self::BackendClosed,
        Self::ClientLost,
        Self::BackendLost,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::PingTimeout,
        Self::Drain,
        Self::BackendTerminating,
        Self::BackendRemoved,
        Self::RouteRemoved,
        Self::MessageTooBig,
        Self::ProtocolError,
        Self::Admin,
    ];

    /// One bit for each.
    pub(super) fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::BackendClosed => "backend_closed",
            Self::ClientLost => "client_lost",
            Self::BackendLost => "backend_lost",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxLifetime => "max_lifetime",
            Self::PingTimeout => "ping_timeout",
            Self::Drain => "drain",
            Self::BackendTerminating => "backend_terminating",
            Self::BackendRemoved => "backend_removed",
            Self::RouteRemoved => "route_removed",
            Self::MessageTooBig => "message_too_big",
            Self::ProtocolError => "protocol_error",
            Self::Admin => "admin",
        }
    }

    /// Who brings it about.
    pub fn initiator(self) -> Initiator {
        match self {
            Self::ClientClosed | Self::ClientLost => Initiator::Client,
            Self::BackendClosed | Self::BackendLost => Initiator::Backend,
            _ => Initiator::Hawser,
        }
    }

    /// What a Close of our own says about it: the word, and what it means for a person. A peer's Close is passed on as it
    /// is, so those have none.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::ClientClosed | Self::BackendClosed => "",
            Self::ClientLost => "client_lost: the client is gone",
            Self::BackendLost => "backend_lost: the backend is gone",
            Self::IdleTimeout => "idle_timeout: idle for too long",
            Self::MaxLifetime => "max_lifetime: open for as long as allowed, please reconnect",
            Self::PingTimeout => "ping_timeout: a ping was not answered",
            Self::Drain => "drain: the proxy is restarting, please reconnect",
            Self::BackendTerminating => {
                "backend_terminating: the server is restarting, please reconnect"
            }
            Self::BackendRemoved => "backend_removed: the server was removed, please reconnect",
            Self::RouteRemoved => "route_removed: the route was removed",
            Self::MessageTooBig => "message_too_big: a message is over the limit",
            Self::ProtocolError => "protocol_error: a rule of RFC 6455 was broken",
            Self::Admin => "admin: closed by an administrator",
        }
    }
}

/// How a side was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// FIN without a Close.
    Fin,
    /// RST, or an error that is like one.
    Reset,
    /// Nothing came back (TCP keepalive, `TCP_USER_TIMEOUT`, retransmissions).
    TcpTimeout,
    /// It took nothing for `limits.writeStall`.
    WriteStall,
}

impl Loss {
    /// What an error of a socket says about its peer.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            // Linux tells the last ICMP or ARP error in place of the time-out, if there was one.
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::TcpTimeout,
            _ => Self::Reset,
        }
    }

    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::TcpTimeout => "tcp_timeout",
            Self::WriteStall => "write_stall",
        }
    }
}

/// Tells an open tunnel to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub cause: Cause,
    /// Close code to both sides.
    pub code: u16,
}

impl Order {
    /// As a number that fits an atomic; never 0.
    pub(super) fn pack(self) -> u32 {
        let place = Cause::ALL.iter().position(|cause| *cause == self.cause);
        let place = place.and_then(|place| u16::try_from(place + 1).ok());
        u32::from(place.unwrap_or(1)) << 16 | u32::from(self.code)
    }

    /// The other way round; `None` for 0.
    pub(super) fn unpack(packed: u32) -> Option<Self> {
        let place = usize::try_from(packed >> 16).ok()?.checked_sub(1)?;
        Some(Self {
            cause: *Cause::ALL.get(place)?,
            code: u16::try_from(packed & 0xffff).ok()?,
        })
    }
}

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Who.
    pub initiator: Initiator,
    /// Why.
    pub cause: Cause,
    /// How a side was lost, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Close code: the one seen, or the one that Hawser sent.
    pub code: Option<u16>,
    /// Whether the client got a Close frame, the backend's or Hawser's.
    pub client_got_close: bool,
    /// Whether the backend got a Close frame, the client's or Hawser's.
    pub backend_got_close: bool,
    /// Bytes that the client sent. What came after the end had begun, and was dropped, counts too.
    pub bytes_from_client: u64,
    /// Bytes that the backend sent, likewise.
    pub bytes_from_backend: u64,
    /// Text and binary messages of the client that were passed on.
    pub messages_from_client: u64,
    /// Text and binary messages of the backend that were passed on.
    pub messages_from_backend: u64,
    /// From the 101 to the end.
    pub duration: Duration,
}

/// The end as the pump sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cause: Cause,
    pub(super) loss: Option<Loss>,
    pub(super) code: Option<u16>,
    pub(super) client_got_close: bool,
    pub(super) backend_got_close: bool,
}

impl Verdict {
    /// So far nobody got a Close.
    pub(super) fn new(cause: Cause, code: Option<u16>) -> Self {
        Self {
            cause,
            loss: None,
            code,
            client_got_close: false,
            backend_got_close: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_fit_into_a_number() {
        assert_eq!(Order::unpack(0), None);
        for cause in Cause::ALL {
            let order = Order { cause, code: 4999 };
            assert_ne!(order.pack(), 0);
            assert_eq!(Order::unpack(order.pack()), Some(order));
        }
    }

    #[test]
    fn words_are_the_same_everywhere() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
            let reason = cause.reason();
            assert!(
                reason.is_empty() || reason.starts_with(&format!("{}: ", cause.as_str())),
                "{reason}"
            );
            // RFC 6455 section 5.5: with the code at most 125 bytes.
            assert!(reason.len() <= 123, "{reason}");
        }
        for loss in [Loss::Fin, Loss::Reset, Loss::TcpTimeout, Loss::WriteStall] {
            assert_eq!(serde_json::to_value(loss).unwrap(), loss.as_str());
        }
    }
}
