//! What the kernel knows about a TCP connection (tcp(7), `TCP_INFO`).
//!
//! The one place that is `unsafe`: neither rustix nor socket2 asks for it.

use std::{mem, os::fd::AsRawFd, time::Duration};

use tokio::net::TcpStream;

/// Some of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Info {
    /// How far the peer is, as its acknowledgements say.
    pub(super) round_trip: Duration,
    /// Bytes that the peer has acknowledged, of all that were sent.
    pub(super) acked: u64,
}

/// Asks the kernel. `None` where it does not answer.
#[expect(unsafe_code, reason = "no crate in the tree wraps it")]
pub(super) fn info(socket: &TcpStream) -> Option<Info> {
    let size = size_of::<libc::tcp_info>();
    let mut length = libc::socklen_t::try_from(size).ok()?;
    // SAFETY: `tcp_info` is made of integers only, for which zeros are a value. What an older kernel does not know stays
    // zero.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open as long as `socket` is borrowed; `info` and `length` are valid for writes for the
    // whole call, and the kernel writes at most `length` bytes, which is the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then(|| Info {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        acked: info.tcpi_bytes_acked,
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn what_is_acknowledged_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (far, near) = tokio::join!(far, listener.accept());
        let (mut far, mut near) = (far.unwrap(), near.unwrap().0);
        let before = info(&near).unwrap();
        assert!(before.round_trip > Duration::ZERO && before.round_trip < Duration::from_secs(1));
        near.write_all(&[7; 10_000]).await.unwrap();
        far.read_exact(&mut [0; 10_000]).await.unwrap();
        while info(&near).unwrap().acked < before.acked + 10_000 {
            tokio::task::yield_now().await;
        }
    }
}
