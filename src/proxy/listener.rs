//! One listening address: accepting connections, and letting go of them at shutdown.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{tunnel, upstream};

use super::{Proxy, connection};

/// Connections that the kernel completes before they are accepted. A reconnect storm after a restart is a
/// burst of SYNs; Linux cuts this to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// First and longest pause after accept failed for want of descriptors or memory. The first is short
/// because a descriptor may be free in a moment; the longest keeps a lasting shortage off the CPU.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address` (port 0: any free port). Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's, for example when the address is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart may bind while connections of its predecessor are still in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Linux passes these on to every accepted socket, which saves the calls per connection.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&upstream::keepalive())?;
        socket.set_tcp_user_timeout(Some(upstream::USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(tunnel::KERNEL_BYTES)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address that was bound, with its port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `drain`, then stops accepting, lets requests finish and returns when every connection
    /// has ended that is not a tunnel or carries nothing but tunnels, or after `Limits::drain_window` at the
    /// latest, when the rest is cut.
    pub async fn serve(self, proxy: Arc<Proxy>, drain: CancellationToken) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some((stream, peer, slot)) = self.next(&proxy, &drain).await {
            let shutdown = connection::Shutdown {
                drain: drain.clone(),
                cut: cut.clone(),
                tasks: connections.clone(),
            };
            connections.spawn(connection::serve(
                stream,
                peer,
                slot,
                proxy.clone(),
                shutdown,
            ));
        }
        drop(self.socket);
        connections.close();
        let window = proxy.limits.drain_window;
        if tokio::time::timeout(window, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                listener = %self.address,
                connections = connections.len(),
                "requests did not finish within {window:?} of the shutdown, cutting them"
            );
            cut.cancel();
            connections.wait().await;
        }
    }

    /// The next connection with its slot; `None` at the drain.
    async fn next(
        &self,
        proxy: &Proxy,
        drain: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, super::slots::Slot)> {
        tokio::select! {
            biased;
            () = drain.cancelled() => None,
            next = async {
                let accept = || self.socket.accept();
                let (stream, peer) = accepted(accept, |error| {
                    proxy.metrics.accept_error(self.address);
                    if is_of_one_connection(error) {
                        tracing::debug!(listener = %self.address, %error, "a client was gone before it was accepted");
                    } else {
                        tracing::warn!(listener = %self.address, %error, "cannot accept connections, trying again");
                    }
                })
                .await;
                let slot = proxy.slots.take().await;
                (stream, canonical(peer), slot)
            } => Some(next),
        }
    }
}

/// Accepts until it succeeds. An error never ends the loop, and it never spins: errors of one
/// connection use that connection up, after all others it pauses, longer each time.
async fn accepted<T, F>(mut accept: impl FnMut() -> F, mut failed: impl FnMut(&io::Error)) -> T
where
    F: Future<Output = io::Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                failed(&error);
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Whether accepting failed because of the connection that was next, which is thereby used up.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// An IPv4 client of a dual-stack socket in IPv4 form, so that it has one name only.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accept_survives_a_lack_of_descriptors_without_spinning() {
        let calls = Cell::new(0_u32);
        let started = Instant::now();
        let mut seen = 0;
        let got = accepted(
            || {
                calls.set(calls.get() + 1);
                let call = calls.get();
                async move {
                    match call {
                        1..20 => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                        20..30 => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                        _ => Ok(call),
                    }
                }
            },
            |_| seen += 1,
        )
        .await;
        assert_eq!(got, 30);
        assert_eq!(seen, 29);
        // 5 ms doubled eight times, then a second each.
        let expected = FIRST_PAUSE * 255 + LONGEST_PAUSE * 21;
        assert_eq!(started.elapsed().as_secs(), expected.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_aborts_costs_no_pause() {
        let calls = Cell::new(0_u32);
        let started = Instant::now();
        accepted(
            || {
                calls.set(calls.get() + 1);
                let call = calls.get();
                async move {
                    if call < 100 {
                        Err(io::ErrorKind::ConnectionAborted.into())
                    } else {
                        Ok(())
                    }
                }
            },
            |_| {},
        )
        .await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = Listener::bind(first.local_addr());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
