//! A proxy in front of an API server that says, per path, what a broken one says.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use kube::{Client, client};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

use super::control_plane::{ADDRESS, ControlPlane};

/// What is done to requests below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status and no useful body, for new requests. Running watches go on.
    Status(u16),
    /// Lists, and the initial events of a watch that asks for them, have no object in them.
    Empty,
    /// Lists have the first half of their objects only, rounded down.
    Half,
    /// New watches are told in their first event that the history is gone: 410. Lists go on.
    Gone,
    /// Half of a list, and half of the next event of a watch, in an HTTP message that looks complete.
    Truncated,
    /// No byte more, for new requests and for running watches, until the fault is healed.
    Stalled,
    /// Running watches end now, and new requests are closed without an answer.
    Broken,
}

/// As the API server writes it.
const GONE: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#,
    "\n"
);

type Rules = Vec<(String, Fault)>;
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running proxy. Speaks plain HTTP and is one user towards the API server. Ends when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    _stop: oneshot::Sender<()>,
}

impl FaultProxy {
    /// Starts one inside the control plane's namespace, reachable for pods, too; it uses this kubeconfig.
    pub fn start(plane: &ControlPlane, kubeconfig: &Path) -> Self {
        let (rules, watched) = watch::channel(Rules::new());
        let (stop, stopped) = oneshot::channel();
        let (listens, address) = std::sync::mpsc::channel();
        let mut config = plane.run(async || plane.config_of(kubeconfig).await);
        let netns = plane.netns().file();
        thread::spawn(move || {
            super::netns::enter(&netns);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let ip: IpAddr = ADDRESS.parse().expect("an address");
                let listener = TcpListener::bind((ip, 0)).await.expect("a port");
                let address = listener.local_addr().expect("an address");
                listens.send(address).expect("its maker waits");
                // Retries would hide what the tests look for.
                config.default_retry = false;
                let client = Client::try_from(config).expect("a client");
                tokio::select! {
                    () = serve(listener, client, watched) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: address.recv().expect("the proxy listens"),
            rules,
            _stop: stop,
        }
    }

    /// The URL for a kubeconfig.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on requests whose path starts with `prefix` meet this fault; the longest prefix counts.
    pub fn fail(&self, prefix: &str, fault: Fault) {
        self.rules.send_modify(|rules| {
            rules.retain(|(known, _)| known != prefix);
            rules.push((prefix.to_owned(), fault));
        });
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.rules.send_modify(Vec::clear);
    }
}

fn fault_of(rules: &Rules, path: &str) -> Option<Fault> {
    rules
        .iter()
        .filter(|(prefix, _)| path.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, fault)| *fault)
}

/// Waits for a fault, or none, that is wanted; an error when the proxy ends.
async fn until(
    rules: &mut watch::Receiver<Rules>,
    path: &str,
    wanted: impl Fn(Option<Fault>) -> bool,
) -> io::Result<Option<Fault>> {
    let rules = rules.wait_for(|rules| wanted(fault_of(rules, path))).await;
    rules
        .map(|rules| fault_of(&rules, path))
        .map_err(io::Error::other)
}

async fn serve(listener: TcpListener, client: Client, rules: watch::Receiver<Rules>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (client, rules) = (client.clone(), rules.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let (client, rules) = (client.clone(), rules.clone());
                async move { answer(request, &client, rules).await }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    client: &Client,
    mut rules: watch::Receiver<Rules>,
) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default();
    let asks_initial = query.contains("sendInitialEvents=true");
    let is_watch = query
        .split('&')
        .any(|pair| pair == "watch=true" || pair == "watch=1");
    // A stalled request goes on with whatever counts when it is healed.
    let fault = until(&mut rules, &path, |fault| fault != Some(Fault::Stalled)).await?;
    match fault {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return Ok(whole(
                Response::builder().status(status),
                "broken on purpose".into(),
            ));
        }
        // hyper closes the connection without an answer.
        Some(Fault::Broken) => return Err(io::ErrorKind::ConnectionAborted.into()),
        _ => {}
    }
    if fault == Some(Fault::Gone) && is_watch {
        let builder = Response::builder().header(header::CONTENT_TYPE, "application/json");
        return Ok(whole(builder, GONE.into()));
    }
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::HOST);
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(head, client::Body::from(body));
    let response = client.send(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let mut builder = Response::builder().status(head.status);
    // The client took the compression off; lengths are written anew.
    for (name, value) in &head.headers {
        if ![
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONTENT_ENCODING,
            header::CONNECTION,
        ]
        .contains(name)
        {
            builder = builder.header(name, value);
        }
    }
    if is_watch && head.status.is_success() {
        return Ok(stream(builder, body, path, rules, asks_initial));
    }
    let body = body.collect_bytes().await.map_err(io::Error::other)?;
    let body = match fault {
        Some(Fault::Empty) => shortened(&body, |_| 0),
        Some(Fault::Half) => shortened(&body, |count| count / 2),
        Some(Fault::Truncated) => body.slice(..body.len() / 2),
        _ => body,
    };
    Ok(whole(builder, body))
}

fn whole(builder: http::response::Builder, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never: Infallible| match never {});
    builder.body(body.boxed_unsync()).expect("a valid response")
}

/// A list with the first of its items only; anything else as it is.
fn shortened(body: &Bytes, keep: impl Fn(usize) -> usize) -> Bytes {
    let Ok(mut list) = serde_json::from_slice::<Value>(body) else {
        return body.clone();
    };
    let Some(items) = list["items"].as_array_mut() else {
        return body.clone();
    };
    items.truncate(keep(items.len()));
    list.to_string().into()
}

/// A watch, line by line, under the rules of the moment.
fn stream(
    builder: http::response::Builder,
    mut body: client::Body,
    path: String,
    mut rules: watch::Receiver<Rules>,
    mut initial: bool,
) -> Response<Body> {
    let (lines, mut queue) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            let line = tokio::select! {
                line = next_line(&mut body, &mut buffer) => line,
                _ = until(&mut rules, &path, |fault| fault == Some(Fault::Broken)) => {
                    let _ = lines.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
                    return;
                }
                () = lines.closed() => return,
            };
            let Some(line) = line else { return };
            let fault = tokio::select! {
                fault = until(&mut rules, &path, |fault| fault != Some(Fault::Stalled)) => {
                    let Ok(fault) = fault else { return };
                    fault
                }
                () = lines.closed() => return,
            };
            let is_added = line.starts_with(b"{\"type\":\"ADDED\"");
            initial &= is_added;
            let sent = match fault {
                Some(Fault::Empty) if initial => continue,
                Some(Fault::Truncated) => {
                    let half = line.slice(..line.len() / 2);
                    let _ = lines.send(Ok(Frame::data(half))).await;
                    return;
                }
                _ => lines.send(Ok(Frame::data(line))).await,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let frames = futures_util::stream::poll_fn(move |context| queue.poll_recv(context));
    let body = http_body_util::StreamBody::new(frames).boxed_unsync();
    builder.body(body).expect("a valid response")
}

/// The next line with its end; cancel-safe, as what was read stays in the buffer.
async fn next_line(body: &mut client::Body, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            return Some(buffer.split_to(end + 1).freeze());
        }
        let frame = body.frame().await?.ok()?;
        if let Ok(data) = frame.into_data() {
            buffer.extend_from_slice(&data);
        }
    }
}
