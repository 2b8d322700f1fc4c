//! Types and reasons of conditions: a closed list, which users and tests rely on.

/// The object, or at least one of its rules, can be served.
pub const ACCEPTED: &str = "Accepted";

/// Everything that the object names exists and may be used.
pub const RESOLVED_REFS: &str = "ResolvedRefs";

/// Every ready replica serves this generation of the object.
pub const PROGRAMMED: &str = "Programmed";

/// Present only while true: some rules were left out, the message names them.
pub const PARTIALLY_INVALID: &str = "PartiallyInvalid";

/// Reasons of [`ACCEPTED`].
pub mod accepted {
    /// The good reason.
    pub const ACCEPTED: &str = "Accepted";
    /// The object breaks the schema or a rule that the schema cannot express.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Another object owns the host and path; the message names it.
    pub const CONFLICTED: &str = "Conflicted";
    /// A value that is valid but that Hawser does not support.
    pub const UNSUPPORTED_VALUE: &str = "UnsupportedValue";
    /// All reasons.
    pub const ALL: [&str; 4] = [ACCEPTED, INVALID_SPEC, CONFLICTED, UNSUPPORTED_VALUE];
}

/// Reasons of [`RESOLVED_REFS`].
pub mod resolved_refs {
    /// The good reason.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// No such Service.
    pub const BACKEND_NOT_FOUND: &str = "BackendNotFound";
    /// The Service has no such port.
    pub const PORT_NOT_FOUND: &str = "PortNotFound";
    /// No such Secret.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// The Secret holds no usable certificate and key.
    pub const INVALID_CERTIFICATE: &str = "InvalidCertificate";
    /// The object may not refer to that namespace.
    pub const REF_NOT_PERMITTED: &str = "RefNotPermitted";
    /// All reasons.
    pub const ALL: [&str; 6] = [
        RESOLVED_REFS,
        BACKEND_NOT_FOUND,
        PORT_NOT_FOUND,
        SECRET_NOT_FOUND,
        INVALID_CERTIFICATE,
        REF_NOT_PERMITTED,
    ];
}

/// Reasons of [`PROGRAMMED`].
pub mod programmed {
    /// The good reason.
    pub const PROGRAMMED: &str = "Programmed";
    /// Some ready replica does not serve it yet; the message names it.
    pub const PENDING: &str = "Pending";
    /// No rule of the object can be served.
    pub const NO_VALID_RULE: &str = "NoValidRule";
    /// True, but a replica that cannot be reached no longer counts.
    pub const REPLICA_UNREACHABLE: &str = "ReplicaUnreachable";
    /// All reasons.
    pub const ALL: [&str; 4] = [PROGRAMMED, PENDING, NO_VALID_RULE, REPLICA_UNREACHABLE];
}
