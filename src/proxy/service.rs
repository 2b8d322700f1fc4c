//! The story of one request, from its head to its answer.

use std::sync::{Arc, atomic::Ordering};

use http::{
    HeaderValue, Response, Version,
    header::{CONNECTION, EXPECT, Entry, HOST, UPGRADE},
    request,
};
use hyper::{Request, body::Incoming, ext::Protocol};

use crate::{ir::UpgradeMode, ws::handshake};

use super::{
    body::{BackendBody, ResponseBody},
    connection::Connection,
    error::{Error, Refused, Unserved},
    forward,
    gate::Verdict,
    http2,
    record::{InFlight, Record},
    reply,
    route::{self, Ask},
    target::Target,
    upgrade,
};

/// How a request ends well.
pub(super) enum Answer {
    /// With the backend's response.
    Relay(Response<BackendBody>),
    /// With a 101, or a 200 of HTTP/2, after which the connection or stream is a tunnel.
    Switch(Box<upgrade::Switched>),
}

/// Answers one request of HTTP/1, whatever happens to it.
pub(super) async fn answer(
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let control = &connection.control;
    let mut record = Record::new(
        connection.proxy.metrics.clone(),
        connection.peer,
        InFlight::Http1(control.begin()),
    );
    let told = story(connection, connection.over, request, &mut record).await;
    let told = match told {
        Ok(Answer::Switch(switched)) => {
            let (head, handoff) = switched.split(record);
            *connection.handoff.lock() = Some(handoff);
            control.upgrade(Verdict::Tunnel);
            return Response::from_parts(head, ResponseBody::tunnel());
        }
        Ok(Answer::Relay(response)) => Ok(response),
        Err(error) => Err(error),
    };

    // A client that sent bytes after its handshake did not wait for the answer (RFC 6455 section 4.1). What
    // it meant for a tunnel must not become a request (RFC 9931): the gate drops it, the connection ends.
    control.upgrade(Verdict::Refused);
    let close = control.early_bytes() || connection.shutdown.drain.is_given();
    match told {
        Ok(mut response) => {
            if close {
                let last = HeaderValue::from_static("close");
                response.headers_mut().append(CONNECTION, last);
            }
            record.relayed(response.status().as_u16());
            response.map(|body| ResponseBody::backend(body, record))
        }
        Err(error) => reply::error(&error, close, record),
    }
}

/// The decisions, in their order: refusal of the gate, host and path, route, mode, syntax, backend. `over`: there is
/// no slot for it.
pub(super) async fn story(
    connection: &Connection,
    over: bool,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Answer, Error> {
    let (mut head, body) = request.into_parts();

    // What the gate did not let pass stands for itself: its head is none of the client's.
    if let Some(refusal) = connection.control.refusal(&head) {
        return Err(Refused::Gate(refusal).into());
    }
    record.head(&head);
    let unframed = head.version == Version::HTTP_10;
    connection.unframed.store(unframed, Ordering::Relaxed);
    if over {
        return Err(Unserved::Overload.into());
    }
    if head.version == Version::HTTP_2 {
        http2::check(&mut head, &connection.proxy.limits.gate).map_err(Refused::Gate)?;
    }

    // Where to? Routing, log and backend see the same normal form.
    let target = Arc::new(Target::of(&head)?);
    record.target(target.clone());
    name_host(&mut head);
    let protocol = head.extensions.remove::<Protocol>();
    let ask = match (&protocol, handshake::classify(head.version, &head.headers)) {
        (Some(_), _) => Ask::Connect,
        (None, handshake::Kind::Attempt) => Ask::Upgrade,
        (None, handshake::Kind::Plain) => Ask::Plain,
    };
    if ask != Ask::Upgrade {
        // RFC 9110 section 7.8: an Upgrade that is not understood is ignored, and never passed on.
        head.headers.remove(UPGRADE);
    }
    let live = &connection.proxy.live;
    let choice = route::choose(live, &target, &mut head, ask)?;
    record.route(&choice.route, choice.attempt);

    // Does the route want this kind of request?
    if protocol.is_some_and(|name| !name.as_str().eq_ignore_ascii_case("websocket")) {
        return Err(Refused::Protocol.into());
    }
    match (choice.policy().upgrade.mode.value, choice.attempt) {
        // Only a CONNECT: anything else that is ignored is no attempt any more.
        (UpgradeMode::Ignore, true) => return Err(Refused::ConnectIgnored.into()),
        (UpgradeMode::Deny, true) => return Err(Refused::UpgradeDenied.into()),
        (UpgradeMode::Require, false) => return Err(Refused::UpgradeRequired.into()),
        _ => {}
    }

    // Is it well-formed? Then the backend decides.
    expectation(&head)?;
    if choice.attempt {
        let offer = match ask {
            Ask::Connect => {
                handshake::check_connect(&head.headers, fastrand::u128(..).to_ne_bytes())
            }
            Ask::Upgrade | Ask::Plain => handshake::check(&head.method, &head.headers),
        }
        .map_err(Refused::from)?;
        upgrade::handshake(connection, choice, head, offer, record).await
    } else {
        // Nothing will be switched, so the gate need not hold back the body.
        connection.control.upgrade(Verdict::Refused);
        let response = forward::forward(connection, &choice, &mut head, body, record).await?;
        Ok(Answer::Relay(response))
    }
}

/// The host of an absolute-form that came without Host, as HTTP/1.0 may, is that of the request
/// (RFC 9112 section 3.2.2).
fn name_host(head: &mut request::Parts) {
    if let Some(authority) = head.uri.authority()
        && let Entry::Vacant(host) = head.headers.entry(HOST)
        && let Ok(authority) = HeaderValue::from_str(authority.as_str())
    {
        host.insert(authority);
    }
}

/// `100-continue` is the only expectation there is (RFC 9110 section 10.1.1). hyper answers it when the
/// body is first asked for, which is when the backend connection is ready for it.
fn expectation(head: &request::Parts) -> Result<(), Refused> {
    let mut values = head.headers.get_all(EXPECT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Refused::Expectation),
    }
}
