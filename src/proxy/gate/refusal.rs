//! Why a request is refused before a service sees it.

use http::StatusCode;

use crate::proxy::validate::Invalid;

/// Why the gate refused a head or gave up a body. The text is the `details` of Proxy-Status (RFC 9209); always the
/// client's fault, and the connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A TLS record where a request should be.
    #[error("this port speaks plain HTTP, not TLS")]
    Tls,
    /// More empty lines before a request than RFC 9112 section 2.2 asks a server to bear.
    #[error("too many empty lines before the request")]
    EmptyLines,
    /// RFC 9112 section 2.2 lets a recipient accept it; two recipients may then see two requests.
    #[error("a line of the head ends with LF without CR")]
    BareLf,
    /// RFC 9112 section 2.2.
    #[error("the head has a CR without LF")]
    BareCr,
    /// RFC 9110 section 5.5.
    #[error("the head has a NUL or another control character")]
    Control,
    /// RFC 9112 section 3: not `method SP target SP version`.
    #[error("the request line is not method, target and version with one space between them")]
    RequestLine,
    /// Not a token, or longer than 32 bytes.
    #[error("the method is not a token of at most 32 characters")]
    Method,
    /// CONNECT and TRACE are never served (RFC 9110 section 9.3.6 and 9.3.8).
    #[error("CONNECT and TRACE are not served here")]
    MethodRefused,
    /// No HTTP version, or none that reads as one.
    #[error("the request line does not end with an HTTP version")]
    VersionSyntax,
    /// Not 1.0 and not 1.1.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// Longer than the limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// RFC 9112 section 3.2.
    #[error("the request target is neither a path nor an http:// URI")]
    TargetForm,
    /// RFC 3986 section 2.
    #[error("the request target has a character that must be percent-encoded")]
    TargetCharacter,
    /// A fragment never leaves the client (RFC 9110 section 7.1).
    #[error("the request target has a fragment (#)")]
    Fragment,
    /// Absolute-form with another scheme.
    #[error("the request target has a scheme other than http")]
    Scheme,
    /// Absolute-form whose authority is no host.
    #[error("the host in the request target: {0}")]
    Authority(Invalid),
    /// RFC 9112 section 3.2.
    #[error("there is no Host field")]
    HostMissing,
    /// RFC 9112 section 3.2.
    #[error("there are several Host fields")]
    HostRepeated,
    /// RFC 9112 section 3.2.
    #[error("the Host field: {0}")]
    Host(Invalid),
    /// Absolute-form for one host, Host for another.
    #[error("the Host field and the request target name different hosts")]
    HostMismatch,
    /// RFC 9112 section 5.2; also white space before the first field.
    #[error("a field line starts with white space")]
    Fold,
    /// A line without a colon.
    #[error("a field line has no colon")]
    NoColon,
    /// A colon first.
    #[error("a field has no name")]
    EmptyName,
    /// RFC 9112 section 5.1.
    #[error("there is white space between a field name and its colon")]
    SpaceBeforeColon,
    /// RFC 9110 section 5.1.
    #[error("a field name is not a token")]
    FieldName,
    /// Many backends take `_` for `-`: two names for one field.
    #[error("a field name has an underscore")]
    Underscore,
    /// RFC 9113 section 8.2.1. HTTP/1 recipients cut it off: two values for one field.
    #[error("a field value starts or ends with white space")]
    ValueSpace,
    /// Two Content-Length fields, even equal ones.
    #[error("there are several Content-Length fields")]
    LengthRepeated,
    /// RFC 9110 section 8.6: digits and nothing else.
    #[error("Content-Length is not one decimal number")]
    LengthSyntax,
    /// RFC 9112 section 6.1.
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Anything but one `chunked`.
    #[error("Transfer-Encoding is not the single word chunked")]
    Encoding,
    /// RFC 9112 section 6.1.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    EncodingInHttp10,
    /// More bytes than the limit.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More field lines than the limit.
    #[error("the request head has too many fields")]
    TooManyFields,
    /// Slower than the limit.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// RFC 9112 section 7.1: hexadecimal digits, then CRLF.
    #[error("bad chunk size")]
    ChunkSize,
    /// Controls, or too many bytes of them.
    #[error("bad or too long chunk extension")]
    ChunkExtension,
    /// A chunk is longer than its size says.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// Syntax or size of the trailer section.
    #[error("bad or too long trailer section")]
    Trailer,
}

impl Refusal {
    /// Status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The `error` of Proxy-Status (RFC 9209 section 2.3).
    pub fn error(self) -> &'static str {
        match self {
            Self::MethodRefused => "http_request_denied",
            _ => "http_request_error",
        }
    }
}
