//! Frames as bytes: a client that may break every rule of HTTP/2.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::kit::DEADLINE;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without compression, whatever stands in the names and values.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn length(bytes: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        return bytes.push(length as u8);
    }
    bytes.push(127);
    length -= 127;
    while length >= 128 {
        bytes.push(length as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// The header block of GET `/` of `a.test`, with more fields.
pub(super) fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ];
    block(&[&head, more].concat())
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Error code of `RST_STREAM` or `GOAWAY`.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection.
pub(super) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Connects without a word.
pub(super) async fn silent(address: SocketAddr) -> Raw {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    Raw {
        stream,
        buffer: Vec::new(),
    }
}

/// Connects, sends the preface and empty settings.
pub(super) async fn raw(address: SocketAddr) -> Raw {
    silent(address).await.greet().await
}

/// The same, with a window of TCP of some kilobytes, and windows of HTTP/2 of a megabyte.
pub(super) async fn narrow(address: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(8 * 1024)
        .expect("a small buffer");
    let stream = socket.connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    let raw = Raw {
        stream,
        buffer: Vec::new(),
    };
    let mut raw = raw.greet().await;
    let size = (1_u32 << 20).to_be_bytes();
    let initial_window_size = [&[0, 4], &size[..]].concat();
    raw.send(&frame(SETTINGS, 0, 0, &initial_window_size)).await;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &size)).await;
    raw
}

impl Raw {
    async fn greet(mut self) -> Self {
        self.send(PREFACE).await;
        self.send(&frame(SETTINGS, 0, 0, &[])).await;
        self
    }

    /// Sends bytes. A server that has enough is no error.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(DEADLINE, self.stream.write_all(bytes))
            .await
            .is_ok_and(|sent| sent.is_ok())
    }

    /// The next frame; `None` at the end of the connection, however it comes.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("a frame or an end in time") {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        let stream: [u8; 4] = head[5..9].try_into().ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The next frame of a kind.
    pub(super) async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// All frames up to the end of the connection.
    pub(super) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Everything up to the end of the connection, as it came.
    pub(super) async fn text(&mut self) -> String {
        while let Ok(Ok(1..)) = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}
