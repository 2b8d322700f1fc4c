//! Annotations of Ingress objects.

/// What all keys of Hawser start with.
pub const PREFIX: &str = "hawser.dev/";

/// The class of an Ingress from the time before `ingressClassName`.
pub const LEGACY_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// On an `IngressClass`, `"true"`: objects without a class belong to it.
pub const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Keys that have an effect on an Ingress. Each mirrors a field of a `WebSocketRoute` rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Annotation {
    /// `hawser.dev/upgrade`: `upgrade.mode`, in any case.
    Upgrade,
    /// `hawser.dev/subprotocols`: `upgrade.subprotocols`, separated by commas.
    Subprotocols,
    /// `hawser.dev/connect-timeout`: `timeouts.connect`.
    ConnectTimeout,
    /// `hawser.dev/handshake-timeout`: `timeouts.handshake`.
    HandshakeTimeout,
    /// `hawser.dev/response-timeout`: `timeouts.response`.
    ResponseTimeout,
    /// `hawser.dev/idle-timeout`: `timeouts.idle`.
    IdleTimeout,
    /// `hawser.dev/max-lifetime`: `timeouts.maxLifetime`.
    MaxLifetime,
    /// `hawser.dev/keepalive-interval`: `keepalive.interval`.
    KeepaliveInterval,
    /// `hawser.dev/connections`: `limits.connections`.
    Connections,
    /// `hawser.dev/connections-per-client`: `limits.connectionsPerClient`.
    ConnectionsPerClient,
    /// `hawser.dev/drain-window`: `drain.window`.
    DrainWindow,
}

impl Annotation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Upgrade,
        Self::Subprotocols,
        Self::ConnectTimeout,
        Self::HandshakeTimeout,
        Self::ResponseTimeout,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::KeepaliveInterval,
        Self::Connections,
        Self::ConnectionsPerClient,
        Self::DrainWindow,
    ];

    /// The whole key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Upgrade => "hawser.dev/upgrade",
            Self::Subprotocols => "hawser.dev/subprotocols",
            Self::ConnectTimeout => "hawser.dev/connect-timeout",
            Self::HandshakeTimeout => "hawser.dev/handshake-timeout",
            Self::ResponseTimeout => "hawser.dev/response-timeout",
            Self::IdleTimeout => "hawser.dev/idle-timeout",
            Self::MaxLifetime => "hawser.dev/max-lifetime",
            Self::KeepaliveInterval => "hawser.dev/keepalive-interval",
            Self::Connections => "hawser.dev/connections",
            Self::ConnectionsPerClient => "hawser.dev/connections-per-client",
            Self::DrainWindow => "hawser.dev/drain-window",
        }
    }
}

/// Keys that are promised but have no effect yet.
const NOT_BUILT_YET: [&str; 4] = [
    "hawser.dev/allowed-origins",
    "hawser.dev/cache",
    "hawser.dev/load-balancing",
    "hawser.dev/affinity-cookie",
];

/// What a `hawser.dev/` key means to this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It has an effect.
    Known(Annotation),
    /// It will have one in a later version.
    NotBuiltYet,
    /// Nobody has heard of it.
    Unknown,
}

/// Classifies an annotation key. `None` for a key that is not Hawser's.
pub fn classify(key: &str) -> Option<Class> {
    key.starts_with(PREFIX).then(|| {
        if let Some(known) = Annotation::ALL.into_iter().find(|known| known.key() == key) {
            Class::Known(known)
        } else if NOT_BUILT_YET.contains(&key) {
            Class::NotBuiltYet
        } else {
            Class::Unknown
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_key_is_classified_as_itself() {
        for known in Annotation::ALL {
            assert_eq!(classify(known.key()), Some(Class::Known(known)));
        }
    }

    #[test]
    fn later_unknown_and_foreign_keys_are_told_apart() {
        assert_eq!(classify("hawser.dev/cache"), Some(Class::NotBuiltYet));
        assert_eq!(classify("hawser.dev/idle-timeuot"), Some(Class::Unknown));
        assert_eq!(classify("hawser.dev/"), Some(Class::Unknown));
        assert_eq!(classify(LEGACY_INGRESS_CLASS), None);
        assert_eq!(classify("nginx.ingress.kubernetes.io/rewrite-target"), None);
    }
}
