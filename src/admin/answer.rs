//! Answers: short texts, and JSON that is written while it is sent.

use std::{
    convert::Infallible,
    io::{self, Write},
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Size of the pieces of a large answer, so that a table of any size costs little memory.
const PIECE: usize = 32 * 1024;

/// Pieces that wait for a slow reader.
const PIECES: usize = 2;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A short text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into());
    with(status, TEXT, body.boxed_unsync())
}

/// A text that takes some time to make, away from the threads that serve traffic.
pub(super) fn whole(
    kind: &'static str,
    make: impl FnOnce() -> String + Send + 'static,
) -> Response<Body> {
    with(
        StatusCode::OK,
        kind,
        written(move |out| out.write_all(make().as_bytes())),
    )
}

/// JSON that `write` writes, away from the threads that serve traffic.
pub(super) fn json(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response<Body> {
    with(StatusCode::OK, JSON, written(write))
}

/// An answer that is made.
pub(super) fn ready(answer: Response<Bytes>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let mut answer = Response::from_parts(head, Full::new(body).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    const FIELDS: [(HeaderName, &str); 2] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A body that a blocking task writes at the pace of the reader. The task ends when the reader goes.
fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces(sender));
        let result = write(&mut out).and_then(|()| out.flush());
        if let Err(error) = result {
            tracing::debug!(%error, "an admin answer was not finished");
        }
    });
    let frames = stream::poll_fn(move |context| {
        let piece = pieces.poll_recv(context);
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(PIECE) {
            let piece = Bytes::copy_from_slice(piece);
            let sent = self.0.blocking_send(piece);
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
