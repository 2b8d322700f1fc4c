//! The signals that end the process.

use std::{fmt, io};

use tokio::signal::unix::{self, SignalKind};

/// What somebody asked for. Nothing else ends the process politely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: an orderly end, with time for load balancers and tunnels.
    Terminate,
    /// SIGINT, Ctrl-C: an orderly end for somebody who waits for it.
    Interrupt,
    /// SIGQUIT: now.
    Quit,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
        })
    }
}

/// The signals of this process from now on: none of them kills it any more.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
}

impl Signals {
    /// Starts to listen. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            quit: unix::signal(SignalKind::quit())?,
        })
    }

    /// The next one. Equal signals that come before anybody asks are one, as everywhere in Unix.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            Some(()) = self.quit.recv() => Signal::Quit,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            // The runtime has no signals left to give; it never does that while it lives.
            else => std::future::pending().await,
        }
    }
}
