//! HTTP/2 of clients (RFC 9113), with tunnels by extended CONNECT (RFC 8441).
//!
//! ```text
//! connection ─ gate (preface) ─► here ─ hyper ─► answer ─► service ─► upgrade ─► tunnel over one stream
//!                                  └─ streams, tasks             └──► forward
//! ```
//! hyper does the framing; [`head`] asks of a request what the gate asks of a raw one. The connection runs in a
//! task of its own and ends after its last tunnel: tunnels are streams of it, so nobody else may end it before.

mod answer;
mod body;
mod client;
mod head;
mod replay;
mod stamp;
mod streams;
mod tasks;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{connection::Connection, slots::Slot};

pub(super) use head::check;
pub(super) use streams::{Request, Tunnel};

use body::Pieces;
use replay::Replay;
use stamp::Stamp;
use streams::{Load, Streams};
use tasks::Tasks;

/// Streams at the same time; a client opens more only against `SETTINGS_MAX_CONCURRENT_STREAMS`. The number that
/// RFC 9113 section 6.5.2 names as the least useful one, and that browsers are used to.
const STREAMS: u32 = 100;

/// Bytes that a client may send on a stream before somebody read them: as much as is held back for HTTP/1.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of a connection together. More than all their windows, so that one which is not read holds up no
/// other; those bound what waits, with 6.4 MB. And h2 ends a connection at so many small pieces that wait as half of this would
/// be at up to 256 bytes each: a stream full of the smallest is a third of that.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Bytes of a stream that wait for the client to take them.
const SEND_BUFFER: usize = 64 * 1024;

/// Header list, uncompressed, with 32 bytes for each field (RFC 9113 section 6.5.2). What is over it never gets
/// here: h2 answers 431 or, far above, ends the connection.
const HEADER_LIST: u32 = 16 * 1024;

/// Streams in the life of a connection; then the client is told to open another one. An attack by streams that are
/// opened and reset begins anew with a handshake; a browser does not get there in a day.
const STREAMS_IN_ALL: u64 = 10_000;

/// A client that ignores GOAWAY is cut off after so many more. It takes a round trip to get there, and each stream takes one.
const STREAMS_AFTER_GOAWAY: u64 = 10 * STREAMS as u64;

/// From GOAWAY, or from the last stream's end, to the end of the connection: a client that reads is done in a
/// round trip. One that still takes bytes gets as much again from each of them, but no more than `keep_alive_time`
/// in all: those may be answers to its pings. Answers that it takes have their own patience, `stream_stall`.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection that began with `early`, in a task of its own.
pub(super) fn start(connection: Arc<Connection>, slot: Slot, stream: TcpStream, early: Bytes) {
    let tasks = connection.shutdown.tasks.clone();
    tasks.spawn(async move {
        let (metrics, peer) = (connection.proxy.metrics.clone(), connection.peer);
        let served = serve(connection, slot, Replay::new(early, stream));
        super::connection::isolated(&metrics, peer, served).await;
    });
}

async fn serve(connection: Arc<Connection>, slot: Slot, stream: Replay<TcpStream>) {
    let (streams, load) = Streams::new(connection.proxy.clone(), slot);
    let pieces = streams.pieces();
    let written = stream.written();
    let tasks = Tasks::new(&connection);
    let answers = connection.clone();
    let answer = service_fn(move |request| {
        // Counted here, in the order of arrival, not when its task runs.
        let stream = streams.begin();
        let connection = answers.clone();
        Box::pin(
            async move { Ok::<_, Infallible>(answer::answer(&connection, stream, request).await) },
        )
    });
    let http = http2::Builder::new(tasks)
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .serve_connection(TokioIo::new(stream), answer);
    let mut http = std::pin::pin!(http);
    let mut end = End::new(&connection, load, pieces, written);
    loop {
        let step = tokio::select! {
            biased;
            // First: a GOAWAY is before what a tunnel says at the same time.
            step = end.step() => step,
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    // Clients that left, or that broke a rule and were told so.
                    tracing::debug!(client = %connection.peer, %error, "HTTP/2 connection ended");
                }
                return;
            }
        };
        match step {
            Step::Goaway => http.as_mut().graceful_shutdown(),
            Step::Cut => return,
        }
    }
}

/// What the end of a connection wants of it.
enum Step {
    /// GOAWAY: streams finish, no new one begins.
    Goaway,
    /// Let go of it.
    Cut,
}

/// Decides when a connection ends.
struct End<'c> {
    connection: &'c Connection,
    load: watch::Receiver<Load>,
    /// Since when no stream is open.
    idle: Option<Instant>,
    /// Streams in all, as of the last look.
    asked: u64,
    /// Since when the client knows that it ends.
    goaway: Option<Instant>,
    /// Streams in all, above which it is cut.
    most: u64,
    /// What the client has not taken of answers: they are over before it did.
    pieces: Arc<Pieces>,
    /// When it last took something, if only an answer to a ping.
    written: Arc<Stamp>,
}

impl<'c> End<'c> {
    fn new(
        connection: &'c Connection,
        load: watch::Receiver<Load>,
        pieces: Arc<Pieces>,
        written: Arc<Stamp>,
    ) -> Self {
        Self {
            connection,
            load,
            idle: None,
            asked: 0,
            goaway: None,
            most: u64::MAX,
            pieces,
            written,
        }
    }

    /// Waits for the next step.
    async fn step(&mut self) -> Step {
        let drain = &self.connection.shutdown.drain;
        let cut = &self.connection.shutdown.cut;
        loop {
            let load = *self.load.borrow_and_update();
            let draining = drain.is_given();
            let over = self.connection.over && load.total > 0;
            if load.total > self.most {
                return Step::Cut;
            }
            if self.goaway.is_none() && (draining || over || load.total >= STREAMS_IN_ALL) {
                return self.goaway(&load);
            }
            // The registry of tunnels sees to their end, by its own pace.
            if cut.is_given() && load.tunnels == 0 {
                return Step::Cut;
            }
            let mut deadline = self.deadline(&load);
            if self.goaway.is_some() {
                // Nobody tells when the client has taken the last piece, which it is waited for no longer then.
                deadline = deadline.map(|deadline| deadline.min(Instant::now() + GOODBYE));
            }
            let timer = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What has begun meanwhile is seen first.
                biased;
                // It never fails: the sender lives as long as the connection.
                _ = self.load.changed() => {}
                () = drain.given(), if self.goaway.is_none() => {}
                () = cut.given(), if !cut.is_given() => {}
                () = timer => {
                    // Meanwhile the client may have taken something, or all of it.
                    if self.deadline(&load).is_none_or(|later| later > Instant::now()) {
                        continue;
                    }
                    if self.goaway.is_some() {
                        return Step::Cut;
                    }
                    return self.goaway(&load);
                }
            }
        }
    }

    fn goaway(&mut self, load: &Load) -> Step {
        self.goaway = Some(Instant::now());
        self.most = load.total + STREAMS_AFTER_GOAWAY;
        Step::Goaway
    }

    /// When a connection that does nothing, or whose client takes nothing, has lived long enough.
    fn deadline(&mut self, load: &Load) -> Option<Instant> {
        let limits = &self.connection.proxy.limits;
        let taken = self.pieces.wait_since();
        if let Some(goaway) = self.goaway
            && self.connection.over
        {
            // There is nothing on it but refusals.
            return Some(goaway + GOODBYE);
        }
        if load.requests > 0 {
            // One whose client takes nothing is reset by itself.
            self.idle = None;
            return None;
        }
        if load.tunnels > 0 {
            self.idle = None;
            // Answers that are over cannot be reset any more: there will be no more of them.
            let stalled = taken.filter(|_| self.goaway.is_none());
            return stalled.map(|taken| taken + limits.stream_stall);
        }
        // One that Hawser answered by itself may have come and gone between two looks.
        if std::mem::replace(&mut self.asked, load.total) != load.total {
            self.idle = None;
        }
        let idle = *self.idle.get_or_insert_with(Instant::now);
        let Some(goaway) = self.goaway else {
            return Some(match load.total {
                // Nothing was asked yet: as for HTTP/1, that is not worth a minute.
                0 => idle + limits.gate.head_time,
                _ => idle + limits.gate.keep_alive_time,
            });
        };
        let since = idle.max(goaway);
        let soon = since + GOODBYE;
        if load.total == 0 {
            return Some(soon);
        }
        // What tunnels left behind, or answers to pings.
        let last = self.written.last() + GOODBYE;
        let later = last.min(since + limits.gate.keep_alive_time).max(soon);
        Some(taken.map_or(later, |taken| later.max(taken + limits.stream_stall)))
    }
}
