//! What a person reads about a route that is served.

use std::time::Duration;

use super::{
    BACKEND, Site, normalised, plane,
    site::{echo, nowhere},
};
use crate::{
    crd::golden,
    kit::{client, eventually, manifest, within},
};

#[test]
fn a_person_sees_a_route_and_its_connections() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "seen").await;
        let hawser = site.hawser(&[]).await;
        let echo = echo().await;
        let not_ready = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: chat-later, labels: {{kubernetes.io/service-name: chat}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [\"{BACKEND}\"], conditions: {{ready: false}}}}]\n---\n",
            nowhere().port(),
        );
        site.apply(&(not_ready + &manifest::websocket("chat", "/ws", &[echo.addr])));
        let mut page = String::new();
        let mut show = |args: &[&str]| {
            let said = normalised(&site.kubectl(args), &site.namespace);
            page += &format!("$ kubectl {}\n{said}\n", args.join(" "));
        };
        show(&["wait", "--for=condition=Programmed", "--timeout=60s", "wsr/chat"]);
        eventually("counts are written", async || {
            let route = site.route("chat").await;
            (route["status"]["connections"]["active"] == 0).then_some(())
        })
        .await;
        show(&["get", "wsr"]);
        show(&["get", "wsr", "-o", "wide"]);

        let mut sockets = Vec::new();
        for _ in 0..3 {
            let socket = client::ws(hawser.http, "chat.test", "/ws").await;
            sockets.push(socket.expect("a WebSocket"));
        }
        // Counts of an object are written once a minute.
        within(Duration::from_mins(2), "the connections are told", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let route = site.route("chat").await;
            (route["status"]["connections"]["active"] == 3).then_some(())
        })
        .await;
        show(&["get", "wsr"]);

        site.apply(&manifest::route("lost", "lost.test", "/ws", "nobody", ""));
        site.told("lost", "BackendNotFound").await;
        site.says("lost", "Programmed", "True Programmed").await;
        eventually("counts are written", async || {
            let route = site.route("lost").await;
            route["status"]["connections"]["active"].is_number().then_some(())
        })
        .await;
        show(&["describe", "wsr", "lost"]);
        // Of routes only: now and then the API server has something to say about a Service.
        let ours = "involvedObject.kind=WebSocketRoute";
        show(&["get", "events", "--field-selector", ours]);
        let instance = &site.told("lost", "BackendNotFound").await[0]["reportingInstance"];
        let instance = instance.as_str().expect("a name");
        golden("status.txt", &page.replace(instance, "INSTANCE"));
    });
}
