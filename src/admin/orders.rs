//! Orders: close one tunnel, drain those of a route or an endpoint. Only with `--admin-write`, only on the admin
//! address, only with POST, and never from a foreign web page.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::{
    State,
    answer::{self, Body},
    origin,
    query::{self, BadQuery, Drain},
};
use crate::tunnel::{Cause, Open, Order};

/// Where the orders are, for the list of all paths.
pub(super) const PATHS: &[(&str, &str)] = &[
    (
        "/api/v1/connections/{id}/close",
        "POST, with --admin-write: closes this tunnel",
    ),
    (
        DRAIN,
        "POST, with --admin-write: closes the tunnels of ?route=namespace/name, &endpoint=address:port, one by one over &window=60s",
    ),
];

const DRAIN: &str = "/api/v1/drain";
const CONNECTIONS: &str = "/api/v1/connections/";
const CLOSE: &str = "/close";

/// What every tunnel that is told to end here is told (RFC 6455 section 7.4.1: "going away").
const ORDER: Order = Order {
    cause: Cause::Admin,
    code: 1001,
};

/// What was done.
#[derive(Serialize)]
struct Done {
    /// Tunnels that were told, or will be.
    tunnels: usize,
    /// From now to the last of them.
    window_seconds: f64,
}

/// Whether there is an order at this path.
pub(super) fn is_at(path: &str) -> bool {
    path == DRAIN || id(path).is_some()
}

/// The part of the path that names a tunnel.
fn id(path: &str) -> Option<&str> {
    let id = path.strip_prefix(CONNECTIONS)?.strip_suffix(CLOSE)?;
    (!id.contains('/')).then_some(id)
}

/// Takes an order of `client`. Every call is in the log.
pub(super) fn answer<B>(request: &Request<B>, client: SocketAddr, state: &State) -> Response<Body> {
    match obey(request, client, state) {
        Ok(done) => answer::json(move |out| Ok(serde_json::to_writer(out, &done)?)),
        Err((status, text)) => {
            tracing::warn!(%client, status = status.as_u16(), why = text.trim_end(), "an order at the admin address was refused");
            answer::text(status, text)
        }
    }
}

type Refused = (StatusCode, String);

fn obey<B>(request: &Request<B>, client: SocketAddr, state: &State) -> Result<Done, Refused> {
    let path = request.uri().path();
    if *request.method() != Method::POST {
        let text = "An order is given with POST.\n";
        return Err((StatusCode::METHOD_NOT_ALLOWED, text.to_owned()));
    }
    let Some(orders) = &state.orders else {
        let text = "This Hawser takes no orders at its admin address: start it with --admin-write (or HAWSER_ADMIN_WRITE=true).\n";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    };
    if !origin::is_own(request) {
        let text = "A web page of another origin may not give orders. Use curl, or any other program that sends neither Origin nor Sec-Fetch-Site.\n";
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
    if let Some(id) = id(path) {
        return close(id, client, state);
    }
    let wanted = query::drain(request.uri(), orders.duration);
    let wanted = wanted.map_err(|error| bad(&error))?;
    Ok(drain(&wanted, client, state))
}

fn bad(error: &BadQuery) -> Refused {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

fn close(id: &str, client: SocketAddr, state: &State) -> Result<Done, Refused> {
    let id: u64 = id.parse().map_err(|_| bad(&BadQuery::Id(id.to_owned())))?;
    if !state.tunnels.end(id, ORDER) {
        let text = format!("No open tunnel has the number {id}: see /api/v1/connections.\n");
        return Err((StatusCode::NOT_FOUND, text));
    }
    tracing::info!(%client, tunnel = id, "order at the admin address: close a tunnel");
    Ok(Done {
        tunnels: 1,
        window_seconds: 0.0,
    })
}

fn drain(wanted: &Drain, client: SocketAddr, state: &State) -> Done {
    let route = wanted.route.as_ref();
    let longest = Cell::new(Duration::ZERO);
    let is_wanted = |open: &Open<'_>| {
        let is_wanted = route.is_none_or(|name| name.is(&open.route.object))
            && wanted.endpoint.is_none_or(|wanted| wanted == open.endpoint);
        if is_wanted {
            longest.set(longest.get().max(open.window));
        }
        is_wanted
    };
    let tunnels = state
        .tunnels
        .drain_some(is_wanted, ORDER.cause, wanted.window);
    let window = wanted.window.unwrap_or(longest.get());
    tracing::info!(
        %client,
        route = route.map(tracing::field::display),
        endpoint = wanted.endpoint.map(tracing::field::display),
        tunnels,
        ?window,
        "order at the admin address: drain"
    );
    Done {
        tunnels,
        window_seconds: window.as_secs_f64(),
    }
}

/// What the orders need from outside: `app` passes it in, so that this module needs no arrow to `api`.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    /// Reads a duration as it stands in a manifest (GEP-2257).
    pub duration: fn(&str) -> Option<Duration>,
}
