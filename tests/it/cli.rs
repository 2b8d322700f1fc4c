//! The command line as a user meets it: help, bad flags, exit codes.

use std::{
    fs,
    process::{Command, Output},
};

use rstest::rstest;
use serde_json::Value;

use crate::kit::{client, hawser, manifest, origin};

fn hawser(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hawser"))
        .args(args)
        .output()
        .expect("hawser runs")
}

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let output = hawser(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    for word in words {
        assert!(
            stderr.contains(word),
            "{args:?} should say {word:?}: {stderr}"
        );
    }
}

#[test]
fn bad_flags_are_one_line_and_exit_64() {
    refused(
        &["run", "--manifests", ".", "--http", "nowhere"],
        &["--http", "nowhere"],
    );
    refused(
        &["run", "--manifests", ".", "--no-such-flag"],
        &["--no-such-flag"],
    );
    refused(
        &["run", "--manifests", ".", "--drain-window", "soon"],
        &["--drain-window", "soon"],
    );
    refused(
        &[
            "run",
            "--manifests",
            ".",
            "--trusted-proxies",
            "10.0.0.0/99",
        ],
        &["--trusted-proxies"],
    );
    refused(
        &["run", "--manifests", ".", "--publish-service", "noslash"],
        &["namespace/name"],
    );
    refused(
        &["run", "--manifests", ".", "--max-connections", "0"],
        &["--max-connections"],
    );
    refused(
        &["run", "--manifests", ".", "--log-format", "xml"],
        &["json", "text"],
    );
    refused(
        &["run", "--manifests", ".", "--log-level", "a=b=c"],
        &["--log-level"],
    );
    refused(&["nonsense"], &["nonsense"]);
    refused(&["check"], &["FILE|DIR"]);
    refused(&["check", "-o", "yaml", "."], &["text, json"]);
    refused(&["check", "-x"], &["'-x' found; to pass '-x'"]);
    refused(&["explain", "chat.test/ws"], &["chat.test/ws", "ws://"]);
    refused(&["explain", "ftp://chat.test/"], &["ws://"]);
    refused(
        &["explain", "http://chat.test/", "-H", "x"],
        &["NAME: VALUE"],
    );
    refused(&["demo", "--http", "nowhere"], &["--http", "nowhere"]);
    refused(&["crd", "more"], &["more"]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    refused(
        &["run", "--manifests", "/no/such/dir"],
        &["/no/such/dir", "no such directory"],
    );
    refused(
        &["run", "--manifests", "Cargo.toml"],
        &["Cargo.toml", "not a directory"],
    );
}

#[test]
fn without_manifests_it_says_what_to_do() {
    refused(&["run"], &["--manifests DIR"]);
}

#[test]
fn a_busy_port_is_named_and_nothing_stays_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("UTF-8");
    let output = hawser(&[
        "run",
        "--manifests",
        dir,
        "--http",
        &address,
        "--admin",
        "127.0.0.1:0",
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(
        stderr.contains(&address) && stderr.contains("in use"),
        "{stderr}"
    );
}

#[test]
fn flags_are_environment_variables_too() {
    let output = Command::new(env!("CARGO_BIN_EXE_hawser"))
        .args(["run", "--manifests", "."])
        .env("HAWSER_HTTP", "nowhere")
        .output()
        .expect("hawser runs");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
}

#[test]
fn help_has_examples() {
    for args in [&["--help"][..], &["run", "--help"], &["help"]] {
        let output = hawser(args);
        assert!(output.status.success(), "{args:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("Examples:"),
            "{args:?}"
        );
    }
}

#[test]
fn a_switch_in_the_environment_takes_what_people_write() {
    for (value, code) in [("1", 0), ("true", 0), ("no", 0), ("maybe", 64)] {
        let output = Command::new(env!("CARGO_BIN_EXE_hawser"))
            .args(["check", "examples"])
            .env("HAWSER_WATCH_INGRESS_WITHOUT_CLASS", value)
            .output()
            .expect("hawser runs");
        assert_eq!(output.status.code(), Some(code), "{value}: {output:?}");
    }
}

/// A folder with `main.yaml`.
fn folder(yaml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("main.yaml"), yaml).expect("written");
    dir
}

/// Runs a command, looks at its exit code, gives what it printed.
#[track_caller]
fn printed(args: &[&str], code: i32) -> String {
    let output = hawser(args);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {stdout}{stderr}"
    );
    stdout.into_owned()
}

fn chat() -> String {
    manifest::websocket("chat", "/ws", &["127.0.0.1:9".parse().expect("an address")])
}

#[rstest]
#[case::all_accepted(chat(), 0, "WebSocketRoute default/chat: Accepted=True (Accepted)")]
#[case::a_missing_backend_is_no_rejection(
    manifest::route("chat", "chat.test", "/", "gone", ""),
    0,
    "ResolvedRefs=False (BackendNotFound: rule \"main\": spec.rules[0].backendRefs[0]"
)]
#[case::another_controllers(
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: x}\nspec: {controller: a.b/c}\n---\n\
     apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {ingressClassName: x, \
     defaultBackend: {service: {name: web, port: {number: 80}}}}\n".to_owned(),
    0,
    "Ingress default/web: not ours"
)]
#[case::an_unknown_enum(
    manifest::route("chat", "chat.test", "/", "chat", "upgrade: {mode: Sometimes}"),
    1,
    "Accepted=False (InvalidSpec: spec.rules[0].upgrade.mode"
)]
#[case::a_bad_duration(
    manifest::route("chat", "chat.test", "/", "chat", "timeouts: {idle: soon}"),
    1,
    "Accepted=False (InvalidSpec: spec.rules[0].timeouts.idle"
)]
#[case::a_path_without_a_slash(
    manifest::route("chat", "chat.test", "ws", "chat", ""),
    1,
    "Accepted=False (InvalidSpec: spec.rules[0].matches[0].path"
)]
#[case::one_rule_of_two(
    "apiVersion: hawser.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {name: chat}\nspec:\n  rules:\n\
    \x20 - {name: good, backendRefs: [{name: chat, port: 80}]}\n\
    \x20 - {name: bad, matches: [{path: {type: Regex, value: \"/(\"}}], backendRefs: [{name: chat, port: 80}]}\n"
        .to_owned(),
    1,
    "PartiallyInvalid=True (InvalidSpec: left out: rule \"bad\": spec.rules[1].matches[0].path.value"
)]
#[case::not_yaml("a: [1\nb: }\n".to_owned(), 2, "main.yaml:2:2: ")]
fn check_tells_what_becomes_of_each_object(
    #[case] yaml: String,
    #[case] code: i32,
    #[case] words: &str,
) {
    let dir = folder(&yaml);
    let path = dir.path().to_str().expect("UTF-8");
    let text = printed(&["check", path], code);
    assert!(text.contains(words), "{text}");
    assert!(text.lines().all(|line| line.starts_with(path)), "{text}");

    let json: Value = serde_json::from_str(&printed(&["check", "-o", "json", path], code))
        .expect("one JSON document");
    assert_eq!(json["exit"], code);
    assert_eq!(json["files"] == serde_json::json!([]), code != 2, "{json}");
}

#[test]
fn check_of_what_is_missing_is_2_and_tells_the_rest() {
    let dir = folder(&manifest::route("chat", "chat.test", "ws", "chat", ""));
    let path = dir.path().to_str().expect("UTF-8");
    let text = printed(&["check", "/no/such/file.yaml", path], 2);
    assert!(text.contains("/no/such/file.yaml: no such file"), "{text}");
    assert!(text.contains("Accepted=False"), "{text}");
}

#[test]
fn check_looks_at_files_together() {
    let first = folder(&chat());
    let second = folder(&chat());
    let paths = [&first, &second].map(|dir| dir.path().to_str().expect("UTF-8"));
    let text = printed(&["check", paths[0], paths[1]], 1);
    assert!(text.contains("already defined in"), "{text}");
}

/// An Ingress on a path that a WebSocketRoute has, too.
fn shared(mode: &str, endpoint: std::net::SocketAddr) -> String {
    manifest::service("chat", &[endpoint])
        + &manifest::route("chat", "chat.test", "/ws", "chat", mode)
        + "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, annotations: {hawser.dev/idle-timeout: 2h}}\n\
           spec:\n  rules:\n  - host: chat.test\n    http: {paths: [{path: /ws, pathType: Prefix, \
           backend: {service: {name: chat, port: {number: 80}}}}]}\n"
}

#[tokio::test]
async fn explain_names_what_takes_the_request_as_the_process_does() {
    let pages = origin::http().await;
    for (mode, handshake) in [
        ("", "WebSocketRoute default/chat"),
        ("upgrade: {mode: Deny}", "WebSocketRoute default/chat"),
        ("upgrade: {mode: Ignore}", "Ingress default/web"),
    ] {
        let yaml = shared(mode, pages.addr);
        let dir = folder(&yaml);
        let hawser = hawser::with(&yaml).await;
        let admin = hawser.admin.to_string();
        let offline = ["--manifests", dir.path().to_str().expect("UTF-8")];
        let live = ["--admin", admin.as_str()];
        for source in [offline, live] {
            let explain = |url| printed(&["explain", url, source[0], source[1]], 0);
            let told = explain("ws://chat.test/ws/room?token=x");
            assert!(told.contains(&format!("object    {handshake}\n")), "{told}");
            assert_eq!(
                told.contains(
                    "ignored   Upgrade, by WebSocketRoute default/chat, rule main: a plain request"
                ),
                mode.contains("Ignore"),
                "{told}"
            );
            let told = explain("http://chat.test/ws/room");
            assert!(told.contains("object    Ingress default/web\n"), "{told}");
            assert!(
                told.contains("2h     annotation hawser.dev/idle-timeout"),
                "{told}"
            );
            assert!(!told.contains("ignored"), "{told}");
        }
        let [first, second] = [offline, live]
            .map(|source| printed(&["explain", "ws://chat.test/ws", source[0], source[1]], 0));
        assert_eq!(first, second, "manifests and process say the same");
    }
}

#[tokio::test]
async fn explain_has_exit_codes_and_json() {
    let dir = folder(&shared(
        "upgrade: {mode: Require}",
        "127.0.0.1:9".parse().expect("it"),
    ));
    let path = dir.path().to_str().expect("UTF-8");
    let explain = |url, code| printed(&["explain", url, "--manifests", path, "-o", "json"], code);
    let told: Value =
        serde_json::from_str(&explain("ws://CHAT.test:8080/a/../ws", 0)).expect("JSON");
    assert_eq!(told["kind"], "WebSocketRoute");
    assert_eq!(told["path"], "Prefix /ws");
    assert_eq!(
        told["policy"][0],
        serde_json::json!({"name": "upgrade.mode", "value": "Require", "origin": "field spec.rules[main].upgrade.mode"})
    );
    assert_eq!(explain("ws://other.test/ws", 1), "null\n");
    printed(
        &["explain", "ws://chat.test/", "--manifests", "/no/such"],
        2,
    );
    // A port that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    printed(&["explain", "ws://chat.test/", "--admin", &address], 2);
}

#[tokio::test]
async fn an_accepted_handshake_has_no_reason() {
    let echo = origin::echo().await;
    let hawser = hawser::with(&manifest::websocket("chat", "/ws", &[echo.addr])).await;
    let _socket = client::ws(hawser.http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    let answer = client::get(hawser.admin, "localhost", "/metrics")
        .await
        .expect("metrics");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains(r#"rule="main",result="accepted",reason=""} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn flags_whose_feature_is_not_built_say_so_even_at_their_default() {
    let flags = ["--https", "0.0.0.0:8443", "--trusted-proxies", "10.0.0.0/8"];
    let hawser = hawser::with_flags(&chat(), &flags).await;
    let log = hawser.log();
    let told: Vec<_> = log
        .iter()
        .filter_map(|line| hawser::field(line, "flag"))
        .collect();
    assert_eq!(told, ["--https", "--trusted-proxies"]);
}

#[tokio::test]
async fn an_admin_address_beyond_loopback_is_warned_about() {
    let warns = |hawser: &hawser::Hawser| {
        let about = |line: &Value| line["level"] == "WARN" && line.to_string().contains("loopback");
        hawser.log().iter().any(about)
    };
    let open = hawser::with_flags(&chat(), &["--status", "0.0.0.0:0"]).await;
    assert!(!warns(&open), "the status address tells nothing of clients");
    let dir = folder(&chat());
    let mut child = Command::new(env!("CARGO_BIN_EXE_hawser"))
        .args(["run", "--http", "127.0.0.1:0", "--admin", "0.0.0.0:0"])
        .args(["--admin-write", "--manifests"])
        .arg(dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("hawser runs");
    let stderr = child.stderr.take().expect("a pipe");
    let warned = std::io::BufRead::lines(std::io::BufReader::new(stderr))
        .map_while(Result::ok)
        .take_while(|line| !line.contains("Programmed=True"))
        .any(|line| line.contains("not on loopback") && line.contains("can end every"));
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(warned);
}

#[test]
fn check_of_nothing_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = hawser(&["check", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no object"));
}
