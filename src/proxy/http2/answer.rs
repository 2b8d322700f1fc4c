//! The answer to one stream.

use bytes::Bytes;
use http::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, UPGRADE},
};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};

use crate::proxy::{
    body::ResponseBody,
    connection::Connection,
    error::{Error, Unserved},
    record::{InFlight, Record},
    reply,
    service::{self, Answer},
    upgrade::Switched,
};

use super::{body::Body, client::Client, streams::Request, tasks};

/// Answers one request, whatever happens to it.
pub(super) async fn answer(
    connection: &Connection,
    stream: Request,
    request: http::Request<Incoming>,
) -> Response<Body<ResponseBody>> {
    let hold = stream.hold();
    let response = respond(connection, stream, request).await;
    response.map(|body| Body::new(body, hold))
}

async fn respond(
    connection: &Connection,
    stream: Request,
    mut request: http::Request<Incoming>,
) -> Response<ResponseBody> {
    let over = connection.over || stream.is_over();
    let is_head = request.method() == Method::HEAD;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let mut record = Record::new(
        connection.proxy.metrics.clone(),
        connection.peer,
        InFlight::Http2(stream),
    );
    let told = service::story(connection, over, request, &mut record).await;
    tasks::waits_for_client(true);
    let refused = match (told, upgrade) {
        (Ok(Answer::Switch(switched)), Some(upgrade)) => {
            return switch(connection, *switched, upgrade, record);
        }
        (Ok(Answer::Switch(_)), None) => Error::from(Unserved::Internal(
            "a tunnel on a stream that cannot be one",
        )),
        (Ok(Answer::Relay(mut response)), _) => {
            // It is the stream that ends, never the connection.
            strip(response.headers_mut());
            record.relayed(response.status().as_u16());
            return response.map(|body| ResponseBody::backend(body, record));
        }
        (Err(error), _) => error,
    };
    let mut response = reply::error(&refused, false, record);
    strip(response.headers_mut());
    if is_head {
        // hyper sees to that for HTTP/1 only (RFC 9110 section 9.3.2).
        let length = response.body().size_hint().lower();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response.body_mut().clear();
    }
    response
}

/// The 200 that makes the stream a tunnel (RFC 8441 section 5).
fn switch(
    connection: &Connection,
    switched: Switched,
    upgrade: OnUpgrade,
    record: Box<Record>,
) -> Response<ResponseBody> {
    let sender = tasks::sender();
    let tunnel = record.tunnel();
    let (mut head, handoff) = switched.split(record);
    let proxy = connection.proxy.clone();
    connection.shutdown.tasks.spawn(async move {
        // Ready with the 200, or never to be when the client has left.
        if let Ok(stream) = upgrade.await {
            handoff.start(
                &proxy,
                Client::new(stream, sender, tunnel),
                Bytes::new(),
                (),
            );
        }
    });
    head.status = StatusCode::OK;
    head.version = Version::HTTP_2;
    strip(&mut head.headers);
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    Response::from_parts(head, ResponseBody::tunnel())
}

/// Takes away what HTTP/2 has no place for (RFC 9113 section 8.2.2).
fn strip(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
}
