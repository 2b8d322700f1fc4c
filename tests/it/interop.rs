//! Clients and servers written by others (`tests/clients`), each client against each server through Hawser.

mod ends;

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::OnceCell,
};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser, hawser::Hawser, manifest};

/// What every client can do. The Close frames of `client-close` and `server-close` have the codes below.
const SCENARIOS: &[&str] = &[
    "text",
    "binary",
    "large",
    "ping",
    "client-close",
    "server-close",
    "subprotocol",
    "deflate",
    "no-deflate",
];

/// What a client sends in `client-close`, as the server prints it.
const CLIENT_CLOSE: &str = "closed 4001 going home";

/// Script of a client, and what it can do beyond [`SCENARIOS`].
const CLIENTS: &[(&str, &[&str])] = &[
    ("python/websockets_client.py", &["fragmented"]),
    ("python/aiohttp_client.py", &[]),
    ("node/ws_client.cjs", &["fragmented"]),
    (HTTP2, &["fragmented", "one-connection"]),
];

/// Its WebSockets are streams of HTTP/2.
const HTTP2: &str = "node/http2_client.cjs";

#[tokio::test]
async fn every_client_talks_to_websockets() {
    every_client_talks_to("python/websockets_server.py").await;
}

#[tokio::test]
async fn every_client_talks_to_aiohttp() {
    every_client_talks_to("python/aiohttp_server.py").await;
}

#[tokio::test]
async fn every_client_talks_to_ws() {
    every_client_talks_to("node/ws_server.cjs").await;
}

#[tokio::test]
async fn aiohttp_speaks_http_in_both_directions() {
    let server = server("python/aiohttp_server.py").await;
    let hawser = in_front_of(&server).await;
    let scenarios = [
        "http-get",
        "http-post",
        "http-stream-down",
        "http-stream-up",
    ];
    run("python/aiohttp_client.py", &hawser, &scenarios).await;
}

#[tokio::test]
async fn node_speaks_http2() {
    let server = server("python/aiohttp_server.py").await;
    let hawser = in_front_of(&server).await;
    run(HTTP2, &hawser, &["http-get", "http-post"]).await;
}

#[tokio::test]
async fn the_chat_of_the_examples_chats() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/chat");
    let server = server_with("../../examples/chat/server.py", &["0"]).await;
    let mut yaml = String::new();
    for entry in example.read_dir().expect("the example") {
        let path = entry.expect("an entry").path();
        if path.extension() == Some(OsStr::new("yaml")) {
            yaml += &std::fs::read_to_string(path).expect("a manifest");
            yaml += "---\n";
        }
    }
    let port = server.port.to_string();
    let hawser = hawser::with(&yaml.replace("9001", &port).replace("9002", &port)).await;

    let page = client::get(hawser.http, "chat.localhost", "/").await;
    let page = page.expect("an answer");
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("<title>Chat</title>"));
    let socket = async || client::ws(hawser.http, "chat.localhost", "/ws").await;
    let (mut ann, mut bob) = (socket().await.expect("open"), socket().await.expect("open"));
    // Bob is in the room once he hears himself.
    bob.send(Message::text("here")).await.expect("sent");
    assert_eq!(
        bob.next().await.expect("open").expect("a message"),
        Message::text("here")
    );
    ann.send(Message::text("ahoy")).await.expect("sent");
    assert_eq!(
        bob.next().await.expect("open").expect("a message"),
        Message::text("ahoy")
    );
}

async fn every_client_talks_to(script: &str) {
    let server = server(script).await;
    let hawser = in_front_of(&server).await;
    for (number, (client, more)) in (1..).zip(CLIENTS) {
        run(client, &hawser, &[SCENARIOS, more].concat()).await;
        eventually(
            &format!("{script} got the Close of {client} as it was sent"),
            async || (server.said(CLIENT_CLOSE) == number).then_some(()),
        )
        .await;
        // And Hawser itself tells who closed, and with which code.
        for (cause, code) in [("client_closed", 4001), ("backend_closed", 4002)] {
            eventually(
                &format!("{cause} {code} is logged for {client} with {script}"),
                async || (closes(&hawser, cause, code) == number).then_some(()),
            )
            .await;
        }
    }
}

/// How many tunnels ended like this, by the log.
fn closes(hawser: &Hawser, cause: &str, code: u64) -> usize {
    let is_it = |line: &&Value| {
        hawser::field(line, "cause") == Some(cause)
            && line.get("code").and_then(Value::as_u64) == Some(code)
    };
    hawser.log().iter().filter(is_it).count()
}

/// A Hawser that sends everything for `localhost` to the server.
async fn in_front_of(server: &Server) -> Hawser {
    let address = ([127, 0, 0, 1], server.port).into();
    let yaml = manifest::service("other", &[address])
        + &manifest::route("other", "localhost", "/", "other", "");
    hawser::with(&yaml).await
}

/// A server written by others. Ends with the test.
struct Server {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl Server {
    /// How often the server printed this line.
    fn said(&self, wanted: &str) -> usize {
        let lines = self.lines.lock();
        lines.iter().filter(|line| *line == wanted).count()
    }
}

async fn server(script: &str) -> Server {
    server_with(script, &[]).await
}

async fn server_with(script: &str, args: &[&str]) -> Server {
    let mut child = command(script)
        .await
        .args(args)
        // It ends when this pipe does, even if the test is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let stdout = child.stdout.take().expect("a pipe");
    let lines = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn({
        let lines = Arc::clone(&lines);
        async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                lines.lock().push(line);
            }
        }
    });
    let port = eventually(&format!("{script} listens"), async || {
        let lines = lines.lock();
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix("listening "))?;
        line.parse().ok()
    })
    .await;
    Server { port, lines, child }
}

/// Runs scenarios of a client to their end, of which each is said to be ok.
async fn run(script: &str, hawser: &Hawser, scenarios: &[&str]) {
    let wanted: Vec<String> = scenarios.iter().map(|name| format!("ok {name}")).collect();
    assert_eq!(
        said(script, hawser.http, scenarios).await,
        wanted,
        "{script}"
    );
}

/// Runs a client to its end: what it printed. The scripts have a deadline of their own.
async fn said(script: &str, http: SocketAddr, scenarios: &[&str]) -> Vec<String> {
    let output = command(script)
        .await
        .arg(format!("ws://localhost:{}/ws", http.port()))
        .args(scenarios)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{script}: {}, said {said:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    said.lines().map(str::to_owned).collect()
}

/// The command that runs a script with its libraries.
async fn command(script: &str) -> Command {
    let installed = installed().await;
    let runtime = if Path::new(script).extension() == Some(OsStr::new("py")) {
        installed.join("venv/bin/python")
    } else {
        PathBuf::from("node")
    };
    let mut command = Command::new(runtime);
    command
        .arg(clients().join(script))
        .env("NODE_PATH", installed.join("node_modules"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where the libraries are, installed if they are not there yet.
async fn installed() -> &'static Path {
    static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let output = Command::new(clients().join("setup"))
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
                .await
                .expect("tests/clients/setup runs");
            assert!(output.status.success(), "tests/clients/setup failed");
            let path = String::from_utf8(output.stdout).expect("a path");
            PathBuf::from(path.trim())
        })
        .await
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
