//! `/api/v1/connections`: open tunnels, or the last that ended.

use std::{io, net::SocketAddr};

use serde::Serialize;

use super::{
    super::{State, query::RouteName},
    Seq, write,
};
use crate::{ir, tunnel};

/// What open and ended tunnels have in common.
#[derive(Serialize)]
struct Tunnel<'a> {
    /// Number of the tunnel in this process, as in the access log.
    id: u64,
    object: &'a ir::ObjectId,
    rule: &'a str,
    endpoint: SocketAddr,
    #[serde(flatten)]
    info: &'a tunnel::Info,
    bytes_from_client: u64,
    bytes_from_backend: u64,
    messages_from_client: u64,
    messages_from_backend: u64,
}

#[derive(Serialize)]
struct Open<'a> {
    #[serde(flatten)]
    tunnel: Tunnel<'a>,
    age_seconds: f64,
}

impl<'a> Open<'a> {
    fn new(snapshot: &'a tunnel::Snapshot) -> Self {
        Self {
            tunnel: Tunnel {
                id: snapshot.id,
                object: &snapshot.route.object,
                rule: &snapshot.route.rule,
                endpoint: snapshot.endpoint,
                info: &snapshot.info,
                bytes_from_client: snapshot.bytes_from_client,
                bytes_from_backend: snapshot.bytes_from_backend,
                messages_from_client: snapshot.messages_from_client,
                messages_from_backend: snapshot.messages_from_backend,
            },
            age_seconds: snapshot.age.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    tunnel: Tunnel<'a>,
    initiator: tunnel::Initiator,
    cause: tunnel::Cause,
    /// How a side was lost; null where none was.
    loss: Option<tunnel::Loss>,
    /// Null when no Close frame with a code was seen or sent.
    code: Option<u16>,
    client_got_close: bool,
    backend_got_close: bool,
    duration_seconds: f64,
}

impl<'a> Ended<'a> {
    fn new(closed: &'a tunnel::Closed) -> Self {
        let outcome = &closed.outcome;
        Self {
            tunnel: Tunnel {
                id: closed.id,
                object: &closed.route.object,
                rule: &closed.route.rule,
                endpoint: closed.endpoint,
                info: &closed.info,
                bytes_from_client: outcome.bytes_from_client,
                bytes_from_backend: outcome.bytes_from_backend,
                messages_from_client: outcome.messages_from_client,
                messages_from_backend: outcome.messages_from_backend,
            },
            initiator: outcome.initiator,
            cause: outcome.cause,
            loss: outcome.loss,
            code: outcome.code,
            client_got_close: outcome.client_got_close,
            backend_got_close: outcome.backend_got_close,
            duration_seconds: outcome.duration.as_secs_f64(),
        }
    }
}

/// Writes the view: an array, the open ones with the oldest first, the ended ones with the last to end first.
pub(in super::super) fn connections(
    state: &State,
    route: Option<&RouteName>,
    closed: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let is_wanted = |id: &ir::RouteId| route.is_none_or(|name| name.is(&id.object));
    if closed {
        let mut tunnels = state.tunnels.recently_closed();
        tunnels.retain(|tunnel| is_wanted(&tunnel.route));
        write(out, &Seq(|| tunnels.iter().map(Ended::new)))
    } else {
        let mut tunnels = state.tunnels.list();
        tunnels.retain(|tunnel| is_wanted(&tunnel.route));
        write(out, &Seq(|| tunnels.iter().map(Open::new)))
    }
}
