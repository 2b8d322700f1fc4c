//! Every default of Hawser, in one place, each with its reason; and where a value came from.

use serde::Serialize;

/// A value together with its origin, so that `hawser explain` can tell where it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Setting<T> {
    /// The effective value.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value that nobody set.
    pub fn default(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }

    /// A value from a field of the object.
    pub fn field(value: T) -> Self {
        Self {
            value,
            origin: Origin::Field,
        }
    }

    /// A value from an annotation of the object.
    pub fn annotation(value: T) -> Self {
        Self {
            value,
            origin: Origin::Annotation,
        }
    }
}

/// Who set a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Origin {
    /// [`defaults`].
    Default,
    /// A field of a `WebSocketRoute`.
    Field,
    /// An annotation of an Ingress.
    Annotation,
}

/// The defaults. Chosen so that a manifest with hosts, a path and a backend is right for a WebSocket.
pub mod defaults {
    use std::time::Duration;

    use super::super::{Extensions, UpgradeMode};

    /// WebSockets are what Hawser is for: nobody should have to ask for them.
    pub const UPGRADE_MODE: UpgradeMode = UpgradeMode::Allow;

    /// Compression is between client and backend; a proxy that passes bytes has no reason to interfere.
    pub const EXTENSIONS: Extensions = Extensions::Allow;

    /// A pod in the same cluster answers a SYN in milliseconds; 5 s outlasts two lost SYNs (1 s + 2 s).
    pub const CONNECT: Duration = Duration::from_secs(5);

    /// A handshake is one short request; a backend that needs longer is overloaded, and clients give up
    /// at about this time.
    pub const HANDSHAKE: Duration = Duration::from_secs(10);

    /// Plain HTTP where upgrades are off: what nginx and most load balancers use.
    pub const RESPONSE: Duration = Duration::from_mins(1);

    /// Plain HTTP where upgrades are on: long-polling fallbacks hold a request for minutes.
    pub const RESPONSE_WITH_UPGRADES: Duration = Duration::from_mins(5);

    /// A tunnel without a byte for an hour is forgotten by NATs and users alike; anything shorter cuts
    /// quiet applications, which is the 60-second surprise that Hawser exists to end.
    pub const IDLE: Duration = Duration::from_hours(1);

    /// A pong is answered by the peer's WebSocket layer: 20 s outlasts a slow mobile network's worst pause.
    pub const PONG: Duration = Duration::from_secs(20);

    /// A peer that takes nothing for a minute while data waits is gone, or might as well be.
    pub const WRITE_STALL: Duration = Duration::from_mins(1);

    /// Ten thousand clients that come back within a minute are a load that backends can take.
    pub const DRAIN_WINDOW: Duration = Duration::from_mins(1);

    /// Pods get 30 s to end (`terminationGracePeriodSeconds`); the goodbyes must be over before.
    pub const BACKEND_GRACE: Duration = Duration::from_secs(20);

    /// Service Restart (IANA registry): clients take it for an invitation to come back.
    pub const DRAIN_CODE: u16 = 1012;

    /// Weight of a backend reference (Gateway API's default).
    pub const WEIGHT: u32 = 1;
}
