//! One line per HTTP request, one when a tunnel opens and one when it ends. All have the target `hawser::access`.
//!
//! Invariant: no query string and no value of Cookie, Authorization or Sec-WebSocket-Protocol ever appears; every field is
//! escaped and at most 1 KiB long.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use super::{RequestId, address};
use crate::ir;

/// Longest field, bytes: a path may have 8 KiB, and a line must stay readable and cheap to ship.
const MAX_FIELD: usize = 1024;

/// Ends a field that was cut.
const CUT: &str = "...";

/// What is known about a request at its end.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// `X-Request-Id` towards the backend.
    pub request_id: RequestId,
    /// Client.
    pub client: Option<SocketAddr>,
    /// Method; empty when the head was refused before it was understood.
    pub method: &'a str,
    /// Host as routed.
    pub host: &'a str,
    /// Path as routed, without query.
    pub path: &'a str,
    /// `User-Agent`.
    pub user_agent: &'a str,
    /// Route, if one was found.
    pub route: Option<&'a ir::RouteId>,
    /// Endpoint, if one was chosen.
    pub endpoint: Option<SocketAddr>,
    /// Status sent to the client.
    pub status: u16,
    /// Reason word of an answer that Hawser made itself (the `error` of Proxy-Status).
    pub reason: Option<&'a str>,
    /// Detail of that answer.
    pub detail: Option<&'a str>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the response body.
    pub response_bytes: u64,
    /// From the head of the request to the end of the response.
    pub duration: Duration,
}

/// Writes the line of a finished HTTP request or refused handshake.
pub fn request(line: &Request<'_>) {
    let route = line.route.map(Route::new);
    tracing::info!(
        target: "hawser::access",
        event = "request",
        request_id = %digits(&line.request_id.digits()),
        client = line.client.map(address::socket).map(display),
        method = &*clean(line.method),
        host = &*clean(line.host),
        path = &*clean(without_query(line.path)),
        user_agent = &*clean(line.user_agent),
        kind = route.as_ref().map(|route| route.kind),
        namespace = route.as_ref().map(|route| &*route.namespace),
        route = route.as_ref().map(|route| &*route.name),
        rule = route.as_ref().map(|route| &*route.rule),
        endpoint = line.endpoint.map(address::socket).map(display),
        status = line.status,
        reason = line.reason.map(clean).as_deref(),
        detail = line.detail.map(clean).as_deref(),
        request_bytes = line.request_bytes,
        response_bytes = line.response_bytes,
        duration_seconds = line.duration.as_secs_f64(),
    );
}

/// What is known about a tunnel.
#[derive(Debug)]
pub struct Tunnel<'a> {
    /// Number of the tunnel in this process.
    pub id: u64,
    /// `X-Request-Id` of the handshake.
    pub request_id: RequestId,
    /// Client.
    pub client: SocketAddr,
    /// Host as routed.
    pub host: &'a str,
    /// Path as routed, without query.
    pub path: &'a str,
    /// Route.
    pub route: &'a ir::RouteId,
    /// Endpoint.
    pub endpoint: SocketAddr,
}

/// Writes the line of a tunnel that opened.
pub fn tunnel_open(tunnel: &Tunnel<'_>) {
    let route = Route::new(tunnel.route);
    tracing::info!(
        target: "hawser::access",
        event = "tunnel_open",
        tunnel = tunnel.id,
        request_id = %digits(&tunnel.request_id.digits()),
        client = %address::socket(tunnel.client),
        host = &*clean(tunnel.host),
        path = &*clean(without_query(tunnel.path)),
        kind = route.kind,
        namespace = &*route.namespace,
        route = &*route.name,
        rule = &*route.rule,
        endpoint = %address::socket(tunnel.endpoint),
    );
}

/// How a tunnel ended, as words and numbers (this module does not know the types of `tunnel`).
#[derive(Debug)]
pub struct End<'a> {
    /// client, backend or hawser.
    pub initiator: &'a str,
    /// Cause, a word of the contract.
    pub cause: &'a str,
    /// How a side was lost, where one was.
    pub loss: Option<&'a str>,
    /// Close code.
    pub code: Option<u16>,
    /// Whether the client got a Close frame.
    pub client_got_close: bool,
    /// Whether the backend got a Close frame.
    pub backend_got_close: bool,
    /// Bytes from client to backend.
    pub bytes_from_client: u64,
    /// Bytes from backend to client.
    pub bytes_from_backend: u64,
    /// Text and binary messages from client to backend.
    pub messages_from_client: u64,
    /// Text and binary messages from backend to client.
    pub messages_from_backend: u64,
    /// From the 101 to the end.
    pub duration: Duration,
}

/// Writes the line of a tunnel that ended.
pub fn tunnel_close(tunnel: &Tunnel<'_>, end: &End<'_>) {
    let route = Route::new(tunnel.route);
    tracing::info!(
        target: "hawser::access",
        event = "tunnel_close",
        tunnel = tunnel.id,
        request_id = %digits(&tunnel.request_id.digits()),
        client = %address::socket(tunnel.client),
        host = &*clean(tunnel.host),
        path = &*clean(without_query(tunnel.path)),
        kind = route.kind,
        namespace = &*route.namespace,
        route = &*route.name,
        rule = &*route.rule,
        endpoint = %address::socket(tunnel.endpoint),
        initiator = &*clean(end.initiator),
        cause = &*clean(end.cause),
        loss = end.loss.map(clean).as_deref(),
        code = end.code,
        client_got_close = end.client_got_close,
        backend_got_close = end.backend_got_close,
        bytes_from_client = end.bytes_from_client,
        bytes_from_backend = end.bytes_from_backend,
        messages_from_client = end.messages_from_client,
        messages_from_backend = end.messages_from_backend,
        duration_seconds = end.duration.as_secs_f64(),
    );
}

/// The fields that name a route: the labels of its metrics.
struct Route<'a> {
    kind: &'static str,
    namespace: Cow<'a, str>,
    name: Cow<'a, str>,
    rule: Cow<'a, str>,
}

impl<'a> Route<'a> {
    fn new(id: &'a ir::RouteId) -> Self {
        Self {
            kind: id.object.kind.as_str(),
            namespace: clean(&id.object.namespace),
            name: clean(&id.object.name),
            rule: clean(&id.rule),
        }
    }
}

/// The number of a request, as text.
fn digits(digits: &[u8; 32]) -> &str {
    str::from_utf8(digits).unwrap_or_default()
}

/// A caller's mistake must not put a query into the log.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Escapes what could start a new line or steer a terminal, in whatever format the line is written, and cuts to
/// [`MAX_FIELD`].
fn clean(value: &str) -> Cow<'_, str> {
    // Nearly all are printable ASCII, which is quicker to see.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    let is_clean = value.as_bytes().iter().all(is_plain) || !value.chars().any(is_unsafe);
    if value.len() <= MAX_FIELD && is_clean {
        return Cow::Borrowed(value);
    }
    let mut clean = String::with_capacity(value.len().min(MAX_FIELD));
    // Where to cut if the rest turns out to be too long.
    let mut end = 0;
    for character in value.chars() {
        if clean.len() + CUT.len() <= MAX_FIELD {
            end = clean.len();
        }
        if is_unsafe(character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
        if clean.len() > MAX_FIELD {
            clean.truncate(end);
            clean.push_str(CUT);
            break;
        }
    }
    Cow::Owned(clean)
}

/// Controls (C0, DEL, C1: ESC and CSI among them), line and paragraph separators, and the marks that turn the direction of
/// text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests;
