//! Host and path of a request in the one form that routing, logs and the backend see.

use std::{net::Ipv6Addr, num::NonZeroU16};

use http::{header, request::Parts};

use crate::ir;

/// Longest host name (RFC 1035 section 2.3.4, in text form).
const HOST_BYTES: usize = 253;
/// Longest label of a host name (RFC 1035 section 2.3.4).
const LABEL_BYTES: usize = 63;
/// Port of `http`.
const HTTP_PORT: u16 = 80;

/// Why a host or target is refused; always 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing where a host should be.
    #[error("it is empty")]
    Empty,
    /// RFC 9110 section 4.2.4.
    #[error("it has a user name (@)")]
    Userinfo,
    /// A character that no host name has. Names in other scripts come as A-labels (`xn--`).
    #[error("it has a character that is not in host names")]
    Character,
    /// An empty label, one over 63 bytes, or a name over 253.
    #[error("it is too long or has an empty or too long label")]
    Label,
    /// Not 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// What is between the brackets is not an IPv6 address.
    #[error("it is not an IPv6 address in brackets")]
    Ipv6,
    /// The path has no normal form.
    #[error(transparent)]
    Path(#[from] ir::PathProblem),
}

/// A host with its port, checked and not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    host: Host<'a>,
    port: Option<NonZeroU16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host<'a> {
    /// Without final dot, in the client's case.
    Name(&'a [u8]),
    V6(Ipv6Addr),
}

impl Authority<'_> {
    /// Whether both are the same host and the same port of `http`.
    pub(crate) fn same(&self, other: &Authority<'_>) -> bool {
        let host = match (self.host, other.host) {
            (Host::Name(one), Host::Name(two)) => one.eq_ignore_ascii_case(two),
            (Host::V6(one), Host::V6(two)) => one == two,
            _ => false,
        };
        let port = |port: Option<NonZeroU16>| port.map_or(HTTP_PORT, NonZeroU16::get);
        host && port(self.port) == port(other.port)
    }
}

/// Checks what stands in Host or in the authority of a target.
pub(crate) fn authority(raw: &[u8]) -> Result<Authority<'_>, Invalid> {
    if raw.is_empty() {
        return Err(Invalid::Empty);
    }
    if raw.contains(&b'@') {
        return Err(Invalid::Userinfo);
    }
    let (host, port) = if let Some(literal) = raw.strip_prefix(b"[") {
        let close = literal.iter().position(|&byte| byte == b']');
        let (address, rest) = literal.split_at(close.ok_or(Invalid::Ipv6)?);
        let address = std::str::from_utf8(address).map_err(|_| Invalid::Ipv6)?;
        let address = address.parse().map_err(|_| Invalid::Ipv6)?;
        let port = match rest {
            b"]" => None,
            [b']', b':', port @ ..] => Some(port),
            _ => return Err(Invalid::Ipv6),
        };
        (Host::V6(address), port)
    } else {
        let colon = raw.iter().position(|&byte| byte == b':');
        let (host, rest) = raw.split_at(colon.unwrap_or(raw.len()));
        (name(host)?, rest.split_first().map(|(_, port)| port))
    };
    let port = port.map(port_number).transpose()?;
    Ok(Authority { host, port })
}

fn name(raw: &[u8]) -> Result<Host<'_>, Invalid> {
    let name = raw.strip_suffix(b".").unwrap_or(raw);
    if name.is_empty() {
        return Err(Invalid::Empty);
    }
    if !name.iter().all(|&byte| IN_NAMES[usize::from(byte)]) {
        return Err(Invalid::Character);
    }
    let good = |label: &[u8]| (1..=LABEL_BYTES).contains(&label.len());
    if name.len() > HOST_BYTES || !name.split(|&byte| byte == b'.').all(good) {
        return Err(Invalid::Label);
    }
    Ok(Host::Name(name))
}

/// What names consist of.
static IN_NAMES: [bool; 256] = ir::alphanumeric_or(b"-_.");

fn port_number(raw: &[u8]) -> Result<NonZeroU16, Invalid> {
    if !raw.iter().all(u8::is_ascii_digit) {
        return Err(Invalid::Port);
    }
    let text = std::str::from_utf8(raw).map_err(|_| Invalid::Port)?;
    text.parse().map_err(|_| Invalid::Port)
}

/// Normalised host: lower case, without port and one final dot; an IPv6 literal keeps its brackets and gets the
/// text form of RFC 5952.
///
/// # Errors
/// When it is no host; see [`Invalid`].
pub fn host(raw: &str) -> Result<String, Invalid> {
    Ok(match authority(raw.as_bytes())?.host {
        // It is in front of a port or a final dot.
        Host::Name(name) => raw
            .get(..name.len())
            .unwrap_or_default()
            .to_ascii_lowercase(),
        Host::V6(address) => format!("[{address}]"),
    })
}

/// Normalised host of a request: that of an absolute-form target, else that of Host. An HTTP/1.0 request without
/// either has the empty host, which only rules for every host take. Behind the gate both name the same host.
///
/// # Errors
/// When it is no host; see [`Invalid`].
pub fn request_host(parts: &Parts) -> Result<String, Invalid> {
    if let Some(named) = parts.uri.authority() {
        return host(named.as_str());
    }
    match parts.headers.get(header::HOST) {
        Some(value) => host(value.to_str().map_err(|_| Invalid::Character)?),
        None => Ok(String::new()),
    }
}

/// Normalised path, see [`ir::normalize_path`]: unreserved characters decoded once, dot segments removed; refuses
/// `%2f`, `%5c`, `%00`, bad escapes, backslashes and controls.
///
/// # Errors
/// When the path has no normal form.
pub fn path(raw: &str) -> Result<String, Invalid> {
    Ok(ir::normalize_path(raw)?.into_owned())
}

#[cfg(test)]
mod tests;
