//! Reading from sockets without a buffer per connection, and the little HTTP/1.1 that both sides need.

use std::{cell::RefCell, future::poll_fn, io, pin::Pin, task::Poll};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha1::{Digest as _, Sha1};
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, ReadBuf},
    net::TcpStream,
};

/// Larger than what a proxy writes at once, so that a read takes all that is there.
const SCRATCH_BYTES: usize = 256 * 1024;

/// No head of a benchmark is longer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

thread_local! {
    /// Thousands of idle connections share it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Waits for bytes and hands them to `take`; at the end of the stream they are empty.
pub(crate) async fn read<T>(
    stream: &mut TcpStream,
    mut take: impl FnMut(&mut [u8]) -> T,
) -> io::Result<T> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(take(buffer.filled_mut()))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
    })
    .await
}

/// Reads until the end of a head; `buffer` may hold its beginning, and gets back what came behind it.
/// None when the peer closed before the first byte.
pub(crate) async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            let head = std::mem::replace(buffer, rest);
            return String::from_utf8(head).map(Some).map_err(io::Error::other);
        }
        if buffer.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the head is too long"));
        }
        buffer.reserve(1024);
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

/// The value of a header field, name in lower case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// RFC 6455 section 4.2.2.
pub(crate) fn accept_key(key: &str) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(sha1.finalize())
}

/// RFC 6455 section 4.1: 16 random bytes.
pub(crate) fn random_key() -> String {
    BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let head = "HTTP/1.1 200 OK\r\ncontent-LENGTH:  12 \r\n\r\n";
        assert_eq!(field(head, "content-length"), Some("12"));
        assert_eq!(field(head, "connection"), None);
    }
}
