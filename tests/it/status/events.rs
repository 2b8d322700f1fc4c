//! Events: once each, however often Hawser starts, and when all is well again.

use serde_json::Value;

use super::{Site, normalised, plane, site::text};
use crate::{
    crd::golden,
    kit::{eventually, manifest},
};

const INGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {hawser.dev/idle-timeout: soon, hawser.dev/upgrades: allow}
spec:
  ingressClassName: hawser
  rules:
  - host: web.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";

/// `object reason` of every event, sorted.
fn told(events: &[Value]) -> Vec<String> {
    let mut told: Vec<String> = events
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                text(&event["regarding"]["name"]),
                text(&event["reason"])
            )
        })
        .collect();
    told.sort();
    told
}

#[test]
fn each_is_told_once_whoever_starts_anew() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "told").await;
        let hawser = site.hawser(&[]).await;
        site.apply(&(INGRESS.to_owned() + "---\n" + &manifest::service("web", &[])));
        site.apply(&manifest::route("chat", "chat.test", "/ws", "nobody", ""));
        let expected = [
            "chat BackendNotFound",
            "web BadAnnotation",
            "web UnknownAnnotation",
        ];
        eventually("all is told", async || {
            (told(&site.events().await) == expected).then_some(())
        })
        .await;
        let mut page = site.kubectl(&["get", "events", "--sort-by=.reason"]);
        let before = site.events().await;

        let mark = plane.audit().mark();
        let hawser = site.restart(hawser, &[]).await;
        // It tries each of them and finds it there.
        eventually("events are told again", async || {
            let known = hawser.metric("hawser_events_total{result=\"known\"}").await;
            (known == Some(3.0)).then_some(())
        })
        .await;
        let again = site.events().await;
        assert_eq!(told(&again), expected);
        assert_eq!(again, before, "nothing of them was written anew");
        let mut writes = site.writes(mark);
        writes.retain(|write| write.resource == "events");
        assert!(writes.iter().all(|write| write.code == 409), "{writes:#?}");

        site.apply(&manifest::service("nobody", &[]));
        let well = site.told("chat", "Accepted").await;
        assert_eq!(text(&well[0]["type"]), "Normal");
        page += &site.kubectl(&["get", "events", "--field-selector=reason=Accepted"]);
        golden("events.txt", &normalised(&page, &site.namespace));
        assert_eq!(site.events().await.len(), expected.len() + 1);
    });
}
