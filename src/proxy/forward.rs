//! Plain HTTP: a request to a backend and its response back, both streaming.
//!
//! Bodies flow as fast as the slower side takes them; at most one buffer per direction is held. hyper asks
//! for the body when the backend connection is there and has taken the head, which is also when a client that
//! waits for `100 Continue` gets it.

use std::{future::poll_fn, net::SocketAddr};

use http::{HeaderValue, Request, Response, Version, header::TRANSFER_ENCODING, request};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::upstream::PoolError;

use super::{
    body::{BackendBody, RequestBody},
    connection::Connection,
    error::{BackendError, Error, Refused, Unserved},
    failover::Attempts,
    headers,
    record::Record,
    route::Choice,
};

/// Sends a request on and returns the response, as the client is to see it.
pub(super) async fn forward(
    connection: &Connection,
    choice: &Choice,
    head: &mut request::Parts,
    body: Incoming,
    record: &mut Record,
) -> Result<Response<BackendBody>, Error> {
    let policy = choice.policy();
    let progress = record.progress().clone();
    let mut request = Box::new(Request::new(RequestBody::new(body, progress.clone())));
    *request.method_mut() = std::mem::take(&mut head.method);
    *request.uri_mut() = choice.target.clone().into();
    *request.headers_mut() = std::mem::take(&mut head.headers);
    headers::towards_backend(
        request.headers_mut(),
        policy,
        &headers::Client {
            address: &connection.forwarded_for,
            request_id: record.request_id(),
        },
    );

    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        // hyper would leave it to itself, and drop the body of a GET.
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }

    let mut attempts = Attempts::new(choice.backend()?);
    let mut unsent = Some(request);
    let exchange = async {
        loop {
            let endpoint = attempts.next()?;
            record.endpoint(endpoint.address());
            let connect = policy.timeouts.connect.value;
            let request = unsent
                .take()
                .ok_or(Unserved::Internal("a request was sent twice"))?;
            let sent = connection.proxy.pool.request(&endpoint, request, connect);
            match sent.await {
                Ok(response) => return Ok(response),
                Err(PoolError::Connect { error, request }) => {
                    attempts.failed(error)?;
                    unsent = Some(request);
                }
                Err(error) => return Err(failure(connection, endpoint.address(), error)),
            }
        }
    };
    let mut timer = std::mem::take(&mut *connection.response_timer.lock());
    let too_late = async {
        match policy.timeouts.response.value {
            Some(limit) => {
                progress.ended().await;
                let deadline = Instant::now() + limit;
                poll_fn(|cx| timer.poll_until(cx, deadline)).await;
            }
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        biased;
        result = exchange => result,
        () = too_late => Err(BackendError::ResponseTimeout.into()),
    };
    *connection.response_timer.lock() = timer;
    let mut response = result?;
    *response.version_mut() = Version::HTTP_11;
    headers::towards_client(response.headers_mut(), policy);
    Ok(response)
}

/// Why there is no response.
fn failure(connection: &Connection, endpoint: SocketAddr, error: PoolError<RequestBody>) -> Error {
    match error {
        PoolError::Connect { error, .. } => BackendError::Connect(error).into(),
        PoolError::RequestBody(_) => match connection.control.aborted() {
            Some(refusal) => Refused::Gate(refusal).into(),
            None => Refused::Body.into(),
        },
        PoolError::Exchange(error) => BackendError::from_hyper(endpoint, error).into(),
        PoolError::Interim => BackendError::InterimResponses(endpoint).into(),
        PoolError::Upgrade => BackendError::UnaskedUpgrade(endpoint).into(),
    }
}
