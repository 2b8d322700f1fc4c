//! A connection to a backend, moved by whoever waits for it.
//!
//! hyper's side of a connection is a future. It has no task of its own: the task of the request polls it together with what
//! it waits for, the head of the answer or more of its body. So a request and its answer take two turns of one task, one
//! when the client's bytes come and one when the backend's do; with two tasks that wake each other it would be five.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    MAX_BUFFER_BYTES, MAX_HEAD_BYTES, SendBody,
    answer::{Answers, Awaited},
};

/// A connection that carries one request at a time. Boxed, since it goes from hand to hand with each.
pub(super) struct Link<B: SendBody> {
    sender: SendRequest<B>,
    awaited: Awaited,
    io: Io<B>,
}

/// hyper's side of it.
struct Io<B: SendBody> {
    /// Until it ends.
    connection: Option<Connection<TokioIo<Answers<TcpStream>>, B>>,
    holder: Arc<Holder>,
    /// The holder's.
    waker: Waker,
}

impl<B: SendBody> Link<B> {
    pub(super) async fn new(stream: TcpStream) -> hyper::Result<Box<Self>> {
        let (stream, awaited) = Answers::new(stream);
        let (sender, connection) = Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        let holder = Arc::<Holder>::default();
        let io = Io {
            connection: Some(connection),
            waker: Waker::from(Arc::clone(&holder)),
            holder,
        };
        Ok(Box::new(Self {
            sender,
            awaited,
            io,
        }))
    }

    /// Sends a request and returns the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        request: Box<Request<B>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        self.awaited.begin();
        let mut answer = pin!(self.sender.try_send_request(*request));
        let answer = poll_fn(|cx| self.io.poll(cx, |cx| answer.as_mut().poll(cx))).await?;
        self.awaited.end();
        Ok(answer)
    }

    /// Whether the last request has no answer because too much came before it.
    pub(super) fn is_refused(&self) -> bool {
        self.awaited.is_refused()
    }

    /// More of the body of an answer.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.io.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
    }

    /// Whether it can take a request: the last one and its answer are over.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until it can take a request. False if it never will.
    pub(super) async fn ready(&mut self) -> bool {
        let sender = &self.sender;
        let is_ready = |_: &mut Context<'_>| {
            if sender.is_ready() {
                Poll::Ready(true)
            } else if sender.is_closed() {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        };
        poll_fn(|cx| self.io.poll(cx, is_ready)).await
    }

    /// From now on nobody waits for it.
    pub(super) fn rest(&self) {
        self.io.holder.rests();
    }

    /// Whether the backend has left it open.
    pub(super) fn is_open(&mut self) -> bool {
        self.io.go_on();
        !self.sender.is_closed()
    }
}

impl<B: SendBody> Io<B> {
    /// Looks for what is waited for, and at the connection if it is not there yet.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.holder.looks();
        if let Poll::Ready(found) = look(&mut Context::from_waker(&self.waker)) {
            return Poll::Ready(found);
        }
        self.go_on();
        let found = look(&mut Context::from_waker(&self.waker));
        if found.is_pending() {
            self.holder.waits(cx.waker());
        }
        found
    }

    /// Reads and writes what can be.
    fn go_on(&mut self) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection)
                .poll(&mut Context::from_waker(&self.waker))
                .is_ready()
        {
            // Why it ended is told to who waits for an answer or a body.
            self.connection = None;
        }
    }
}

/// Wakes the task that holds a connection, unless that looks at it anyway: what a look itself brings about (a head is handed
/// over, a piece of a body is taken) would else be a reason to look again.
#[derive(Debug, Default)]
struct Holder {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Nobody is to be woken.
const LOOKS: u8 = 0;
/// As before, and something came.
const CAME: u8 = 1;
/// Whoever is in `task` is to be woken.
const WAITS: u8 = 2;

impl Holder {
    fn looks(&self) {
        self.state.store(LOOKS, Ordering::Release);
    }

    fn waits(&self, task: &Waker) {
        self.task.register(task);
        let waits = self
            .state
            .compare_exchange(LOOKS, WAITS, Ordering::AcqRel, Ordering::Acquire);
        if waits.is_err() {
            // After all others: it may have been said to give way (tokio's coop).
            task.wake_by_ref();
        }
    }

    fn rests(&self) {
        self.looks();
        self.task.take();
    }
}

impl Wake for Holder {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(CAME, Ordering::AcqRel) == WAITS {
            self.task.wake();
        }
    }
}
