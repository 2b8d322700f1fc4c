//! The one place that turns errors into answers: a status, `Proxy-Status` (RFC 9209) and a short problem
//! body (RFC 9457). The error word stands in the access log and the metrics too.
//!
//! A client never learns an address or a name from inside the cluster: what [`Error`]'s `Display` says
//! goes to the log, `details` is one of the sentences below.

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use serde::Serialize;

use crate::{
    ir::ConnectionsStatus, telemetry::RequestId, upstream::ConnectErrorKind, ws::handshake::Invalid,
};

use super::{
    body::ResponseBody,
    error::{BackendError, Blame, Error, Refused, Unserved},
    record::Record,
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Methods that make sense through a proxy; the answer to one that does not must name some (RFC 9110
/// section 15.5.6).
const ALLOWED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Longest `Retry-After`. Spread from 1 s on, so that those who were refused together do not come back
/// together.
const LONGEST_RETRY: u32 = 5;

/// What an error looks like to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    /// Error type of RFC 9209 section 2.3.
    word: &'static str,
    details: Cow<'static, str>,
    /// The connection ends after the answer: what follows on it cannot be trusted or is not wanted.
    close: bool,
    extra: Extra,
}

/// Header fields that some answers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Allow,
    /// `Upgrade: websocket`
    Upgrade,
    /// `Upgrade: websocket` and `Sec-WebSocket-Version: 13`
    Version,
    RetryAfter,
}

/// RFC 9457, with two members of our own.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    error: &'a str,
    #[serde(rename = "requestId")]
    request_id: RequestId,
}

/// Answers a request that is not served, and notes it in `record`. `close` ends the connection even
/// where the error itself would not.
pub(super) fn error(error: &Error, close: bool, mut record: Box<Record>) -> Response<ResponseBody> {
    let answer = Answer::to(error);
    let request_id = record.request_id();
    record.answered(answer.status.as_u16(), answer.word, error.to_string());
    if error.blame() != Blame::Client {
        tracing::debug!(%request_id, blame = ?error.blame(), %error, "request failed");
    }

    let problem = serde_json::to_vec(&Problem {
        title: answer.status.canonical_reason().unwrap_or_default(),
        status: answer.status.as_u16(),
        detail: &answer.details,
        error: answer.word,
        request_id,
    });
    let mut response = Response::new(ResponseBody::own(
        Bytes::from(problem.unwrap_or_default()),
        record,
    ));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    // A 404 may be stored by its status alone (RFC 9111 section 4.2.2), and the route may exist in a moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PROXY_STATUS, answer.proxy_status());
    match answer.extra {
        Extra::None => {}
        Extra::Allow => {
            headers.insert(ALLOW, ALLOWED_METHODS);
        }
        Extra::Upgrade | Extra::Version => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            // RFC 9110 section 7.8: who sends Upgrade also sends this.
            headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
            if answer.extra == Extra::Version {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
        }
        Extra::RetryAfter => {
            headers.insert(RETRY_AFTER, fastrand::u32(1..=LONGEST_RETRY).into());
        }
    }
    if close || answer.close {
        headers.append(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Answer {
    fn new(status: StatusCode, word: &'static str, details: &'static str) -> Self {
        Self {
            status,
            word,
            details: Cow::Borrowed(details),
            close: false,
            extra: Extra::None,
        }
    }

    fn with(mut self, extra: Extra) -> Self {
        self.extra = extra;
        self
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    fn to(error: &Error) -> Self {
        match error {
            Error::Refused(refused) => Self::refused(refused),
            Error::Unserved(unserved) => Self::unserved(unserved),
            Error::Backend(backend) => Self::backend(backend),
        }
    }

    fn refused(refused: &Refused) -> Self {
        let request_error = |status, details: String| Self {
            status,
            word: "http_request_error",
            details: Cow::Owned(details),
            close: false,
            extra: Extra::None,
        };
        match refused {
            Refused::Gate(refusal) => Self {
                status: refusal.status(),
                word: refusal.error(),
                details: Cow::Owned(refusal.to_string()),
                close: true,
                extra: if refusal.status() == StatusCode::METHOD_NOT_ALLOWED {
                    Extra::Allow
                } else {
                    Extra::None
                },
            },
            Refused::Target(_) => {
                request_error(StatusCode::BAD_REQUEST, refused.to_string()).closing()
            }
            Refused::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "destination_not_found",
                "no host or path matches",
            ),
            Refused::UpgradeRequired => {
                request_error(StatusCode::UPGRADE_REQUIRED, refused.to_string())
                    .with(Extra::Upgrade)
            }
            Refused::UpgradeDenied => Self::new(
                StatusCode::FORBIDDEN,
                "http_request_denied",
                "this route takes no WebSocket handshakes",
            ),
            Refused::Protocol => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "http_request_denied",
                "the only protocol of an extended CONNECT is websocket",
            ),
            Refused::ConnectIgnored => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "http_request_denied",
                "this route serves plain requests only",
            ),
            Refused::Handshake(Invalid::Version) => {
                request_error(StatusCode::UPGRADE_REQUIRED, refused.to_string())
                    .with(Extra::Version)
            }
            Refused::Handshake(_) => request_error(StatusCode::BAD_REQUEST, refused.to_string()),
            Refused::ClientLimit => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "connection_limit_reached",
                "too many connections of this client",
            )
            .with(Extra::RetryAfter),
            Refused::Expectation => {
                request_error(StatusCode::EXPECTATION_FAILED, refused.to_string())
            }
            Refused::Body => request_error(StatusCode::BAD_REQUEST, refused.to_string()).closing(),
        }
    }

    fn unserved(unserved: &Unserved) -> Self {
        match unserved {
            Unserved::Overload => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                "too many connections",
            )
            .with(Extra::RetryAfter)
            .closing(),
            Unserved::RouteLimit(status) => Self::new(
                match status {
                    ConnectionsStatus::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                    ConnectionsStatus::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
                },
                "connection_limit_reached",
                "too many connections of this route",
            )
            .with(Extra::RetryAfter),
            Unserved::Missing(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_configuration_error",
                "the backend of this route does not exist",
            ),
            Unserved::NoWeight => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                "every backend of this route has weight 0",
            ),
            Unserved::NoEndpoint(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "destination_unavailable",
                "the backend has no ready endpoint",
            ),
            Unserved::LocalResources(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_internal_error",
                "the proxy is out of resources",
            )
            .with(Extra::RetryAfter),
            Unserved::Internal(details) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_internal_error",
                details,
            ),
        }
    }

    fn backend(backend: &BackendError) -> Self {
        let bad_gateway = |word, details| Self::new(StatusCode::BAD_GATEWAY, word, details);
        match backend {
            BackendError::Connect(error) => match error.kind {
                ConnectErrorKind::Refused => {
                    bad_gateway("connection_refused", "the backend refused the connection")
                }
                ConnectErrorKind::Timeout => Self::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "connection_timeout",
                    "the backend did not accept the connection in time",
                ),
                ConnectErrorKind::Unavailable | ConnectErrorKind::LocalResources => {
                    bad_gateway("destination_unavailable", "the backend is unreachable")
                }
            },
            BackendError::Closed(_) => bad_gateway(
                "connection_terminated",
                "the backend closed the connection without a complete response head",
            ),
            BackendError::Malformed { .. } => {
                bad_gateway("http_protocol_error", "the response is malformed")
            }
            BackendError::HeadTooLarge(_) => bad_gateway(
                "http_response_header_section_size",
                "the response head is too large",
            ),
            BackendError::InterimResponses(_) => {
                bad_gateway("http_protocol_error", "too many interim responses")
            }
            BackendError::ResponseTimeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                "the backend did not respond in time",
            ),
            BackendError::HandshakeTimeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                "the backend did not answer the handshake in time",
            ),
            BackendError::Handshake { source, .. } => Self {
                // One of a few fixed sentences; nothing of the backend's is in it.
                details: Cow::Owned(source.to_string()),
                ..bad_gateway("http_upgrade_failed", "")
            },
            BackendError::UnaskedUpgrade(_) => bad_gateway(
                "http_upgrade_failed",
                "the backend switched protocols without being asked",
            ),
        }
    }

    /// `hawser; error=…; details="…"`.
    fn proxy_status(&self) -> HeaderValue {
        let text = format!(
            "hawser; error={}; details={}",
            self.word,
            quoted(&self.details)
        );
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("hawser"))
    }
}

/// A String of structured fields (RFC 9651 section 3.3.3): printable ASCII, `"` and `\` escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_a_structured_field_string() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
        assert_eq!(quoted("tab\tline\r\n\u{2028}"), r#""tab?line???""#);
    }

    #[test]
    fn a_client_learns_no_address() {
        let error = Error::from(BackendError::Closed("10.1.2.3:80".parse().unwrap()));
        assert!(error.to_string().contains("10.1.2.3"));
        let answer = Answer::to(&error);
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(!answer.proxy_status().to_str().unwrap().contains("10.1.2.3"));
    }

    #[test]
    fn an_unknown_version_names_the_known_one() {
        let answer = Answer::to(&Error::from(Refused::from(Invalid::Version)));
        assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED);
        assert_eq!(answer.extra, Extra::Version);
    }

    #[test]
    fn blame_follows_the_status() {
        let client = Error::from(Refused::NotFound);
        assert_eq!(client.blame(), Blame::Client);
        assert!(Answer::to(&client).status.is_client_error());
        let backend = Error::from(BackendError::HandshakeTimeout);
        assert_eq!(backend.blame(), Blame::Backend);
        assert_eq!(Answer::to(&backend).status, StatusCode::GATEWAY_TIMEOUT);
        let hawser = Error::from(Unserved::NoWeight);
        assert_eq!(hawser.blame(), Blame::Hawser);
        assert_eq!(Answer::to(&hawser).status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
