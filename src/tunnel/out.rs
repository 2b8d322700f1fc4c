//! What a destination has not taken yet, and the FIN behind it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::SendFlags;
use tokio::{
    io::{AsyncWrite, Interest},
    net::TcpStream,
    time::Instant,
};

use super::{outcome::Loss, side::Side, splice::Pipe};

/// Passing on the end of the source as FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    No,
    /// As soon as the rest is written.
    Wanted,
    Done,
}

/// The way into a destination.
#[derive(Debug)]
pub(super) struct Out {
    /// Payload on its way without a copy; goes before `rest`.
    pipe: Option<Pipe>,
    rest: Vec<u8>,
    /// How much of `rest` is written.
    written: usize,
    fin: Fin,
    /// The destination does not take anything any more, and why.
    broken: Option<Loss>,
    /// Something of what was to be written never was. A Close is the last of it.
    lossy: bool,
    /// Since when the destination takes nothing although something waits.
    blocked: Option<Instant>,
}

impl Out {
    /// Nothing waits but `rest`.
    pub(super) fn new() -> Self {
        Self {
            pipe: None,
            rest: Vec::new(),
            written: 0,
            fin: Fin::No,
            broken: None,
            lossy: false,
            blocked: None,
        }
    }

    /// Something that goes behind everything that waits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.is_broken() {
            self.lossy = true;
        } else {
            self.rest.extend_from_slice(bytes);
        }
    }

    /// What is in the pipe goes next. To be called only while nothing waits.
    pub(super) fn push_pipe(&mut self, pipe: Pipe) {
        self.pipe = Some(pipe);
    }

    /// Writes at once what the destination takes; the rest waits.
    ///
    /// `more` = payload of the same frame follows by another call; without saying so the header would be a packet of its
    /// own.
    pub(super) fn write<D: Side>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut D,
        bytes: &[u8],
        more: bool,
    ) {
        if bytes.is_empty() {
            return;
        }
        if self.is_broken() {
            self.lossy = true;
            return;
        }
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            return;
        }
        let sent = match to.socket().filter(|_| more) {
            Some(socket) => send_more(cx, socket, bytes),
            None => Pin::new(to).poll_write(cx, bytes),
        };
        let taken = match sent {
            Poll::Pending => 0,
            Poll::Ready(Ok(taken)) if taken > 0 => taken,
            Poll::Ready(refused) => {
                self.lossy = true;
                return self.break_off(refused.err().as_ref());
            }
        };
        self.rest
            .extend_from_slice(bytes.get(taken..).unwrap_or_default());
    }

    /// Writes the rest and the FIN. Whether anything moved.
    ///
    /// `more` = behind what is in the pipe more of the same frame follows.
    pub(super) fn poll<D: Side>(&mut self, cx: &mut Context<'_>, to: &mut D, more: bool) -> bool {
        let mut moved = false;
        if self.pipe.is_some()
            && let Some(socket) = to.socket()
        {
            moved = self.poll_pipe(cx, socket, more);
            if self.pipe.is_some() {
                return moved;
            }
        }
        while let Some(bytes @ [_, ..]) = self.rest.get(self.written..) {
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Pending => {
                    self.block(moved);
                    return moved;
                }
                Poll::Ready(Ok(taken)) if taken > 0 => self.written += taken,
                Poll::Ready(refused) => self.break_off(refused.err().as_ref()),
            }
            moved = true;
        }
        if !self.rest.is_empty() {
            self.forget();
        }
        self.blocked = None;
        if self.fin == Fin::Wanted && !self.is_broken() {
            moved |= self.poll_fin(cx, to).is_ready();
        }
        moved
    }

    /// The destination takes nothing at the moment; `moved` = just before it took something.
    fn block(&mut self, moved: bool) {
        if moved || self.blocked.is_none() {
            self.blocked = Some(Instant::now());
        }
    }

    /// It took something of what was written before.
    pub(super) fn progressed(&mut self, now: Instant) {
        if self.blocked.is_some() {
            self.blocked = Some(now);
        }
    }

    /// Sends FIN. A failure says what a read of that side will say too.
    fn poll_fin<D: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut D) -> Poll<()> {
        let result = ready!(Pin::new(to).poll_shutdown(cx));
        if let Err(error) = &result {
            self.broken.get_or_insert(Loss::of(error));
        }
        self.fin = Fin::Done;
        Poll::Ready(())
    }

    /// Writing failed: there is nobody to write to, but the source goes on being read.
    fn break_off(&mut self, error: Option<&io::Error>) {
        let by = error.map_or(Loss::Reset, Loss::of);
        self.broken.get_or_insert(by);
        self.drop_rest();
    }

    /// What waits is never written.
    fn drop_rest(&mut self) {
        self.lossy |= !self.is_flushed();
        self.forget();
    }

    fn forget(&mut self) {
        self.rest = Vec::new();
        self.written = 0;
        self.pipe = None;
        self.blocked = None;
    }

    /// Writes what is in the pipe. Whether anything moved.
    fn poll_pipe(&mut self, cx: &mut Context<'_>, to: &TcpStream, more: bool) -> bool {
        let mut moved = false;
        while let Some(pipe) = &mut self.pipe {
            if pipe.is_empty() {
                if let Some(pipe) = self.pipe.take() {
                    pipe.give_back();
                }
                break;
            }
            match pipe.empty(cx, to, more) {
                Poll::Pending => {
                    self.block(moved);
                    return moved;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.break_off(Some(&error)),
            }
            moved = true;
        }
        moved
    }

    /// Something of what was handed on never arrives.
    pub(super) fn lose(&mut self) {
        self.lossy = true;
    }

    /// Forgets what waits and sends FIN.
    pub(super) fn abandon(&mut self) {
        self.drop_rest();
        if self.fin == Fin::No {
            self.fin = Fin::Wanted;
        }
    }

    /// Sends FIN once everything is written. Whether that is news.
    pub(super) fn finish(&mut self) -> bool {
        let news = self.fin == Fin::No;
        if news {
            self.fin = Fin::Wanted;
        }
        news
    }

    /// Whether FIN was sent.
    pub(super) fn is_finished(&self) -> bool {
        self.fin == Fin::Done
    }

    /// The destination does not take anything any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Why it does not.
    pub(super) fn broken_by(&self) -> Option<Loss> {
        self.broken
    }

    /// Something of what was to be written never was.
    pub(super) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.rest.is_empty() && self.pipe.is_none()
    }

    /// Since when the destination takes nothing although something waits.
    pub(super) fn blocked(&self) -> Option<Instant> {
        self.blocked
    }
}

/// Writes what more of the same frame follows at once.
fn send_more(cx: &mut Context<'_>, socket: &TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let sent = socket.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(socket, bytes, flags)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
