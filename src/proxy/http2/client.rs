//! The client's side of a tunnel: one stream of a connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tunnel;

use super::{body::PIECE_BYTES, streams::Tunnel};

/// Reads and writes the DATA of one stream.
pub(super) struct Client {
    stream: TokioIo<Upgraded>,
    /// Nothing is sent any more when this is gone.
    _sender: DropGuard,
    /// Dropped last: then the stream is free.
    _tunnel: Option<Tunnel>,
}

impl Client {
    /// The stream of `tunnel`; `sender` ends the task that sends.
    pub(super) fn new(stream: Upgraded, sender: CancellationToken, tunnel: Option<Tunnel>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            _sender: sender.drop_guard(),
            _tunnel: tunnel,
        }
    }
}

/// Its bytes are not those of a socket: many streams share one.
impl tunnel::Side for Client {}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // hyper copies what is written, and keeps up to three such copies for a client that takes nothing.
        let bytes = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
