//! The patterns of the schema, each with the words that tell a user what would be right.
//!
//! They are plain enough for Go's RE2 (API server) and for Rust's `regex` to agree on them.

/// A regular expression together with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The expression, anchored at both ends.
    pub(super) regex: &'static str,
    /// What it asks for, for error messages.
    pub(super) words: &'static str,
}

/// GEP-2257.
pub(super) const DURATION: Pattern = Pattern {
    regex: r"^([0-9]{1,5}(h|m|s|ms)){1,4}$",
    words: "write numbers with a unit h, m, s or ms, as in 30s, 1h30m or 500ms; 0s means off",
};

/// RFC 1123 label: rules.
pub(super) const LABEL: Pattern = Pattern {
    regex: r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
    words: "use lower case letters, digits and '-', with a letter or digit at both ends, as in chat-v2",
};

/// RFC 1123 subdomain: `IngressClass` names.
pub(super) const SUBDOMAIN: Pattern = Pattern {
    regex: r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    words: "use lower case letters, digits, '-' and '.', with a letter or digit at both ends, as in hawser",
};

/// RFC 1035 label: Services.
pub(super) const SERVICE: Pattern = Pattern {
    regex: r"^[a-z]([a-z0-9-]*[a-z0-9])?$",
    words: "name a Service of the same namespace: lower case letters, digits and '-', starting with a letter, as in chat",
};

/// A host, or `*.` and a host. The last label needs a letter, so that an IPv4 address is no host.
pub(super) const HOSTNAME: Pattern = Pattern {
    regex: r"^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*([0-9][0-9-]*)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    words: "write a lower case DNS name without port, as in chat.example.com or *.example.com; no IP address, and no '*' but for the whole first label",
};

/// A host without wildcard.
pub(super) const PRECISE_HOSTNAME: Pattern = Pattern {
    regex: r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*([0-9][0-9-]*)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    words: "write a lower case DNS name without port or wildcard, as in internal.example.com",
};

/// A port name: an RFC 1123 label with a letter, so that a quoted number is told apart from a name.
pub(super) const PORT_NAME: Pattern = Pattern {
    regex: r"^([0-9][0-9-]*)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    words: "write a number from 1 to 65535 without quotes, as in 8080, or the name of a port of the Service, as in http",
};

/// RFC 9110 section 5.6.2: header names and subprotocols.
pub(super) const TOKEN: Pattern = Pattern {
    regex: r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    words: "use letters, digits and the characters !#$%&'*+-.^_`|~ only, as in x-tenant",
};

/// RFC 9110 section 5.5 without obs-text: visible ASCII, space and tab inside.
pub(super) const FIELD_VALUE: Pattern = Pattern {
    regex: r"^[!-~]([\t -~]*[!-~])?$",
    words: "use visible ASCII characters, with spaces and tabs only between them",
};

/// Characters that can be in a path (RFC 3986 section 3.3) or in an expression for one.
pub(super) const PATH_OR_REGEX: Pattern = Pattern {
    regex: r"^[!$-;=?-_a-~]+$",
    words: "use visible ASCII characters but \", #, <, > and `; percent-encode the others, as in /caf%C3%A9",
};

/// Text without control characters.
pub(super) const TEXT: Pattern = Pattern {
    regex: r"^[^\x00-\x1f\x7f]*$",
    words: "leave out control characters",
};

/// An absolute path (RFC 3986 section 3.3).
pub(super) const PATH: Pattern = Pattern {
    regex: r"^/([A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})*$",
    words: "start with '/' and use only what a URL path may have, without '?' and '#'; percent-encode the rest, as in /caf%C3%A9",
};

/// All of them.
pub(super) const ALL: [Pattern; 12] = [
    DURATION,
    LABEL,
    SUBDOMAIN,
    SERVICE,
    HOSTNAME,
    PRECISE_HOSTNAME,
    PORT_NAME,
    TOKEN,
    FIELD_VALUE,
    PATH_OR_REGEX,
    TEXT,
    PATH,
];
