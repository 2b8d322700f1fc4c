//! The way to an endpoint: one TCP connection attempt.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::Endpoint;

/// A peer that vanished without a FIN (a phone out of reach, a node without power) is noticed after about 50 s
/// instead of never: 30 s of silence, then 5 probes 4 s apart. A shorter silence would wake sleeping radios for nothing;
/// with fewer probes a burst of lost packets ends peers that are well.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(4);
const KEEPALIVE_RETRIES: u32 = 5;

/// The same where something was sent and not acknowledged; Linux would repeat it for a quarter of an hour
/// (`TCP_USER_TIMEOUT`, RFC 5482).
pub const USER_TIMEOUT: Duration = Duration::from_secs(50);

/// TCP keepalive of every socket, towards clients and backends alike.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES)
}

/// Why an endpoint could not be connected.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {kind}")]
pub struct ConnectError {
    /// The address.
    pub endpoint: SocketAddr,
    /// What happened.
    pub kind: ConnectErrorKind,
    /// The system's error.
    #[source]
    pub source: Option<io::Error>,
}

/// Kinds of connect failure, each with its RFC 9209 error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectErrorKind {
    /// RST.
    #[error("connection refused")]
    Refused,
    /// No answer within `timeouts.connect`.
    #[error("connect timed out")]
    Timeout,
    /// No route and the like.
    #[error("destination unavailable")]
    Unavailable,
    /// Hawser has no file descriptor or port left.
    #[error("out of local resources")]
    LocalResources,
}

impl ConnectErrorKind {
    /// The `error` parameter of Proxy-Status (RFC 9209 section 2.3).
    pub fn proxy_status(self) -> &'static str {
        match self {
            Self::Refused => "connection_refused",
            Self::Timeout => "connection_timeout",
            Self::Unavailable => "destination_unavailable",
            Self::LocalResources => "proxy_internal_error",
        }
    }

    /// Sorts an error of the system. By number, because `io::ErrorKind` has no words for half of them.
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            // RST, or a listener that closed between SYN and ACK.
            Some(libc::ECONNREFUSED | libc::ECONNRESET) => Self::Refused,
            Some(libc::ETIMEDOUT) => Self::Timeout,
            // EADDRNOTAVAIL: every local port to this destination is in use.
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EADDRNOTAVAIL
                | libc::EAGAIN,
            ) => Self::LocalResources,
            _ => Self::Unavailable,
        }
    }
}

/// One attempt: TCP with nodelay and keepalive.
///
/// # Errors
/// When the connection is not there within `timeout` (`None` = as long as the system tries).
pub async fn connect(
    endpoint: &Endpoint,
    timeout: Option<Duration>,
) -> Result<TcpStream, ConnectError> {
    let failed = |kind, source| ConnectError {
        endpoint: endpoint.address(),
        kind,
        source,
    };
    let attempt = TcpStream::connect(endpoint.address());
    let result = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, attempt)
            .await
            .map_err(|_elapsed| failed(ConnectErrorKind::Timeout, None))?,
        None => attempt.await,
    };
    // Small frames must leave at once; waiting for more to send is the peers' business.
    let result = result.and_then(|stream| {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive())?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(stream)
    });
    result.map_err(|error| failed(ConnectErrorKind::of(&error), Some(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{ir, upstream::Registry};

    fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
        let backend = Registry::default().backend(&ir::BackendId {
            namespace: "a".into(),
            service: "b".into(),
            port: 1,
        });
        backend.set_endpoints(&[ir::Endpoint {
            address,
            ready: true,
            serving: true,
            terminating: false,
        }]);
        backend.pick(&[]).unwrap()
    }

    #[tokio::test]
    async fn connects_without_delay_and_notices_a_lost_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let stream = connect(&endpoint, Some(Duration::from_secs(5)))
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = connect(&endpoint(address), None).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Refused);
        assert_eq!(error.kind.proxy_status(), "connection_refused");
        assert_eq!(error.to_string(), format!("{address}: connection refused"));
    }

    #[tokio::test]
    async fn a_silent_address_times_out() {
        // A listener whose queue is full answers no SYN.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let endpoint = endpoint(address);
        let mut held = Vec::new();
        let error = loop {
            match connect(&endpoint, Some(Duration::from_millis(200))).await {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 16, "the queue never filled");
        };
        assert_eq!(error.kind, ConnectErrorKind::Timeout);
        assert_eq!(error.kind.proxy_status(), "connection_timeout");
    }

    #[test]
    fn kinds_of_system_errors() {
        let kind = |number| ConnectErrorKind::of(&io::Error::from_raw_os_error(number));
        assert_eq!(kind(libc::EHOSTUNREACH), ConnectErrorKind::Unavailable);
        assert_eq!(kind(libc::ENETUNREACH), ConnectErrorKind::Unavailable);
        assert_eq!(kind(libc::EMFILE), ConnectErrorKind::LocalResources);
        assert_eq!(kind(libc::EADDRNOTAVAIL), ConnectErrorKind::LocalResources);
        assert_eq!(kind(libc::ETIMEDOUT), ConnectErrorKind::Timeout);
        assert_eq!(
            ConnectErrorKind::LocalResources.proxy_status(),
            "proxy_internal_error"
        );
    }
}
