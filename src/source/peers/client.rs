//! One request to another replica.

use std::{net::SocketAddr, path::Path, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::own;

/// Within a cluster a connection takes a millisecond, or a lost packet more.
const CONNECT_TIME: Duration = Duration::from_millis(1500);

/// Room for a million objects.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Why a replica gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// No token to show.
    #[error("the token file cannot be read")]
    NoToken,
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// Another status than 200.
    #[error("it answered {0}")]
    Refused(StatusCode),
    /// No JSON of the expected kind.
    #[error("its answer is not understood: {0}")]
    Malformed(String),
}

impl AskError {
    /// The word of `peer_requests_total`.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Asks for `target` and waits at most `limit` for all of the answer.
pub(super) async fn get<T: DeserializeOwned>(
    address: SocketAddr,
    target: &str,
    token_file: &Path,
    limit: Duration,
) -> Result<T, AskError> {
    let token = own::read(token_file).await.ok_or(AskError::NoToken)?;
    let body = timeout(limit, fetch(address, target, &token)).await;
    let body = body.map_err(|_| AskError::Unreachable("no answer in time".to_owned()))??;
    serde_json::from_slice(&body).map_err(|error| AskError::Malformed(error.to_string()))
}

async fn fetch(address: SocketAddr, target: &str, token: &str) -> Result<bytes::Bytes, AskError> {
    let stream = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
    let stream = stream
        .map_err(|_| AskError::Unreachable("no connection in time".to_owned()))?
        .map_err(broken)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(target)
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|_| AskError::NoToken)?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        return Err(AskError::Refused(answer.status()));
    }
    let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| AskError::Unreachable(error.to_string()))?;
    Ok(body.to_bytes())
}

fn broken(error: impl std::fmt::Display) -> AskError {
    AskError::Unreachable(error.to_string())
}
