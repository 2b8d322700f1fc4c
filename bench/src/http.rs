//! Plain HTTP/1.1 of the load tool.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::{
    client::within,
    load::{Tally, Target},
    wire,
};

/// One answer, dial included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Request after request on one connection; a new one after an error or when the proxy wants so.
pub(crate) async fn requests(target: Arc<Target>, path: String, time: Duration) -> Tally {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
    let mut tally = Tally::default();
    let mut connection = None;
    let end = Instant::now() + time;
    while Instant::now() < end {
        let start = Instant::now();
        match within(PATIENCE, exchange(&target, connection.take(), &request)).await {
            Ok((stream, keep)) => {
                connection = keep.then_some(stream);
                tally.timed(start);
            }
            Err(error) => tally.failed(&error),
        }
    }
    tally
}

/// Returns whether the connection may be used again.
async fn exchange(
    target: &Target,
    connection: Option<TcpStream>,
    request: &str,
) -> io::Result<(TcpStream, bool)> {
    let mut stream = if let Some(stream) = connection {
        stream
    } else {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        stream
    };
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(4096);
    let head = wire::read_head(&mut stream, &mut buffer).await?;
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        let line = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("no 200: {line}")));
    }
    let length =
        wire::field(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    while buffer.len() < length {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if buffer.len() > length {
        return Err(io::Error::other("more than was asked for"));
    }
    let keep = !wire::field(&head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    Ok((stream, keep))
}
