//! The opening handshake (RFC 6455 section 4), both sides of a proxy, as pure functions.
//!
//! hyper checks none of this: it upgrades any method, with or without `Connection: upgrade`, and its
//! client upgrades on any 101. What is not refused here becomes a tunnel.

mod fields;
#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{
    HeaderMap, HeaderName, Method, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use sha1::{Digest as _, Sha1};

use super::frame::Extensions;
use fields::{elements, extension_names, token, trim};

/// Most bytes of all `Sec-WebSocket-Protocol` values together, and of all `Sec-WebSocket-Extensions`
/// values: real offers have tens of bytes; a list of kilobytes is an attack on whoever parses it next.
pub const MAX_OFFER_BYTES: usize = 1024;

/// The only version that exists outside of drafts (RFC 6455 section 4.1).
const VERSION: &[u8] = b"13";

/// What RFC 6455 section 1.3 appends to the key before it hashes.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key before base64 (RFC 6455 section 4.1).
pub const KEY_BYTES: usize = 16;

/// How a request relates to WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No handshake attempt. An Upgrade field, if any, is to be dropped (RFC 9110 section 7.8).
    Plain,
    /// HTTP/1.1 with `Connection: upgrade` and `Upgrade: websocket`; the rest may be wrong.
    Attempt,
}

/// Classifies by version, Connection and Upgrade alone.
///
/// Only the bare token `websocket` counts, in any case: `websocket/13` names another protocol version
/// (RFC 9110 section 7.8) that nobody speaks, and is dropped like any unknown one.
pub fn classify(version: Version, headers: &HeaderMap) -> Kind {
    if version == Version::HTTP_11
        && elements(headers, &CONNECTION).any(|e| e.eq_ignore_ascii_case(b"upgrade"))
        && elements(headers, &UPGRADE).any(|e| e.eq_ignore_ascii_case(b"websocket"))
    {
        Kind::Attempt
    } else {
        Kind::Plain
    }
}

/// A valid handshake request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Key` towards the backend: the client's, or over HTTP/2 one of our own.
    pub key: String,
    /// Offered subprotocols in the client's order.
    pub subprotocols: Vec<String>,
    /// Offered extensions, lower-case names in order.
    pub extensions: Vec<String>,
}

/// Why a handshake attempt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// 400.
    #[error("a handshake must use GET")]
    Method,
    /// 400.
    #[error("a handshake has no body")]
    Body,
    /// 400.
    #[error("websocket must be the only token of Upgrade")]
    Upgrade,
    /// 426 with `Sec-WebSocket-Version: 13`.
    #[error("Sec-WebSocket-Version must be 13, once")]
    Version,
    /// 400.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64, once")]
    Key,
    /// 400.
    #[error("Sec-WebSocket-Protocol is malformed or over 1 KiB")]
    Subprotocols,
    /// 400.
    #[error("Sec-WebSocket-Extensions is malformed or over 1 KiB")]
    Extensions,
}

/// Checks an attempt. The body is judged by the framing fields.
///
/// # Errors
/// The first rule that is broken, in the order of [`Invalid`].
pub fn check(method: &Method, headers: &HeaderMap) -> Result<Handshake, Invalid> {
    if method != Method::GET {
        return Err(Invalid::Method);
    }
    if has_body(headers) {
        return Err(Invalid::Body);
    }
    if !upgrades_to_websocket_only(headers) {
        return Err(Invalid::Upgrade);
    }
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(Invalid::Version);
    }
    Ok(Handshake {
        key: key(headers).ok_or(Invalid::Key)?,
        subprotocols: subprotocols(headers).ok_or(Invalid::Subprotocols)?,
        extensions: extensions(headers).ok_or(Invalid::Extensions)?,
    })
}

/// Checks an extended CONNECT with `:protocol = websocket` (RFC 8441 section 5), which has neither a key nor
/// Connection and Upgrade. `nonce` becomes the key towards the backend; one that the client sent means nothing.
///
/// # Errors
/// The first rule that is broken, in the order of [`Invalid`].
pub fn check_connect(headers: &HeaderMap, nonce: [u8; KEY_BYTES]) -> Result<Handshake, Invalid> {
    if has_body(headers) {
        return Err(Invalid::Body);
    }
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(Invalid::Version);
    }
    Ok(Handshake {
        key: BASE64.encode(nonce),
        subprotocols: subprotocols(headers).ok_or(Invalid::Subprotocols)?,
        extensions: extensions(headers).ok_or(Invalid::Extensions)?,
    })
}

/// Keeps of the offer what `allowed` names (`None` = any), in the client's order.
pub fn filter_subprotocols(offered: &[String], allowed: Option<&[String]>) -> Vec<String> {
    offered
        .iter()
        .filter(|offer| allowed.is_none_or(|allowed| allowed.contains(offer)))
        .cloned()
        .collect()
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    let mut sha = Sha1::new();
    sha.update(key.as_bytes());
    sha.update(GUID);
    BASE64.encode(sha.finalize())
}

/// What is wrong with a backend's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Another status than 101.
    #[error("not a 101")]
    Status,
    /// Upgrade field missing or not `websocket`.
    #[error("101 without Upgrade: websocket")]
    Upgrade,
    /// Connection field without `upgrade`.
    #[error("101 without Connection: upgrade")]
    Connection,
    /// Missing, twice or wrong.
    #[error("wrong Sec-WebSocket-Accept")]
    Accept,
    /// Not offered, or more than one.
    #[error("subprotocol that was not offered")]
    Subprotocol,
    /// Not offered.
    #[error("extension that was not offered")]
    Extension,
}

/// Checks a 101 against what was sent to the backend (after filtering); RFC 6455 section 4.1, the client's
/// requirements 1 to 6.
///
/// # Errors
/// The first rule that is broken, in the order of [`BadAnswer`].
pub fn verify(sent: &Handshake, status: StatusCode, headers: &HeaderMap) -> Result<(), BadAnswer> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadAnswer::Status);
    }
    if !upgrades_to_websocket_only(headers) {
        return Err(BadAnswer::Upgrade);
    }
    if !elements(headers, &CONNECTION).any(|e| e.eq_ignore_ascii_case(b"upgrade")) {
        return Err(BadAnswer::Connection);
    }
    if single(headers, &SEC_WEBSOCKET_ACCEPT) != Some(accept_key(&sent.key).as_bytes()) {
        return Err(BadAnswer::Accept);
    }
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let chosen = single(headers, &SEC_WEBSOCKET_PROTOCOL).ok_or(BadAnswer::Subprotocol)?;
        if !sent.subprotocols.iter().any(|s| s.as_bytes() == chosen) {
            return Err(BadAnswer::Subprotocol);
        }
    }
    let chosen = extensions(headers).ok_or(BadAnswer::Extension)?;
    if !chosen.iter().all(|name| sent.extensions.contains(name)) {
        return Err(BadAnswer::Extension);
    }
    Ok(())
}

/// Whether the framing fields announce a body (RFC 9112 section 6).
fn has_body(headers: &HeaderMap) -> bool {
    let zero = |value: &[u8]| !value.is_empty() && value.iter().all(|b| *b == b'0');
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|value| !zero(trim(value.as_bytes())))
}

/// Whether `websocket` is the one and only element of Upgrade.
fn upgrades_to_websocket_only(headers: &HeaderMap) -> bool {
    let mut tokens = elements(headers, &UPGRADE);
    tokens
        .next()
        .is_some_and(|e| e.eq_ignore_ascii_case(b"websocket"))
        && tokens.next().is_none()
}

/// The value of a field that is there on exactly one line.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    lines.next().is_none().then(|| trim(value.as_bytes()))
}

fn key(headers: &HeaderMap) -> Option<String> {
    let key = std::str::from_utf8(single(headers, &SEC_WEBSOCKET_KEY)?).ok()?;
    // The engine refuses a missing padding and stray bits, so one key has one spelling.
    (BASE64.decode(key).ok()?.len() == KEY_BYTES).then(|| key.to_owned())
}

/// Elements are tokens and unique (RFC 6455 section 4.1, item 10). A field without any element is as none.
fn subprotocols(headers: &HeaderMap) -> Option<Vec<String>> {
    if offer_bytes(headers, &SEC_WEBSOCKET_PROTOCOL) > MAX_OFFER_BYTES {
        return None;
    }
    let mut offered: Vec<String> = Vec::new();
    for element in elements(headers, &SEC_WEBSOCKET_PROTOCOL) {
        let element = token(element)?;
        if offered.iter().any(|known| known == element) {
            return None;
        }
        offered.push(element.to_owned());
    }
    Some(offered)
}

/// What a 101 that was verified negotiates.
pub fn negotiated(headers: &HeaderMap) -> Extensions {
    match extensions(headers).as_deref() {
        Some([]) => Extensions::None,
        Some(names) if names.iter().all(|name| name == "permessage-deflate") => Extensions::Deflate,
        _ => Extensions::Other,
    }
}

/// Lower-case names; a name may come several times, with other parameters (RFC 6455 section 9.1).
fn extensions(headers: &HeaderMap) -> Option<Vec<String>> {
    if offer_bytes(headers, &SEC_WEBSOCKET_EXTENSIONS) > MAX_OFFER_BYTES {
        return None;
    }
    let mut names = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        extension_names(line.as_bytes(), &mut names)?;
    }
    Some(names)
}

/// Bytes of all values of a field, each with the comma that would join it.
fn offer_bytes(headers: &HeaderMap, name: &HeaderName) -> usize {
    let lines = headers.get_all(name).iter();
    lines.fold(0_usize, |sum, value| {
        sum.saturating_add(value.len()).saturating_add(1)
    }) - usize::from(headers.contains_key(name))
}
