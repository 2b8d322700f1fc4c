//! Which endpoint a request tries next.

use std::{net::SocketAddr, sync::Arc};

use crate::upstream::{Backend, ConnectError, ConnectErrorKind, Endpoint};

use super::{
    MAX_ATTEMPTS,
    error::{BackendError, Error, Unserved},
};

/// The endpoints that one request has tried to connect to.
pub(super) struct Attempts<'a> {
    backend: &'a Arc<Backend>,
    tried: Vec<SocketAddr>,
    last: Option<ConnectError>,
}

impl<'a> Attempts<'a> {
    /// None yet.
    pub(super) fn new(backend: &'a Arc<Backend>) -> Self {
        Self {
            backend,
            tried: Vec::new(),
            last: None,
        }
    }

    /// The endpoint to try next.
    ///
    /// # Errors
    /// There is none left, or enough were tried: the last failure.
    pub(super) fn next(&mut self) -> Result<Arc<Endpoint>, Error> {
        if self.tried.len() < MAX_ATTEMPTS
            && let Some(endpoint) = self.backend.pick(&self.tried)
        {
            return Ok(endpoint);
        }
        Err(match self.last.take() {
            Some(error) => BackendError::Connect(error).into(),
            None => Unserved::NoEndpoint(self.backend.id().clone()).into(),
        })
    }

    /// An endpoint could not be connected.
    ///
    /// # Errors
    /// Hawser itself is short of something: other endpoints would not help.
    pub(super) fn failed(&mut self, error: ConnectError) -> Result<(), Error> {
        if error.kind == ConnectErrorKind::LocalResources {
            return Err(Unserved::LocalResources(error).into());
        }
        self.tried.push(error.endpoint);
        self.last = Some(error);
        Ok(())
    }
}
