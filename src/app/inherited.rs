//! Listening sockets that whoever started the process handed over: systemd's socket activation, `sd_listen_fds(3)`.
//!
//! Such a socket outlives the process. While one Hawser follows another, connections wait in its queue and none is
//! refused.

use std::{
    env,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::SockRef;

/// Sockets at most: more than there are traffic addresses is a mistake, and the number comes from outside.
const MAX_SOCKETS: usize = 64;

/// First descriptor of the protocol (`SD_LISTEN_FDS_START`).
const FIRST: usize = 3;

/// Sockets that nobody has taken yet. They are closed when this is dropped.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

/// Why what was handed over cannot be used. Nothing else was bound.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The number of sockets.
    #[error("LISTEN_FDS={0}: not a number from 0 to {MAX_SOCKETS}")]
    Count(String),
    /// One that is no listening TCP socket.
    #[error(
        "descriptor {0} (LISTEN_FDS): not a listening TCP socket; the .socket unit needs ListenStream=ADDRESS:PORT and Accept=no"
    )]
    Kind(usize),
    /// An address without a socket.
    #[error(
        "--http {wanted}: not among the sockets that were handed over (LISTEN_FDS): {}; write these addresses in --http, or {wanted} as ListenStream= of the .socket unit",
        list(.given)
    )]
    Missing {
        /// The address.
        wanted: SocketAddr,
        /// Those that there are.
        given: Vec<SocketAddr>,
    },
    /// A socket without an address.
    #[error(
        "a socket on {0} was handed over (LISTEN_FDS), but no --http names it; add --http {0}, or take it out of the .socket unit"
    )]
    Unwanted(SocketAddr),
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl Inherited {
    /// Takes what the environment says, and clears it so that no child believes it. Call it before there is any
    /// other thread. The variables of another process (`LISTEN_PID`) are none of ours.
    ///
    /// # Errors
    /// A number or a descriptor that cannot be right.
    pub fn take() -> Result<Self, InheritError> {
        let ours = env::var("LISTEN_PID").is_ok_and(|id| id == std::process::id().to_string());
        let Some(count) = env::var_os("LISTEN_FDS").filter(|_| ours) else {
            return Ok(Self::default());
        };
        let parsed = count.to_str().and_then(|text| text.parse().ok());
        let Some(count) = parsed.filter(|count| *count <= MAX_SOCKETS) else {
            return Err(InheritError::Count(count.to_string_lossy().into_owned()));
        };
        let mut descriptors = ListenFd::from_env();
        let sockets = (0..count).map(|index| {
            let socket = descriptors.take_tcp_listener(index).ok().flatten();
            socket
                .filter(|socket| SockRef::from(socket).is_listener().unwrap_or(false))
                .ok_or(InheritError::Kind(FIRST + index))
        });
        Ok(Self(sockets.collect::<Result<_, _>>()?))
    }

    /// One socket for each of the addresses, or `None` when none was handed over at all. Half of them would mean
    /// that the other half is refused during an upgrade, so that is an error.
    pub(super) fn sort(
        mut self,
        addresses: &[SocketAddr],
    ) -> Result<Option<Vec<TcpListener>>, InheritError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut sorted = Vec::new();
        for &wanted in addresses {
            let is_wanted = |socket: &TcpListener| socket.local_addr().is_ok_and(|a| a == wanted);
            let Some(place) = self.0.iter().position(is_wanted) else {
                let given = sorted.iter().chain(&self.0);
                let given = given.filter_map(|socket| socket.local_addr().ok());
                return Err(InheritError::Missing {
                    wanted,
                    given: given.collect(),
                });
            };
            sorted.push(self.0.swap_remove(place));
        }
        match self.0.first().map(TcpListener::local_addr) {
            None => Ok(Some(sorted)),
            Some(address) => Err(address.map_or(InheritError::Kind(FIRST), InheritError::Unwanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(count: usize) -> (Inherited, Vec<SocketAddr>) {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets: Vec<_> = std::iter::repeat_with(bind).take(count).collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
        let addresses = addresses.collect();
        (Inherited(sockets), addresses)
    }

    #[test]
    fn each_address_gets_its_socket() {
        let (inherited, mut addresses) = sockets(3);
        addresses.reverse();
        let sorted = inherited.sort(&addresses).unwrap().unwrap();
        let got: Vec<_> = sorted.iter().map(|s| s.local_addr().unwrap()).collect();
        assert_eq!(got, addresses);
        assert!(Inherited::default().sort(&addresses).unwrap().is_none());
    }

    #[test]
    fn what_does_not_match_is_named() {
        let (inherited, addresses) = sockets(2);
        let other = "192.0.2.1:80".parse().unwrap();
        let error = inherited.sort(&[addresses[0], other]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("192.0.2.1:80"), "{text}");
        assert!(text.contains(&addresses[0].to_string()), "{text}");
        assert!(text.contains(&addresses[1].to_string()), "{text}");

        let (inherited, addresses) = sockets(2);
        let error = inherited.sort(&addresses[..1]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("--http {}", addresses[1])), "{text}");
    }
}
