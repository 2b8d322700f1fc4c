//! Host, path and query of a request in the one form that routing, logs and the backend see.

use http::request;

use super::{error::Refused, validate};

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Normalised host; empty when an HTTP/1.0 request has none.
    pub(super) host: String,
    /// Normalised path.
    pub(super) path: String,
    /// Raw query, without `?`.
    pub(super) query: Option<String>,
}

impl Target {
    /// Reads it from a head.
    pub(super) fn of(head: &request::Parts) -> Result<Self, Refused> {
        Ok(Self {
            host: validate::request_host(head)?,
            path: validate::path(head.uri.path())?,
            query: head.uri.query().map(str::to_owned),
        })
    }
}
