//! One listening address: accepting connections, and letting go of them at shutdown.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::{tunnel, upstream};

use super::{Order, Proxy, connection, slots::Slot};

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
    /// Binds `address` (port 0: any free port). With `reuse_port` other processes of this user may bind it, too, and
    /// the kernel spreads connections over all of them. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's, for example when the address is in use.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart may bind while connections of its predecessor are still in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::inherit(socket.into())
    }

    /// Takes a socket that listens already. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn inherit(socket: std::net::TcpListener) -> io::Result<Self> {
        let options = SockRef::from(&socket);
        options.set_nonblocking(true)?;
        // Linux passes these on to every accepted socket, which saves the calls per connection.
        options.set_tcp_nodelay(true)?;
        options.set_tcp_keepalive(&upstream::keepalive())?;
        options.set_tcp_user_timeout(Some(upstream::USER_TIMEOUT))?;
        options.set_tcp_notsent_lowat(tunnel::UNSENT_BYTES)?;
        let socket = TcpListener::from_std(socket)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address that was bound, with its port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `drain`, then stops accepting, lets requests finish and returns when every connection has ended that
    /// is not a tunnel; one of HTTP/2 ends after its tunnels. `cut` ends those that are left at once.
    pub async fn serve(self, proxy: Arc<Proxy>, drain: Order, cut: Order) {
        let connections = TaskTracker::new();
        let shutdown = connection::Shutdown {
            drain: drain.clone(),
            cut,
            tasks: connections.clone(),
        };
        let start = |(stream, peer, slot)| {
            let served = connection::serve(stream, peer, slot, proxy.clone(), shutdown.clone());
            connections.spawn(served);
        };
        while let Some(next) = self.next(&proxy, &drain).await {
            start(next);
        }
        self.queued(&proxy).for_each(start);
        connections.close();
        connections.wait().await;
    }

    /// Stops listening. What the kernel has completed until then comes out: to close the socket would reset it.
    fn queued(self, proxy: &Proxy) -> impl Iterator<Item = (TcpStream, SocketAddr, Slot)> {
        let socket = self.socket.into_std();
        // More come as long as the socket is open, so there is a bound.
        std::iter::repeat_with(move || {
            let (stream, peer) = socket.as_ref().ok()?.accept().ok()?;
            stream.set_nonblocking(true).ok()?;
            let slot = proxy.slots.take().now_or_never()?;
            Some((TcpStream::from_std(stream).ok()?, canonical(peer), slot))
        })
        .take(BACKLOG.unsigned_abs() as usize)
        .map_while(|queued| queued)
    }

    /// The next connection with its slot; `None` at the drain.
    async fn next(&self, proxy: &Proxy, drain: &Order) -> Option<(TcpStream, SocketAddr, Slot)> {
        let accept = || self.socket.accept();
        let failed = |error: &io::Error| {
            proxy.metrics.accept_error(self.address);
            if is_of_one_connection(error) {
                tracing::debug!(listener = %self.address, %error, "a client was gone before it was accepted");
            } else {
                tracing::warn!(listener = %self.address, %error, "cannot accept connections, trying again");
            }
        };
        let (stream, peer) = tokio::select! {
            biased;
            () = drain.given() => return None,
            next = accepted(accept, failed) => next,
        };
        // Not a part of the choice above: the drain must not drop a connection that is accepted.
        let slot = proxy.slots.take().await;
        Some((stream, canonical(peer), slot))
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
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(any, false).unwrap();
        let second = Listener::bind(first.local_addr(), true);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn two_that_agree_share_a_port() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(any, true).unwrap();
        let second = Listener::bind(first.local_addr(), true).unwrap();
        assert_eq!(first.local_addr(), second.local_addr());
    }
}
