//! One line per HTTP request, one when a tunnel opens and one when it ends. All have the target `hawser::access`.
//!
//! Invariant: no query string and no value of Cookie, Authorization or Sec-WebSocket-Protocol ever appears; every field is
//! cut to 1 KiB and escaped.

use std::{net::SocketAddr, time::Duration};

use tracing::Level;

use super::{
    RequestId, batch,
    fields::{Fields, name},
    json,
    log::{self, Format},
};
use crate::ir;

/// Names these lines in `--log-level`.
pub(super) const TARGET: &str = "hawser::access";

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
    write(|fields| line.fields(fields));
}

impl Request<'_> {
    fn fields(&self, fields: &mut Fields<'_>) {
        fields.string(name!("event"), "request");
        fields.string(name!("request_id"), digits(&self.request_id.digits()));
        if let Some(client) = self.client {
            fields.address(name!("client"), client);
        }
        fields
            .string(name!("method"), self.method)
            .string(name!("host"), self.host)
            .string(name!("path"), without_query(self.path))
            .string(name!("user_agent"), self.user_agent);
        if let Some(id) = self.route {
            route(fields, id);
        }
        if let Some(endpoint) = self.endpoint {
            fields.address(name!("endpoint"), endpoint);
        }
        fields
            .number(name!("status"), self.status)
            .some_string(name!("reason"), self.reason)
            .some_string(name!("detail"), self.detail)
            .number(name!("request_bytes"), self.request_bytes)
            .number(name!("response_bytes"), self.response_bytes)
            .seconds(name!("duration_seconds"), self.duration);
    }
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
    write(|fields| tunnel.fields(fields, "tunnel_open"));
}

impl Tunnel<'_> {
    fn fields(&self, fields: &mut Fields<'_>, event: &'static str) {
        fields
            .string(name!("event"), event)
            .number(name!("tunnel"), self.id)
            .string(name!("request_id"), digits(&self.request_id.digits()))
            .address(name!("client"), self.client)
            .string(name!("host"), self.host)
            .string(name!("path"), without_query(self.path));
        route(fields, self.route);
        fields.address(name!("endpoint"), self.endpoint);
    }
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
    write(|fields| {
        tunnel.fields(fields, "tunnel_close");
        end.fields(fields);
    });
}

impl End<'_> {
    fn fields(&self, fields: &mut Fields<'_>) {
        fields
            .string(name!("initiator"), self.initiator)
            .string(name!("cause"), self.cause)
            .some_string(name!("loss"), self.loss);
        if let Some(code) = self.code {
            fields.number(name!("code"), code);
        }
        fields
            .flag(name!("client_got_close"), self.client_got_close)
            .flag(name!("backend_got_close"), self.backend_got_close)
            .number(name!("bytes_from_client"), self.bytes_from_client)
            .number(name!("bytes_from_backend"), self.bytes_from_backend)
            .number(name!("messages_from_client"), self.messages_from_client)
            .number(name!("messages_from_backend"), self.messages_from_backend)
            .seconds(name!("duration_seconds"), self.duration);
    }
}

/// The fields that name a route: the labels of its metrics.
fn route(fields: &mut Fields<'_>, id: &ir::RouteId) {
    fields
        .string(name!("kind"), id.object.kind.as_str())
        .string(name!("namespace"), &id.object.namespace)
        .string(name!("route"), &id.object.name)
        .string(name!("rule"), &id.rule);
}

/// A line with these fields, if the level of the log allows it.
fn write(fields: impl FnOnce(&mut Fields<'_>)) {
    match log::access() {
        Some(Format::Json) => batch::line(|line| json_line(line, fields)),
        Some(Format::Text) => tracing::info!(target: TARGET, "{}", text(fields)),
        None => {}
    }
}

/// As [`json::Json`] writes it.
fn json_line(line: &mut String, fields: impl FnOnce(&mut Fields<'_>)) {
    json::begin(line, Level::INFO);
    fields(&mut Fields::json(line));
    json::end(line, TARGET);
}

fn text(fields: impl FnOnce(&mut Fields<'_>)) -> String {
    let mut text = String::new();
    fields(&mut Fields::text(&mut text));
    text.split_off(text.len().min(1))
}

/// The number of a request, as text.
fn digits(digits: &[u8; 32]) -> &str {
    str::from_utf8(digits).unwrap_or_default()
}

/// A caller's mistake must not put a query into the log.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
