//! One WebSocket of the load tool.

use std::{io, mem::MaybeUninit, time::Duration};

use socket2::SockRef;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    frame::{self, Reader},
    load::Target,
    wire,
};

/// From connect to the 101, and for a closing handshake: whoever needs longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader,
    /// Of this connection. A browser takes a new one for each frame (RFC 6455 section 5.3); that costs the load
    /// tool time and is no difference to a proxy.
    mask: [u8; 4],
}

/// A whole message from the backend.
pub(crate) enum Message {
    Data { opcode: u8 },
    Closed,
}

impl Client {
    pub(crate) async fn open(target: &Target, path: &str) -> io::Result<Self> {
        within(PATIENCE, Self::handshake(target, path)).await
    }

    async fn handshake(target: &Target, path: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let key = wire::random_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            target.host
        );
        stream.write_all(request.as_bytes()).await?;
        let mut rest = Vec::new();
        let head = wire::read_head(&mut stream, &mut rest)
            .await?
            .unwrap_or_default();
        if !head.starts_with("HTTP/1.1 101 ") {
            let line = head.lines().next().unwrap_or("no answer");
            return Err(io::Error::other(format!("no upgrade: {line}")));
        }
        if wire::field(&head, "sec-websocket-accept") != Some(&wire::accept_key(&key)) {
            return Err(io::Error::other("the accept key is wrong"));
        }
        if !rest.is_empty() {
            return Err(io::Error::other(
                "the backend speaks first, which it does not",
            ));
        }
        Ok(Self {
            stream,
            reader: Reader::of_server(),
            mask: fastrand::u32(..).to_ne_bytes(),
        })
    }

    /// One masked frame, to be sent often.
    pub(crate) fn frame(&self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut wire = Vec::with_capacity(payload.len() + 14);
        frame::write(&mut wire, opcode, payload, Some(self.mask));
        wire
    }

    pub(crate) async fn send(&mut self, wire: &[u8]) -> io::Result<()> {
        self.stream.write_all(wire).await
    }

    /// Waits for one message. `expected` is what its payload must be; none: anything, and not looked at.
    pub(crate) async fn receive(&mut self, expected: Option<&[u8]>) -> io::Result<Message> {
        let mut progress = Progress::default();
        loop {
            let reader = &mut self.reader;
            wire::read(&mut self.stream, |bytes| {
                progress.take(reader, bytes, expected)
            })
            .await??;
            if !progress.pongs.is_empty() {
                let pong = self.frame(frame::PONG, &progress.pongs);
                progress.pongs.clear();
                self.stream.write_all(&pong).await?;
            }
            if let Some(message) = progress.done.take() {
                return Ok(message);
            }
        }
    }

    /// Counts bytes of messages until a text message ends them.
    pub(crate) async fn receive_stream(&mut self) -> io::Result<u64> {
        let (mut sum, mut text, mut done) = (0, 0, false);
        while !done {
            let reader = &mut self.reader;
            wire::read(&mut self.stream, |mut bytes| {
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while let Some(piece) = reader.next(&mut bytes)? {
                    match piece.opcode {
                        frame::TEXT => {
                            text += piece.bytes.len();
                            done |= piece.ends_frame();
                        }
                        frame::CLOSE => return Err(io::Error::other("closed in the stream")),
                        _ => sum += piece.bytes.len() as u64,
                    }
                }
                Ok(())
            })
            .await??;
        }
        Ok(sum)
    }

    /// Whether nothing came: neither a Close nor the end of the stream.
    pub(crate) fn is_quiet(&self) -> bool {
        // The runtime stands still between two commands and knows nothing new: the socket does.
        let mut byte = [MaybeUninit::uninit()];
        let seen = SockRef::from(&self.stream).peek(&mut byte);
        matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The closing handshake, then the end of the stream, which the server side sends first (RFC 6455 7.1.1).
    pub(crate) async fn close(mut self) -> io::Result<()> {
        let closed = async {
            let close = self.frame(frame::CLOSE, &1000u16.to_be_bytes());
            self.send(&close).await?;
            while !matches!(self.receive(None).await?, Message::Closed) {}
            while !wire::read(&mut self.stream, |bytes| bytes.is_empty()).await? {}
            Ok(())
        };
        within(PATIENCE, closed).await
    }

    /// Ends without a goodbye, by a reset.
    pub(crate) fn reset(self) {
        // Without it the end is a FIN, which is as good.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// A deadline around anything that waits for the other side.
pub(crate) async fn within<T>(
    time: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(time, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A message that is being received.
#[derive(Default)]
struct Progress {
    bytes: u64,
    pongs: Vec<u8>,
    done: Option<Message>,
}

impl Progress {
    fn take(
        &mut self,
        reader: &mut Reader,
        mut bytes: &mut [u8],
        expected: Option<&[u8]>,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(piece) = reader.next(&mut bytes)? {
            match piece.opcode {
                frame::PING => self.pongs.extend_from_slice(piece.bytes),
                frame::CLOSE if piece.ends_frame() => self.done = Some(Message::Closed),
                frame::CLOSE | frame::PONG => {}
                opcode => {
                    let start = usize::try_from(self.bytes).map_err(io::Error::other)?;
                    let same = expected.is_none_or(|expected| {
                        expected.get(start..start + piece.bytes.len()) == Some(piece.bytes)
                    });
                    if !same {
                        return Err(io::Error::other("the echo is not what was sent"));
                    }
                    self.bytes += piece.bytes.len() as u64;
                    if piece.fin && piece.ends_frame() {
                        if expected.is_some_and(|expected| expected.len() as u64 != self.bytes) {
                            return Err(io::Error::other("the echo is too short"));
                        }
                        self.done = Some(Message::Data { opcode });
                    }
                }
            }
        }
        Ok(())
    }
}
