//! Everything that can refuse a start, done first: a Hawser that serves half of what it was told to serve is
//! worse than none.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use super::{
    Settings,
    inherited::{InheritError, Inherited},
};
use crate::{proxy, source::cluster::ConnectError};

/// Why the process could not start. Nothing serves when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory of manifests.
    #[error("--manifests {path}: {reason}")]
    Manifests {
        /// As given.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The configuration of the cluster.
    #[error(transparent)]
    Cluster(#[from] ConnectError),
    /// The sockets that were handed over.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// An address.
    #[error("{flag} {address}: {}", bind_hint(.source))]
    Bind {
        /// The flag that named it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

fn bind_hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use by another process; choose another port".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it".to_owned(),
        _ => error.to_string(),
    }
}

/// The sockets of a process.
pub(super) struct Bound {
    pub(super) http: Vec<proxy::Listener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) status: Option<TcpListener>,
}

/// Binds every address that was not handed over.
pub(super) async fn bind(settings: &Settings, inherited: Inherited) -> Result<Bound, StartError> {
    let inherited = inherited.sort(&settings.http)?;
    // Those of clients last: on a shared port there are some at once, and they would be lost with what cannot start.
    let admin = bind_one("--admin", settings.admin).await?;
    let status = bind_one("--status", settings.status).await?;
    let http = match inherited {
        Some(sockets) => sockets
            .into_iter()
            .zip(&settings.http)
            .map(|(socket, &address)| (proxy::Listener::inherit(socket), address))
            .collect::<Vec<_>>(),
        None => settings
            .http
            .iter()
            .map(|&address| (proxy::Listener::bind(address, settings.reuse_port), address))
            .collect(),
    };
    let http = http.into_iter().map(|(listener, address)| {
        listener.map_err(|source| StartError::Bind {
            flag: "--http",
            address,
            source,
        })
    });
    Ok(Bound {
        admin,
        status,
        http: http.collect::<Result<_, _>>()?,
    })
}

async fn bind_one(
    flag: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => Err(StartError::Bind {
            flag,
            address,
            source,
        }),
    }
}
