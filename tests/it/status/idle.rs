//! What Hawser asks of the API server while nothing or little happens.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::json;

use super::{Site, plane, site::nowhere};
use crate::kit::{
    audit::{Entry, Mark},
    control_plane::ControlPlane,
    eventually, manifest,
};

const ROUTES: usize = 60;
const INGRESSES: usize = 140;

/// No change for so long; counts that were written less often than once a minute would show.
const IDLE: Duration = Duration::from_secs(65);

/// 60 `WebSocketRoutes` and 140 Ingresses of one Service.
fn objects() -> String {
    let mut text = manifest::service("chat", &[nowhere()]);
    for number in 0..ROUTES {
        let (name, host) = (format!("chat-{number}"), format!("chat-{number}.test"));
        text += &manifest::route(&name, &host, "/ws", "chat", "");
    }
    for number in 0..INGRESSES {
        let _ = write!(
            text,
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web-{number}}}\nspec:\n  ingressClassName: hawser\n  rules:\n  - host: \
             web-{number}.test\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: chat, port: {{number: 80}}}}}}}}]}}\n---\n"
        );
    }
    text
}

/// Requests of a user by what they were.
fn requests(plane: &ControlPlane, user: &str, mark: Mark) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in plane.audit().of(user, mark) {
        *counts.entry(entry.needs().0).or_insert(0) += 1;
    }
    counts
}

async fn all_reported(site: &Site<'_>) {
    let namespace = &site.namespace;
    let path = format!("/apis/hawser.dev/v1alpha1/namespaces/{namespace}/websocketroutes");
    site.all(&path, ROUTES, |route| {
        let status = &route["status"];
        status["reason"] == "Programmed" && status["endpoints"]["summary"] == "1/1"
    })
    .await;
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses");
    site.all(&path, INGRESSES, |ingress| {
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    })
    .await;
}

#[test]
fn nothing_is_written_while_nothing_changes_and_after_a_restart() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "idle").await;
        let flags = ["--publish-address=203.0.113.7"];
        let hawser = site.hawser(&flags).await;
        site.apply(&objects());
        all_reported(&site).await;

        let idle = async |what: &str, mark: Mark| {
            // The time itself is what is tested.
            tokio::time::sleep(IDLE).await;
            let requests = requests(&plane, &site.user(), mark);
            println!("{what}: requests in {IDLE:?}: {requests:#?}");
            // The Lease is renewed every 2 s, and each watch is asked for anew at least once a minute.
            let count: usize = requests.values().sum();
            assert!(count <= 90, "{what}: {requests:#?}");
            let writes = site.writes(mark);
            assert!(writes.is_empty(), "{what}: {writes:#?}");
        };
        idle("idle", plane.audit().mark()).await;
        let mark = plane.audit().mark();
        let _hawser = site.restart(hawser, &flags).await;
        idle("after a restart", mark).await;
    });
}

#[test]
fn ten_changes_a_second_cost_one_write_each() {
    const CHANGES: usize = 100;
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "busy").await;
        let _hawser = site.hawser(&[]).await;
        site.apply(&manifest::websocket("chat", "/ws", &[nowhere()]));
        site.says("chat", "Programmed", "True Programmed").await;
        eventually("counts are written", async || {
            site.route("chat").await["status"]["endpoints"]["summary"]
                .is_string()
                .then_some(())
        })
        .await;
        let client = plane.client().await;
        let api: kube::Api<hawser::api::WebSocketRoute> =
            kube::Api::namespaced(client, &site.namespace);
        let mark = plane.audit().mark();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for number in 0..CHANGES {
            ticks.tick().await;
            let host = format!("chat-{number}.test");
            let patch = json!({"spec": {"hostnames": [host]}});
            let patch = kube::api::Patch::Merge(patch);
            api.patch("chat", &kube::api::PatchParams::default(), &patch)
                .await
                .expect("it is changed");
        }
        site.says("chat", "Programmed", "True Programmed").await;
        let requests = requests(&plane, &site.user(), mark);
        println!("{CHANGES} changes, 10 in a second: {requests:#?}");
        let mut writes: Vec<Entry> = site.writes(mark);
        writes.retain(|write| write.code == 200 && !write.uri.contains("hawser-counts"));
        assert!(writes.len() <= CHANGES, "{} writes", writes.len());
    });
}
