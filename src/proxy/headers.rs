//! Header fields between hops.
//!
//! Order towards the backend: hop-by-hop fields go (RFC 9110 section 7.6.1), what a client may not say
//! goes, the route's edits apply, then Hawser's own fields are set. So neither a client nor a route can
//! forge or delete `X-Forwarded-For`, `-Host`, `-Proto` or `X-Request-Id`.
//!
//! Towards the client: framing is made unambiguous, hop-by-hop fields go, the route's edits apply. They apply
//! to what a backend answered, a 101 included, and never to Hawser's own answers.
//!
//! `Via` is not added: backends such as nginx stop compressing when they see one (`gzip_proxied off`).
//! One that the client sent passes.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
        FORWARDED, HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use crate::{ir, telemetry::RequestId};

/// `X-Request-Id`.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What Hawser says about the client.
pub(super) struct Client<'a> {
    /// Address of the peer.
    pub(super) address: &'a HeaderValue,
    /// Number of the request.
    pub(super) request_id: RequestId,
}

/// Makes the fields of a client's request those of the request to the backend.
pub(super) fn towards_backend(headers: &mut HeaderMap, policy: &ir::Policy, client: &Client<'_>) {
    let trailers = lists(headers, &TE, "trailers");
    let asked_host = headers.get(HOST).cloned();
    remove_named(headers);
    remove_if(headers, |name| {
        is_hop_by_hop(name) || *name == EXPECT || is_claim(name)
    });
    edit(headers, &policy.headers.request);

    let host = match policy
        .rewrite
        .hostname
        .as_deref()
        .map(HeaderValue::from_str)
    {
        Some(Ok(hostname)) => hostname,
        // RFC 9110 section 7.2: a target without authority has an empty Host.
        Some(Err(_)) | None => asked_host.clone().unwrap_or(HeaderValue::from_static("")),
    };
    headers.insert(HOST, host);
    if trailers {
        // Only so will the backend send trailers (RFC 9110 section 6.5.1).
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    headers.insert(X_FORWARDED_FOR, client.address.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = asked_host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Ok(request_id) = HeaderValue::from_bytes(&client.request_id.digits()) {
        headers.insert(X_REQUEST_ID, request_id);
    }
}

/// Makes the fields of a backend's response those of the response to the client.
pub(super) fn towards_client(headers: &mut HeaderMap, policy: &ir::Policy) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: Transfer-Encoding overrides; passing both on is response smuggling.
        headers.remove(CONTENT_LENGTH);
    }
    remove_named(headers);
    remove_if(headers, is_hop_by_hop);
    edit(headers, &policy.headers.response);
}

/// Removes from a trailer section what has no place there (RFC 9110 section 6.5.1): a recipient that
/// merges trailers into the header section must not be led astray.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_named(trailers);
    remove_if(trailers, |name| {
        is_hop_by_hop(name) || is_claim(name) || PROTECTED.contains(name)
    });
}

/// Whether a list-valued field has the element, compared without case.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(element))
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Fields that `Connection` cannot take away: the sender may not turn off what routing, authentication
/// and framing further on rely on. `X-Forwarded-*` and `Sec-*` belong to them too.
static PROTECTED: [HeaderName; 14] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    FORWARDED,
    HOST,
    ORIGIN,
    SET_COOKIE,
    TRAILER,
    VIA,
    X_REAL_IP,
    X_REQUEST_ID,
    HeaderName::from_static("strict-transport-security"),
];

fn is_protected(name: &HeaderName) -> bool {
    PROTECTED.contains(name)
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("sec-")
}

/// Fields of one hop, whether `Connection` names them or not.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// What only a proxy in front may say about a client. Nobody in front is trusted.
fn is_claim(name: &HeaderName) -> bool {
    *name == FORWARDED
        || *name == X_REAL_IP
        || *name == X_REQUEST_ID
        || name.as_str().starts_with("x-forwarded-")
}

/// Removes what `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    // These go anyway, and nearly nothing else is named.
    let usual = |token: &str| {
        token.eq_ignore_ascii_case("upgrade") || token.eq_ignore_ascii_case("keep-alive")
    };
    let named: Vec<HeaderName> = elements(headers, &CONNECTION)
        .filter(|token| !usual(token))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !is_protected(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Looks at what is there: that is less than what might be.
fn remove_if(headers: &mut HeaderMap, removed: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = headers
        .keys()
        .filter(|name| removed(name))
        .cloned()
        .collect();
    for name in found {
        headers.remove(name);
    }
}

/// Remove, set, add. `translate` has checked names and values; what is not one is left out.
fn edit(headers: &mut HeaderMap, edits: &ir::HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name.as_str());
    }
    for (name, value) in edits.set.iter().filter_map(field) {
        headers.insert(name, value);
    }
    for (name, value) in edits.add.iter().filter_map(field) {
        headers.append(name, value);
    }
}

fn field(value: &ir::HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(value.name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(value.value.as_bytes()).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests;
