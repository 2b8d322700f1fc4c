//! What changes nothing that is served makes no new table.

use std::time::Duration;

use super::{answers, apply, here, page, plane, start};
use crate::kit::{eventually, manifest, origin};

const INGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  ingressClassName: hawser
  rules:
  - host: plain.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: pages, port: {number: 80}}}}]}
---
";

#[test]
fn statuses_and_bookkeeping_make_no_table() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("noise").await;
        let pages = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[pages.addr]) + &page("first") + INGRESS;
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        answers(&hawser, "first", 200).await;
        let before = hawser.generation().await;

        let status = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}"#;
        let condition = r#"{"status": {"conditions": [{"type": "Noise", "status": "True", "reason": "Noise",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;
        let reason = r#"{"status": {"reason": "Noise"}}"#;
        let patch: &[&str] = &["patch", "--subresource=status", "--type=merge", "-p"];
        let noises: [&[&str]; 6] = [
            &[patch, &[status, "ingress/plain"]].concat(),
            &[patch, &[condition, "service/pages"]].concat(),
            &[patch, &[reason, "wsr/first"]].concat(),
            &["annotate", "service/pages", "example.com/note=1"],
            &["annotate", "endpointslice/pages-0", "example.com/note=1"],
            // Bookkeeping only: managedFields of another writer.
            &[
                "annotate",
                "service/pages",
                "--field-manager=other",
                "--overwrite",
                "example.com/note=2",
            ],
        ];
        for noise in noises {
            let seen = hawser.metric(LAST_EVENT).await;
            // Timestamps of two events differ.
            tokio::time::sleep(Duration::from_millis(5)).await;
            plane
                .kubectl(&[&["-n", &namespace], noise].concat(), "")
                .text();
            eventually(&format!("Hawser sees {noise:?}"), async || {
                (hawser.metric(LAST_EVENT).await != seen).then_some(())
            })
            .await;
        }
        // The API server makes no event of this.
        apply(&plane, &namespace, &yaml);

        apply(&plane, &namespace, &page("second"));
        answers(&hawser, "second", 200).await;
        let after = eventually("the metric follows", async || {
            let after = hawser.generation().await;
            (after > before).then_some(after)
        })
        .await;
        assert_eq!(after, before + 1, "only the new route made a table");
    });
}

const LAST_EVENT: &str = "hawser_source_last_event_timestamp_seconds";
