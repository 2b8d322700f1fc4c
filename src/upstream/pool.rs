//! The plain-HTTP client: HTTP/1.1 to an endpoint over connections that are kept and used again.
//!
//! Our own and not `hyper_util`'s, because connections belong to endpoints (not to authorities), each
//! attempt to connect has the time limit of its route, and a caller must get the request back when no
//! connection was made. hyper does the HTTP.

mod answer;
mod body;
mod idle;
mod link;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use http::{
    Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use http_body::Body;
use tokio::time::Instant;

use super::{ConnectError, Endpoint, connect};
use body::Held;
use idle::Idle;
use link::Link;

pub use body::AnswerBody;

/// Largest response head: the same as for requests, twice what common servers send at most.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Buffer of one connection: a head and as much of a body again.
const MAX_BUFFER_BYTES: usize = 2 * MAX_HEAD_BYTES;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body that a request may have.
pub trait SendBody: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B> SendBody for B where B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static {}

type Observer = Box<dyn Fn(Duration, bool) + Send + Sync>;

/// Connections to endpoints, kept between requests. Requests have bodies of type `B`.
///
/// Connections in use are bounded by whoever sends requests, idle ones by the pool. No redirect is followed and
/// nothing is retried but a request of which not a byte was sent. Field lines of a response are at most 100.
pub struct Pool<B: SendBody> {
    idle: Arc<Idle<B>>,
    connected: Observer,
}

/// Why there is no response.
#[derive(thiserror::Error)]
pub enum PoolError<B> {
    /// No connection: nothing was sent, another endpoint may be tried with the request.
    #[error("{error}")]
    Connect {
        /// What happened.
        #[source]
        error: ConnectError,
        /// The request, untouched.
        request: Box<Request<B>>,
    },
    /// The body of the request failed. The client is to blame.
    #[error("the body of the request failed")]
    RequestBody(#[source] hyper::Error),
    /// The backend closed the connection, or broke HTTP.
    #[error("the backend did not answer: {0}")]
    Exchange(#[source] hyper::Error),
    /// Interim responses (RFC 9110 section 15.2) without end.
    #[error(
        "the backend sent more than {} bytes of interim responses",
        answer::MAX_BYTES
    )]
    Interim,
    /// A 101 that nobody asked for.
    #[error("the backend switched protocols without being asked")]
    Upgrade,
}

impl<B> PoolError<B> {
    /// The `error` parameter of Proxy-Status (RFC 9209 section 2.3). `None` when the client is to blame.
    pub fn proxy_status(&self) -> Option<&'static str> {
        match self {
            Self::Connect { error, .. } => Some(error.kind.proxy_status()),
            Self::RequestBody(_) => None,
            Self::Exchange(error) if error.is_parse_too_large() => {
                Some("http_response_header_section_size")
            }
            Self::Exchange(error) if error.is_parse() => Some("http_protocol_error"),
            Self::Exchange(_) => Some("connection_terminated"),
            Self::Interim => Some("http_protocol_error"),
            Self::Upgrade => Some("http_upgrade_failed"),
        }
    }
}

impl<B: SendBody> fmt::Debug for PoolError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { error, .. } => f.debug_tuple("Connect").field(error).finish(),
            Self::RequestBody(error) => f.debug_tuple("RequestBody").field(error).finish(),
            Self::Exchange(error) => f.debug_tuple("Exchange").field(error).finish(),
            Self::Interim => f.write_str("Interim"),
            Self::Upgrade => f.write_str("Upgrade"),
        }
    }
}

impl<B: SendBody> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl<B: SendBody> Pool<B> {
    /// An empty pool. `connected` is told of every attempt to connect: how long it took and whether it worked.
    pub fn new(connected: impl Fn(Duration, bool) + Send + Sync + 'static) -> Self {
        Self {
            idle: Arc::default(),
            connected: Box::new(connected),
        }
    }

    /// Sends a request to an endpoint, over a connection that is idle or else over a new one.
    ///
    /// The target is sent in origin-form as HTTP/1.1; `Host` is up to the caller. `connect_timeout` limits one
    /// attempt to connect; the time until the response is up to the caller, who drops the future: that
    /// closes the connection. When a kept connection turns out to be closed before a byte of the
    /// request was sent, the request is sent again, once, over a new connection. Boxed, since it goes from hand to hand.
    ///
    /// # Errors
    /// See [`PoolError`]; only [`PoolError::Connect`] leaves the request as it was.
    pub async fn request(
        &self,
        endpoint: &Arc<Endpoint>,
        mut request: Box<Request<B>>,
        connect_timeout: Option<Duration>,
    ) -> Result<Response<AnswerBody<B>>, PoolError<B>> {
        *request.version_mut() = Version::HTTP_11;
        origin_form(request.uri_mut());
        if let Some(link) = self.idle.take(endpoint) {
            match self.send(endpoint, link, request).await {
                Ok(response) => return Ok(response),
                Err(SendError::Final(error)) => return Err(error),
                Err(SendError::Unsent(unsent, _)) => request = unsent,
            }
        }
        let fresh = match self.connect(endpoint, connect_timeout).await {
            Ok(fresh) => fresh,
            Err(error) => return Err(PoolError::Connect { error, request }),
        };
        self.send(endpoint, fresh, request)
            .await
            .map_err(|error| match error {
                SendError::Final(error) => error,
                SendError::Unsent(_, error) => PoolError::Exchange(error),
            })
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        timeout: Option<Duration>,
    ) -> Result<Box<Link<B>>, ConnectError> {
        let start = Instant::now();
        let result = connect(endpoint, timeout).await;
        (self.connected)(start.elapsed(), result.is_ok());
        Link::new(result?).await.map_err(|error| ConnectError {
            endpoint: endpoint.address(),
            kind: super::ConnectErrorKind::Unavailable,
            source: Some(std::io::Error::other(error)),
        })
    }

    async fn send(
        &self,
        endpoint: &Arc<Endpoint>,
        mut link: Box<Link<B>>,
        request: Box<Request<B>>,
    ) -> Result<Response<AnswerBody<B>>, SendError<B>> {
        let has_body = !request.body().is_end_stream();
        let response = link.exchange(request).await.map_err(|mut error| {
            // hyper gives the request back only if its connection never took it out of the queue.
            let unsent = error.take_message();
            let error = error.into_error();
            if let Some(request) = unsent {
                SendError::Unsent(Box::new(request), error)
            } else if link.is_refused() {
                SendError::Final(PoolError::Interim)
            } else if error.is_user() {
                SendError::Final(PoolError::RequestBody(error))
            } else {
                SendError::Final(PoolError::Exchange(error))
            }
        })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Final(PoolError::Upgrade));
        }
        // RFC 9112 section 6.3: with both framings the sender may mean another end than we read.
        let headers = response.headers();
        let is_kept =
            !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH));
        let home = is_kept.then(|| (endpoint.key(), Arc::clone(&self.idle)));
        let held = Held { link, home };
        if has_body && !held.link.is_ready() {
            // A client may send all of its body before it reads any of the answer's: nobody would move the connection.
            drop(tokio::spawn(held.move_on()));
            return Ok(response.map(AnswerBody::from));
        }
        Ok(response.map(|incoming| AnswerBody::new(incoming, Some(held))))
    }
}

enum SendError<B> {
    /// Not a byte was sent.
    Unsent(Box<Request<B>>, hyper::Error),
    Final(PoolError<B>),
}

/// Only path and query of a target (RFC 9112 section 3.2.1).
fn origin_form(uri: &mut Uri) {
    if uri.authority().is_none() {
        return;
    }
    let target = uri.path_and_query().cloned();
    *uri = Uri::from(target.unwrap_or(PathAndQuery::from_static("/")));
}
