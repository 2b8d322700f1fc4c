//! Which path gives what.

use std::{net::SocketAddr, sync::Arc};

use http::{Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use super::{
    State, Surface,
    answer::{self, Body},
    host, orders,
    query::{self, Connections},
    view,
};
use crate::telemetry::metrics::CONTENT_TYPE;

const STATUS_PATHS: &[(&str, &str)] = &[
    ("/livez", "200 while the process works"),
    (
        "/readyz",
        "200 once the first routing table is live and while not draining",
    ),
    ("/metrics", "OpenMetrics text"),
];

const ADMIN_PATHS: &[(&str, &str)] = &[
    (
        "/api/v1/routes",
        "what is routed where, with the policy and the verdicts (?host=, ?route=namespace/name)",
    ),
    ("/api/v1/backends", "Services with their endpoints"),
    (
        "/api/v1/connections",
        "open tunnels (?route=namespace/name); &closed=recent for the last ended ones",
    ),
];

/// What other replicas ask for. It is in no list: it is nothing for people.
const PEER_PATHS: &str = "/peer/v1/";

/// Answers one request.
pub(super) async fn answer(
    request: &Request<Incoming>,
    client: SocketAddr,
    surface: Surface,
    state: &Arc<State>,
) -> Response<Body> {
    if surface == Surface::Admin && !host::is_allowed(request) {
        return answer::text(
            StatusCode::MISDIRECTED_REQUEST,
            "The admin address answers to IP addresses and localhost only, so that no web page can reach it under a name of its own.\n\
             Ask for http://127.0.0.1 with its port, or with an SSH or kubectl port-forward for http://localhost.\n",
        );
    }
    let path = request.uri().path();
    if let (Surface::Status, Some(peers)) = (surface, &state.peers)
        && path.starts_with(PEER_PATHS)
    {
        return answer::ready(peers(head(request)).await);
    }
    if surface == Surface::Admin && orders::is_at(path) {
        return allowing("POST", orders::answer(request, client, state));
    }
    let known = path == "/" || paths(surface).any(|(known, _)| *known == path);
    if !known {
        let text = format!("Nothing is at this path. There is:\n{}", list(surface));
        return answer::text(StatusCode::NOT_FOUND, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "This address only answers GET and HEAD.\n";
        let answer = answer::text(StatusCode::METHOD_NOT_ALLOWED, text);
        return allowing("GET, HEAD", answer);
    }
    match path {
        "/livez" => answer::text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(state),
        "/metrics" => {
            let metrics = Arc::clone(&state.metrics);
            answer::whole(CONTENT_TYPE, move || metrics.encode())
        }
        "/" => answer::text(StatusCode::OK, list(surface)),
        _ => view(path, request.uri(), state),
    }
}

/// A 405 names the methods (RFC 9110 section 15.5.6).
fn allowing(methods: &'static str, mut answer: Response<Body>) -> Response<Body> {
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = header::HeaderValue::from_static(methods);
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// Without the body, which no peer sends.
fn head(request: &Request<Incoming>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

fn ready(state: &State) -> Response<Body> {
    if (state.draining)() {
        answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: the process is about to end\n",
        )
    } else if state.live.load().generation() == 0 {
        answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting: the first routing table is not live yet\n",
        )
    } else {
        answer::text(StatusCode::OK, "ok\n")
    }
}

fn view(path: &str, uri: &Uri, state: &Arc<State>) -> Response<Body> {
    let state = Arc::clone(state);
    match path {
        "/api/v1/backends" => answer::json(move |out| view::backends(&state, out)),
        "/api/v1/connections" => match query::connections(uri) {
            Ok(Connections { route, closed }) => {
                answer::json(move |out| view::connections(&state, route.as_ref(), closed, out))
            }
            Err(error) => answer::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        },
        _ => match query::routes(uri) {
            Ok(filter) => answer::json(move |out| view::routes(&state, &filter, out)),
            Err(error) => answer::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        },
    }
}

fn paths(surface: Surface) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let (views, orders): (&[_], &[_]) = match surface {
        Surface::Admin => (ADMIN_PATHS, orders::PATHS),
        Surface::Status => (&[], &[]),
    };
    STATUS_PATHS.iter().chain(views).chain(orders)
}

fn list(surface: Surface) -> String {
    let mut text = String::new();
    for (path, what) in paths(surface) {
        text.push_str(path);
        text.push_str("  ");
        text.push_str(what);
        text.push('\n');
    }
    text
}
