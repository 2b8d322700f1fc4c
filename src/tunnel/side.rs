//! What a tunnel needs of each of its two ends.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// One end of a tunnel.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// The TCP socket, where the bytes of the tunnel are the bytes of the socket: such bytes can be moved without a
    /// copy, and the socket's buffers are the tunnel's own.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl Side for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

#[cfg(test)]
impl Side for tokio::io::DuplexStream {}
