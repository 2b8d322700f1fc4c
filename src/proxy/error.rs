//! Why a request is not served, and whose fault that is.
//!
//! `Display` is for logs and may name addresses; what a client is told is decided in [`super::reply`].

use std::net::SocketAddr;

use crate::{ir, upstream, ws::handshake};

use super::{gate, validate};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The client sent something wrong, or asked for what does not exist.
    Client,
    /// Hawser, or how it is configured.
    Hawser,
    /// The backend.
    Backend,
}

/// Any failure of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The client's fault.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Hawser's fault, or the configuration's.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// The backend's fault.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Error {
    /// Whose fault it is.
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Refused(_) => Blame::Client,
            Self::Unserved(_) => Blame::Hawser,
            Self::Backend(_) => Blame::Backend,
        }
    }
}

/// A request that the client must change.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The raw head or body broke a rule of HTTP/1.1.
    #[error("{0}")]
    Gate(gate::Refusal),
    /// Host or path have no normal form.
    #[error(transparent)]
    Target(#[from] validate::Invalid),
    /// No route takes the host and path.
    #[error("no host or path matches")]
    NotFound,
    /// Something other than a handshake under `Require`.
    #[error("this route takes WebSocket handshakes only")]
    UpgradeRequired,
    /// A handshake under `Deny`.
    #[error("this route takes no WebSocket handshakes")]
    UpgradeDenied,
    /// An extended CONNECT for something else (RFC 8441 section 4).
    #[error("the only protocol of an extended CONNECT is websocket")]
    Protocol,
    /// An extended CONNECT under `Ignore`: without its tunnel there is nothing to answer.
    #[error("this route serves plain requests only")]
    ConnectIgnored,
    /// A handshake attempt that breaks RFC 6455 section 4.1.
    #[error(transparent)]
    Handshake(#[from] handshake::Invalid),
    /// `limits.connectionsPerClient` is reached.
    #[error("too many connections of this client")]
    ClientLimit,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    #[error("unknown expectation")]
    Expectation,
    /// The body ended early or was malformed.
    #[error("the request body broke off or is malformed")]
    Body,
}

/// A request that would be served if Hawser or its configuration were in another state.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unserved {
    /// `--max-connections` is reached.
    #[error("too many connections")]
    Overload,
    /// `limits.connections` of the route is reached. With the status of the answer.
    #[error("too many connections of this route")]
    RouteLimit(ir::ConnectionsStatus),
    /// The backend reference resolves to nothing. The text is for logs.
    #[error("{0}")]
    Missing(String),
    /// All backend references of the rule have weight 0.
    #[error("every backend of the rule has weight 0")]
    NoWeight,
    /// The backend has no ready endpoint.
    #[error("{0} has no ready endpoint")]
    NoEndpoint(ir::BackendId),
    /// File descriptors, ports or memory are used up.
    #[error("out of local resources while connecting: {0}")]
    LocalResources(#[source] upstream::ConnectError),
    /// A request could not be built. Cannot be caused from outside as far as is known.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// A backend that did not do its part.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    /// No connection to any of the endpoints that were tried; this is the last one's error.
    #[error("connect: {0}")]
    Connect(#[source] upstream::ConnectError),
    /// The connection ended before the head of the response was complete.
    #[error("{0}: closed the connection before the head of its response was complete")]
    Closed(SocketAddr),
    /// The response is not HTTP/1.1.
    #[error("{endpoint}: malformed response: {source}")]
    Malformed {
        /// The endpoint.
        endpoint: SocketAddr,
        /// What the parser says.
        #[source]
        source: hyper::Error,
    },
    /// The head of the response is over the limit.
    #[error("{0}: response head too large")]
    HeadTooLarge(SocketAddr),
    /// More interim responses than anybody needs.
    #[error("{0}: too many interim responses")]
    InterimResponses(SocketAddr),
    /// No response head within `timeouts.response`.
    #[error("no response within timeouts.response")]
    ResponseTimeout,
    /// No answer to a handshake within `timeouts.handshake`.
    #[error("no answer to the handshake within timeouts.handshake")]
    HandshakeTimeout,
    /// A 101 that does not accept the handshake that was sent.
    #[error("{endpoint}: {source}")]
    Handshake {
        /// The endpoint.
        endpoint: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: handshake::BadAnswer,
    },
    /// A 101 although nothing was to be switched, or in HTTP/1.0.
    #[error("{0}: 101 that nobody asked for")]
    UnaskedUpgrade(SocketAddr),
}

impl BackendError {
    /// What hyper's client says about an exchange with `endpoint`.
    pub(super) fn from_hyper(endpoint: SocketAddr, source: hyper::Error) -> Self {
        if source.is_parse_too_large() {
            Self::HeadTooLarge(endpoint)
        } else if source.is_parse() {
            Self::Malformed { endpoint, source }
        } else {
            Self::Closed(endpoint)
        }
    }
}
