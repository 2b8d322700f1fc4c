//! A request head of HTTP/2, judged as the gate judges one of HTTP/1, and given the same form.
//!
//! h2 has refused before what RFC 9113 section 8 calls malformed, by a reset of the stream: fields of a
//! connection such as `transfer-encoding`, controls in values, capitals in names, pseudo-fields that are missing
//! or come twice, a body that is not as long as `content-length`.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    request,
    uri::Scheme,
};
use hyper::ext::Protocol;

use crate::proxy::{
    gate::{self, Limits, Refusal},
    validate,
};

/// Refuses what must not go on; what may gets its Host from `:authority` and one line of cookies.
pub(in crate::proxy) fn check(head: &mut request::Parts, limits: &Limits) -> Result<(), Refusal> {
    method(head)?;
    target(head, limits)?;
    join_cookies(&mut head.headers);
    fields(&head.headers, limits)?;
    host(head)
}

fn method(head: &request::Parts) -> Result<(), Refusal> {
    if head.method.as_str().len() > gate::METHOD_BYTES {
        return Err(Refusal::Method);
    }
    let tunnel = head.extensions.get::<Protocol>().is_some();
    if head.method == Method::TRACE || (head.method == Method::CONNECT && !tunnel) {
        return Err(Refusal::MethodRefused);
    }
    Ok(())
}

/// A fragment is not to be seen any more: `http` cuts it off. What is routed is what is forwarded all the same.
fn target(head: &request::Parts, limits: &Limits) -> Result<(), Refusal> {
    // A proxy in front that ended the client's TLS may say https.
    let known = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    if !head.uri.scheme().is_none_or(known) {
        return Err(Refusal::Scheme);
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if !target.starts_with('/') {
        return Err(Refusal::TargetForm);
    }
    gate::path_and_query(target.as_bytes())
}

fn fields(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    if headers.len() > limits.headers {
        return Err(Refusal::TooManyFields);
    }
    for (name, value) in headers {
        if name.as_str().contains('_') {
            return Err(Refusal::Underscore);
        }
        let white = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let value = value.as_bytes();
        if white(value.first()) || white(value.last()) {
            return Err(Refusal::ValueSpace);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Refusal::LengthRepeated);
        }
        gate::content_length(length.as_bytes()).ok_or(Refusal::LengthSyntax)?;
    }
    Ok(())
}

/// `:authority`, or Host where there is none (RFC 9113 section 8.3.1); both only when they are the same.
fn host(head: &mut request::Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    let host = host
        .map(|host| validate::authority(host.as_bytes()).map_err(Refusal::Host))
        .transpose()?;
    let Some(authority) = head.uri.authority() else {
        return host.map(|_| ()).ok_or(Refusal::HostMissing);
    };
    let named = validate::authority(authority.as_str().as_bytes()).map_err(Refusal::Authority)?;
    if host.is_some_and(|host| !named.same(&host)) {
        return Err(Refusal::HostMismatch);
    }
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::TargetForm)?;
    head.headers.insert(HOST, value);
    Ok(())
}

/// HTTP/2 may send cookies one by one; HTTP/1 has one line for them (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}
