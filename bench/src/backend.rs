//! The backend: a WebSocket that echoes, swallows or sends messages, and bodies over plain HTTP.
//!
//! | Path | Does |
//! |---|---|
//! | `/echo` | sends every frame back |
//! | `/sink` | counts bytes of binary messages; a text message is answered by the count |
//! | `/source` | a text message `BYTES MILLISECONDS` is answered by binary messages of that size for that time, then by a text with the sum |
//! | `/body/N` | N bytes, without an upgrade |

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use crate::{
    frame::{self, Reader},
    wire,
};

/// Connections that wait for accept: a proxy may open thousands at once.
const BACKLOG: u32 = 4096;

/// What is kept of a buffer between messages; thousands of connections are idle.
const KEEP_BYTES: usize = 1024;

/// No body and no message is larger.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How long a peer may take to close its half after the closing handshake.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Echo,
    Sink,
    Source,
}

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    loop {
        match listener.accept().await {
            // How a connection ends is the business of the load tool, which counts.
            Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
            Err(error) => {
                eprintln!("backend: accept: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(head) = wire::read_head(&mut stream, &mut buffer).await? {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let role = match path {
            "/echo" => Role::Echo,
            "/sink" => Role::Sink,
            "/source" => Role::Source,
            _ => {
                if plain(&mut stream, &head, path).await? {
                    continue;
                }
                return stream.shutdown().await;
            }
        };
        let Some(key) = wire::field(&head, "sec-websocket-key") else {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await?;
            continue;
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            wire::accept_key(key)
        );
        stream.write_all(answer.as_bytes()).await?;
        // A task of its own, so that nothing of the handshake stays for the life of the socket.
        tokio::spawn(Box::pin(websocket(stream, buffer, role)));
        return Ok(());
    }
    Ok(())
}

/// Returns whether the connection stays open.
async fn plain(stream: &mut TcpStream, head: &str, path: &str) -> io::Result<bool> {
    let size = path
        .strip_prefix("/body/")
        .and_then(|size| size.parse().ok());
    let (status, size) = match size {
        Some(size @ ..=MAX_BYTES) => ("200 OK", size),
        _ => ("404 Not Found", 0),
    };
    let keep = !wire::field(head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    let connection = if keep { "" } else { "Connection: close\r\n" };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n{connection}\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + size, b'x');
    stream.write_all(&answer).await?;
    Ok(keep)
}

async fn websocket(mut stream: TcpStream, mut early: Vec<u8>, role: Role) -> io::Result<()> {
    let mut session = Session {
        role,
        reader: Reader::of_client(),
        out: Vec::new(),
        count: 0,
        text: Vec::new(),
        todo: Todo::Nothing,
    };
    session.take(&mut early)?;
    drop(early);
    loop {
        if !session.out.is_empty() && !session.reader.is_inside() {
            stream.write_all(&session.out).await?;
            session.out.clear();
            session.out.shrink_to(KEEP_BYTES);
        }
        match std::mem::replace(&mut session.todo, Todo::Nothing) {
            Todo::Nothing => {}
            Todo::Stream(size, time) => stream_messages(&mut stream, size, time).await?,
            Todo::End => return end(stream).await,
        }
        let open = wire::read(&mut stream, |bytes| {
            if bytes.is_empty() {
                Ok(false)
            } else {
                session.take(bytes).map(|()| true)
            }
        });
        if !open.await?? {
            return Ok(());
        }
    }
}

enum Todo {
    Nothing,
    Stream(usize, Duration),
    End,
}

struct Session {
    role: Role,
    reader: Reader,
    /// What is to be written; an echoed frame is gathered whole, as an application would.
    out: Vec<u8>,
    count: u64,
    /// A text message so far.
    text: Vec<u8>,
    todo: Todo,
}

impl Session {
    fn take(&mut self, mut input: &mut [u8]) -> io::Result<()> {
        while let Some(piece) = self.reader.next(&mut input)? {
            if piece.length > MAX_BYTES as u64 {
                return Err(io::Error::other("a frame is too large"));
            }
            let is_echo = match piece.opcode {
                frame::PING | frame::CLOSE => true,
                frame::PONG => false,
                _ => self.role == Role::Echo,
            };
            if is_echo {
                if piece.offset == 0
                    && (piece.bytes.len() as u64 == piece.length || !piece.bytes.is_empty())
                {
                    let opcode = if piece.opcode == frame::PING {
                        frame::PONG
                    } else {
                        piece.opcode
                    };
                    frame::head(&mut self.out, piece.fin, opcode, piece.length, None);
                }
                self.out.extend_from_slice(piece.bytes);
                if piece.opcode == frame::CLOSE && piece.ends_frame() {
                    self.todo = Todo::End;
                    return Ok(());
                }
            } else if piece.opcode == frame::TEXT {
                self.text.extend_from_slice(piece.bytes);
                if piece.ends_frame() {
                    self.command();
                }
            } else {
                self.count += piece.bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn command(&mut self) {
        let text = std::mem::take(&mut self.text);
        if self.role == Role::Sink {
            frame::write(
                &mut self.out,
                frame::TEXT,
                self.count.to_string().as_bytes(),
                None,
            );
            self.count = 0;
            return;
        }
        let text = String::from_utf8_lossy(&text);
        let mut numbers = text.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(size)), Some(Ok(millis))) = (numbers.next(), numbers.next()) {
            let size = usize::try_from(size).map_or(MAX_BYTES, |size| size.min(MAX_BYTES));
            self.todo = Todo::Stream(size, Duration::from_millis(millis));
        }
    }
}

async fn stream_messages(stream: &mut TcpStream, size: usize, time: Duration) -> io::Result<()> {
    let mut message = Vec::new();
    frame::write(&mut message, frame::BINARY, &vec![b'x'; size], None);
    let end = Instant::now() + time;
    let mut sum = 0;
    while Instant::now() < end {
        stream.write_all(&message).await?;
        sum += size;
    }
    message.clear();
    frame::write(&mut message, frame::TEXT, sum.to_string().as_bytes(), None);
    stream.write_all(&message).await
}

/// RFC 6455 section 7.1.1: the server closes TCP first, and waits for the other half.
async fn end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let drained = async {
        while !wire::read(&mut stream, |bytes| bytes.is_empty()).await? {}
        Ok(())
    };
    tokio::time::timeout(LINGER, drained)
        .await
        .unwrap_or(Ok(()))
}
