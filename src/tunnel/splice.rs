//! Bytes from one socket to another without a copy: splice(2) through a pipe.
//!
//! Worth it for large frames only: a small one costs two calls more than it saves.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

/// What a pipe takes at a time: the default size of a pipe. Larger ones bring little and count against a limit of the
/// system (`pipe-user-pages-soft`).
const PIPE_BYTES: usize = 64 * 1024;

/// Most pipes of the process. Each has two descriptors, and one that a stalled reader keeps full holds 64 KiB of the
/// kernel's memory; tunnels beyond copy.
pub const MAX_PIPES: usize = 256;

/// Empty pipes that a thread keeps for the next large frame.
const MAX_IDLE: usize = 32;

static PIPES: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(MAX_PIPES);

/// Fewer of them than [`MAX_PIPES`], where the process has few descriptors.
pub fn limit_pipes(count: usize) {
    LIMIT.store(count.min(MAX_PIPES), Relaxed);
}

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, counted.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes in it.
    inside: usize,
}

impl Pipe {
    /// An empty pipe; `None` when there are enough, or no descriptors are left.
    pub(super) fn take() -> Option<Self> {
        if let Some(pipe) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if PIPES.fetch_add(1, Relaxed) >= LIMIT.load(Relaxed) {
            PIPES.fetch_sub(1, Relaxed);
            return None;
        }
        let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            PIPES.fetch_sub(1, Relaxed);
            return None;
        };
        Some(Self {
            read,
            write,
            inside: 0,
        })
    }

    /// Keeps an empty pipe for others.
    pub(super) fn give_back(self) {
        if self.inside == 0 {
            IDLE.with_borrow_mut(|idle| {
                if idle.len() < MAX_IDLE {
                    idle.push(self);
                }
            });
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.inside == 0
    }

    /// Moves at most `limit` bytes from the socket into the empty pipe. 0 = FIN.
    pub(super) fn fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        limit: u64,
    ) -> Poll<io::Result<usize>> {
        let bytes = usize::try_from(limit).map_or(PIPE_BYTES, |limit| limit.min(PIPE_BYTES));
        loop {
            ready!(socket.poll_read_ready(cx))?;
            // The pipe is empty, so "would block" can only mean the socket.
            let moved = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, &self.write, None, bytes, flags())?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(moved) => {
                    self.inside = moved;
                    return Poll::Ready(Ok(moved));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves what is in the pipe into the socket, once. `more` = the rest of the frame follows.
    pub(super) fn empty(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let flags = if more {
            flags() | SpliceFlags::MORE
        } else {
            flags()
        };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let moved = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, socket, None, self.inside, flags)?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => {
                    self.inside = self.inside.saturating_sub(moved);
                    return Poll::Ready(Ok(moved));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Relaxed);
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::NONBLOCK | SpliceFlags::MOVE
}
