//! A request that nobody sends.

use std::fmt;

use http::Uri;

use crate::{ir, table};

/// Why a request cannot be asked about.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("{0}: write a URL, as in ws://chat.example.com/ws")]
    Url(String),
    #[error("{0}: the URL begins with http://, https://, ws:// or wss://")]
    Scheme(String),
    #[error("{0}: such a request is answered with 400: {1}")]
    Path(String, ir::PathProblem),
    #[error("--header {0}: write NAME: VALUE")]
    Header(String),
}

/// A request, as far as routing looks at it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    host: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
    handshake: bool,
}

impl Asked {
    /// Reads a URL and header fields.
    pub(super) fn parse(url: &str, headers: &[String]) -> Result<Self, BadRequest> {
        let uri: Uri = url.parse().map_err(|_| BadRequest::Url(url.to_owned()))?;
        let handshake = match uri.scheme_str() {
            Some("ws" | "wss") => true,
            Some("http" | "https") => false,
            _ => return Err(BadRequest::Scheme(url.to_owned())),
        };
        let host = uri.host().ok_or_else(|| BadRequest::Url(url.to_owned()))?;
        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        let path = ir::normalize_path(path)
            .map_err(|problem| BadRequest::Path(url.to_owned(), problem))?;
        let headers = headers.iter().map(|header| {
            let (name, value) = header
                .split_once(':')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| BadRequest::Header(header.clone()))?;
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self {
            host: host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
            path: path.into_owned(),
            query: uri.query().map(str::to_owned),
            headers: headers.collect::<Result<_, _>>()?,
            handshake,
        })
    }

    /// The same request after its `Upgrade` was dropped.
    pub(super) fn as_plain(&self) -> Self {
        let mut plain = self.clone();
        plain.handshake = false;
        plain.headers.retain(|(name, _)| name != "upgrade");
        plain
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.handshake {
            "WebSocket handshake"
        } else {
            "HTTP request"
        };
        write!(f, "{kind} for {}{}", self.host, self.path)
    }
}

impl table::Request for Asked {
    fn host(&self) -> &str {
        &self.host
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn has_header(&self, name: &str, value: &str) -> bool {
        let lines: Vec<&str> = self
            .headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| &**value)
            .collect();
        lines.contains(&value) || (!lines.is_empty() && lines.join(", ") == value)
    }

    fn is_handshake_attempt(&self) -> bool {
        self.handshake
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::table::Request;

    #[rstest]
    #[case("ws://Chat.Example.com.:8080/a/../ws?v=2", true)]
    #[case("https://chat.example.com/%77s?v=2", false)]
    fn urls_take_the_form_of_requests(#[case] url: &str, #[case] handshake: bool) {
        let asked = Asked::parse(url, &["X-Tenant:  a ".to_owned()]).unwrap();
        assert_eq!(asked.host(), "chat.example.com");
        assert_eq!(asked.path(), "/ws");
        assert_eq!(asked.query(), Some("v=2"));
        assert!(asked.has_header("x-tenant", "a"));
        assert!(!asked.has_header("x-tenant", "b"));
        assert_eq!(asked.is_handshake_attempt(), handshake);
    }

    #[test]
    fn lines_of_one_header_are_also_one_value() {
        let headers = ["x: a".to_owned(), "x: b".to_owned()];
        let asked = Asked::parse("http://h", &headers).unwrap();
        assert!(asked.has_header("x", "b"));
        assert!(asked.has_header("x", "a, b"));
        assert!(!asked.has_header("y", ""));
        assert_eq!(asked.path(), "/");
    }

    #[rstest]
    #[case("chat.example.com/ws")]
    #[case("ftp://chat.example.com/")]
    #[case("/ws")]
    #[case("http://h/ b")]
    #[case("http://h/%2f")]
    #[case("")]
    fn what_is_no_request_is_refused(#[case] url: &str) {
        assert!(Asked::parse(url, &[]).is_err());
    }

    #[test]
    fn headers_need_a_name() {
        let error = Asked::parse("http://h/", &["value".to_owned()]).unwrap_err();
        assert_eq!(error, BadRequest::Header("value".to_owned()));
    }
}
