//! A whole process on a directory: what an operator sees when manifests are missing, wrong, many or gone.

use std::{fmt::Write, fs::Permissions, os::unix::fs::PermissionsExt, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser, hawser::Hawser, manifest, origin, within};

/// Ten thousand routes take 7 s of processor time without optimisation, most of it in the YAML parser and the
/// schema; other tests leave a tenth of a processor to it.
const MUCH_WORK: Duration = Duration::from_mins(3);

async fn answers(hawser: &Hawser, host: &str, path: &str, status: u16) {
    eventually(&format!("{host}{path} answers {status}"), async || {
        let answer = client::get(hawser.http, host, path).await.ok()?;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_route_answers_404_and_its_open_socket_goes_on() {
    let echo = origin::echo().await;
    let hawser = hawser::with(&manifest::service("chat", &[echo.addr])).await;
    hawser.write(
        "route.yaml",
        &manifest::route(
            "chat",
            "chat.test",
            "/ws",
            "chat",
            "upgrade: {mode: Require}",
        ),
    );
    answers(&hawser, "chat.test", "/ws", 426).await;
    let mut socket = client::ws(hawser.http, "chat.test", "/ws")
        .await
        .expect("a handshake");
    hawser.delete("route.yaml");
    answers(&hawser, "chat.test", "/ws", 404).await;
    socket
        .send(Message::text("still there"))
        .await
        .expect("sent");
    let echoed = socket.next().await.expect("open").expect("a message");
    assert_eq!(echoed, Message::text("still there"));
}

#[tokio::test]
async fn a_directory_that_disappears_changes_nothing_but_the_log() {
    let pages = origin::http().await;
    let hawser = hawser::with(&manifest::websocket("pages", "/", &[pages.addr])).await;
    let dir = hawser
        .path("main.yaml")
        .parent()
        .expect("its directory")
        .to_owned();
    let away = dir.with_extension("away");
    std::fs::rename(&dir, &away).expect("renamed");
    hawser
        .logged("an error names the directory", |line| {
            line["level"] == "ERROR" && line.to_string().contains(dir.to_str().expect("UTF-8"))
        })
        .await;
    for _ in 0..20 {
        let answer = client::get(hawser.http, "pages.test", "/")
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let ready = client::get(hawser.admin, "localhost", "/readyz")
        .await
        .expect("an answer");
    assert_eq!(ready.status, 200, "still ready");

    std::fs::rename(&away, &dir).expect("renamed back");
    hawser.write(
        "more.yaml",
        &manifest::route("more", "more.test", "/", "pages", ""),
    );
    answers(&hawser, "more.test", "/", 200).await;
}

#[tokio::test]
async fn a_file_without_read_permission_costs_only_itself_until_it_has_it() {
    let pages = origin::http().await;
    let hawser = hawser::with(&manifest::websocket("pages", "/", &[pages.addr])).await;
    let file = hawser.path("closed.yaml");
    let hidden = hawser.path(".closed");
    let yaml = manifest::route("closed", "closed.test", "/", "pages", "");
    std::fs::write(&hidden, yaml).expect("written");
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o000)).expect("closed");
    std::fs::rename(&hidden, &file).expect("renamed");
    hawser
        .logged("an error names the file and the permission", |line| {
            let text = line.to_string();
            line["level"] == "ERROR"
                && text.contains("closed.yaml")
                && text.contains("ermission denied")
        })
        .await;
    answers(&hawser, "pages.test", "/", 200).await;
    answers(&hawser, "closed.test", "/", 404).await;
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("opened");
    answers(&hawser, "closed.test", "/", 200).await;
}

#[tokio::test]
async fn what_is_missing_is_told_and_costs_only_its_own_route() {
    let pages = origin::http().await;
    let mut yaml = manifest::websocket("good", "/", &[pages.addr]);
    yaml += &manifest::service("empty", &[]);
    yaml += &manifest::route("empty", "empty.test", "/", "empty", "");
    yaml += &manifest::route("gone", "gone.test", "/", "no-such-service", "");
    yaml += &manifest::route("port", "port.test", "/", "good", "").replace("port: 80", "port: 81");
    yaml += "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: theirs}\nspec: {controller: example.com/other}\n---\n\
             apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: ours, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}\nspec: {controller: hawser.dev/ingress-controller}\n---\n";
    yaml += &manifest::route("theirs", "theirs.test", "/", "good", "")
        .replace("spec:\n", "spec:\n  ingressClassName: theirs\n");
    let hawser = hawser::with(&yaml).await;

    answers(&hawser, "good.test", "/", 200).await;
    answers(&hawser, "empty.test", "/", 503).await;
    answers(&hawser, "gone.test", "/", 500).await;
    answers(&hawser, "port.test", "/", 500).await;
    answers(&hawser, "theirs.test", "/", 404).await;

    let view = hawser.judged(5).await;
    let reason = |name: &str| {
        let verdicts = view["verdicts"].as_array().expect("an array");
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict["object"]["name"] == name);
        let conditions = &verdict.expect("a verdict")["conditions"];
        let refs = conditions.as_array().into_iter().flatten();
        refs.clone()
            .find(|condition| condition["type"] == "ResolvedRefs")
            .map_or(String::new(), |condition| {
                condition["reason"].as_str().expect("text").to_owned()
            })
    };
    assert_eq!(reason("good"), "ResolvedRefs");
    assert_eq!(reason("gone"), "BackendNotFound");
    assert_eq!(reason("port"), "PortNotFound");
    assert_eq!(reason("theirs"), "", "another controller's");
}

#[tokio::test]
async fn ten_thousand_routes_in_one_file_and_a_file_of_ten_megabytes() {
    let pages = origin::http().await;
    let hawser = hawser::with(&manifest::service("pages", &[pages.addr])).await;
    let mut many = String::new();
    for number in 0..10_000 {
        many += &manifest::route(
            &format!("r{number}"),
            &format!("h{number}.test"),
            "/",
            "pages",
            "",
        );
    }
    // Far above every other file in the field, far below the limit of a file.
    let padding = 10 * 1024 * 1024 - many.len();
    let _ = writeln!(many, "# {}", "x".repeat(padding));
    hawser.write("many.yaml", &many);
    within(MUCH_WORK, "the last of 10,000 routes answers", async || {
        let answer = client::get(hawser.http, "h9999.test", "/").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    answers(&hawser, "h0.test", "/", 200).await;
    // Requests see a table a moment before its figures are written.
    eventually("10,000 objects are counted", async || {
        let series = "hawser_table_objects{kind=\"WebSocketRoute\"}";
        let counted = hawser.metric(series).await;
        (counted == Some(10_000.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn flags_of_later_features_say_that_they_do_nothing() {
    let hawser = hawser::with_flags("", &["--trusted-proxies", "10.0.0.0/8"]).await;
    hawser
        .logged("--trusted-proxies has no effect", |line| {
            line["level"] == "WARN" && line.to_string().contains("--trusted-proxies")
        })
        .await;
}

#[tokio::test]
async fn the_status_address_serves_probes_and_metrics_only() {
    let hawser = hawser::with_flags("", &["--status", "127.0.0.1:0"]).await;
    let line = hawser
        .logged("the status address", |line| {
            hawser::field(line, "message") == Some("listening for status requests")
        })
        .await;
    let status = hawser::field(&line, "address")
        .expect("an address")
        .parse()
        .expect("an address");
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/v1/routes", 404),
        ("/api/v1/connections", 404),
    ] {
        let answer = client::get(status, "status.test", path)
            .await
            .expect("an answer");
        assert_eq!(answer.status, expected, "{path}");
    }
}

#[tokio::test]
async fn verdicts_of_the_admin_address_are_conditions_as_kubernetes_writes_them() {
    let hawser = hawser::with(&manifest::route("chat", "chat.test", "/", "gone", "")).await;
    let view = hawser.judged(1).await;
    let conditions = view["verdicts"][0]["conditions"]
        .as_array()
        .expect("conditions");
    let told: Vec<_> = conditions
        .iter()
        .map(|it| [&it["type"], &it["status"], &it["reason"]].map(|text| text.as_str()))
        .collect();
    let expected = [
        ["Accepted", "True", "Accepted"],
        ["ResolvedRefs", "False", "BackendNotFound"],
        ["Programmed", "True", "Programmed"],
    ];
    assert_eq!(told, expected.map(|words| words.map(Some)));
}
