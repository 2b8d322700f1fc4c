//! The CRD is not there, or newer than Hawser; objects that are refused alone.

use serde_json::{Value, json};

use super::{answers, apply, here, own_plane, page, plane, start, status, warnings};
use crate::kit::{client, control_plane::ControlPlane, eventually, manifest, origin, within};

const INGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  ingressClassName: hawser
  rules:
  - host: pages.test
    http: {paths: [{path: /plain, pathType: Prefix, backend: {service: {name: pages, port: {number: 80}}}}]}
---
";

#[test]
fn without_the_crd_ingresses_are_served_and_it_is_noticed_when_it_comes() {
    let plane = ControlPlane::api();
    plane.share(manifest::CLASS);
    plane.run(async || {
        let namespace = plane.namespace("no-crd").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + INGRESS;
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "plain", 200).await;
        let said = warnings(&hawser, 0);
        let about = said
            .iter()
            .filter(|line| line.contains("hawser crd | kubectl apply -f -"));
        assert_eq!(about.count(), 1, "{said:#?}");

        plane.install_crd();
        apply(&plane, &namespace, &page("first"));
        answers(&hawser, "first", 200).await;
        answers(&hawser, "plain", 200).await;

        // And gone again: its objects are gone with it.
        let crd = "crd/websocketroutes.hawser.dev";
        plane.kubectl(&["delete", "--wait=false", crd], "").text();
        answers(&hawser, "first", 404).await;
        answers(&hawser, "plain", 200).await;
        assert!(hawser.is_ready().await);
    });
}

/// The CRD as a later version may have it: one field more, one value more.
fn newer(plane: &ControlPlane) {
    let get = ["get", "crd", "websocketroutes.hawser.dev", "-o", "json"];
    let mut crd: Value = serde_json::from_str(&plane.kubectl(&get, "").text()).expect("JSON");
    let rule =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/rules/items/properties";
    let rule = crd.pointer_mut(rule).expect("the fields of a rule");
    rule["teleport"] = json!({"type": "boolean"});
    let modes = rule.pointer_mut("/upgrade/properties/mode/enum");
    let modes = modes.and_then(Value::as_array_mut).expect("the modes");
    modes.push(json!("Prefer"));
    crd["metadata"]["managedFields"] = Value::Null;
    plane
        .kubectl(&["replace", "-f", "-"], &crd.to_string())
        .text();
}

#[test]
fn of_a_newer_crd_fields_are_ignored_and_values_refused_alone() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("newer").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &page("old") + &page("other");
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "old", 200).await;
        let lines = hawser.log().len();
        newer(&plane);

        let with = |name: &str, extra: &str| {
            manifest::route(name, "pages.test", &format!("/{name}"), "pages", extra)
        };
        eventually("the API server takes the new schema", async || {
            let yaml = with("field", "teleport: true");
            let apply = ["apply", "-n", &namespace, "-f", "-"];
            plane.kubectl(&apply, &yaml).success.then_some(())
        })
        .await;
        answers(&hawser, "field", 200).await;
        eventually("the field is named", async || {
            let warnings = warnings(&hawser, lines);
            warnings
                .iter()
                .any(|line| line.contains("teleport"))
                .then_some(())
        })
        .await;

        let prefer = "upgrade: {mode: Prefer}";
        let changed = manifest::route("old", "pages.test", "/changed", "pages", prefer);
        let yaml = changed + &with("fresh", prefer) + &page("good");
        apply(&plane, &namespace, &yaml);
        answers(&hawser, "good", 200).await;
        assert_eq!(
            status(&hawser, "old").await,
            Some(200),
            "its last good version stays"
        );
        assert_eq!(status(&hawser, "changed").await, Some(404));
        assert_eq!(
            status(&hawser, "fresh").await,
            Some(404),
            "there never was a good one"
        );
        assert_eq!(status(&hawser, "other").await, Some(200));
        let refused = r#"hawser_source_refused_objects{kind="WebSocketRoute"}"#;
        assert_eq!(hawser.metric(refused).await, Some(2.0));
        for name in ["old", "fresh"] {
            let wait = [
                "wait",
                "-n",
                &namespace,
                "--timeout=30s",
                "--for=condition=Accepted=False",
                &format!("wsr/{name}"),
            ];
            plane.kubectl(&wait, "").text();
            let get = [
                "get",
                "-n",
                &namespace,
                &format!("wsr/{name}"),
                "-o",
                "jsonpath={.status.conditions[?(@.type=='Accepted')].message}",
            ];
            let message = plane.kubectl(&get, "").text();
            assert!(
                message.contains("Prefer") && message.contains("rules[0].upgrade.mode"),
                "{message}"
            );
        }
        apply(&plane, &namespace, &(page("old") + &page("fresh")));
        answers(&hawser, "fresh", 200).await;
        eventually("nothing is refused", async || {
            (hawser.metric(refused).await == Some(0.0)).then_some(())
        })
        .await;
    });
}

#[test]
fn one_wrong_object_among_a_thousand_is_alone() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("thousand").await;
        let http = origin::http_on(here()).await;
        newer(&plane);
        let wrong = manifest::route(
            "wrong",
            "pages.test",
            "/wrong",
            "pages",
            "upgrade: {mode: Prefer}",
        );
        eventually("the API server takes the new schema", async || {
            let apply = ["apply", "-n", &namespace, "-f", "-"];
            plane.kubectl(&apply, &wrong).success.then_some(())
        })
        .await;
        let yaml = manifest::service("pages", &[http.addr]) + &super::pages(0..999);
        let create = ["create", "--save-config=false", "-n", &namespace, "-f", "-"];
        plane.kubectl(&create, &yaml).text();
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        for name in ["page-0", "page-500", "page-998"] {
            answers(&hawser, name, 200).await;
        }
        // The wrong one is known, and serves nothing.
        assert_eq!(super::routes(&hawser).await, 1000);
        assert_eq!(status(&hawser, "wrong").await, Some(404));
        // The watch is not stuck behind it.
        apply(&plane, &namespace, &page("after"));
        answers(&hawser, "after", 200).await;
    });
}

#[test]
fn an_ingress_of_a_megabyte_and_five_thousand_paths_is_served_beside_others() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("large").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &page("small");
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        answers(&hawser, "small", 200).await;

        let service = json!({"service": {"name": "pages", "port": {"number": 80}}});
        let padding = "x".repeat(130);
        let paths: Vec<Value> = (0..5_000)
            .map(|number| {
                let path = format!("/large/{number}/{padding}");
                json!({"path": path, "pathType": "Prefix", "backend": service})
            })
            .collect();
        let large = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "large"},
            "spec": {"ingressClassName": "hawser", "rules": [{"host": "large.test", "http": {"paths": paths}}]},
        });
        let large = large.to_string();
        println!("{} bytes", large.len());
        assert!(large.len() > 1_000_000);
        plane.kubectl(&["create", "-n", &namespace, "-f", "-"], &large).text();
        let last = format!("/large/4999/{padding}");
        within(super::CONVERGED, "the last path is served", async || {
            let answer = client::get(hawser.http, "large.test", &last).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        assert_eq!(status(&hawser, "small").await, Some(200));
        apply(&plane, &namespace, &page("after"));
        answers(&hawser, "after", 200).await;
    });
}

#[test]
fn a_name_outside_of_the_cluster_is_no_backend() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("external").await;
        let http = origin::http_on(here()).await;
        let mut yaml = manifest::service("pages", &[http.addr]) + &page("inside");
        for (name, target) in [("local", "localhost"), ("meta", "metadata.internal"), ("other", "pages.other.svc.cluster.local")] {
            yaml += &format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {target}, ports: [{{name: http, port: 80}}]}}\n---\n"
            );
            yaml += &manifest::route(name, "pages.test", &format!("/{name}"), name, "");
        }
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;
        answers(&hawser, "inside", 200).await;
        let view = hawser.judged(4).await;
        for name in ["local", "meta", "other"] {
            answers(&hawser, name, 500).await;
            let verdict = view["verdicts"].as_array().and_then(|all| {
                all.iter().find(|verdict| verdict["object"].to_string().contains(&format!("\"{name}\"")))
            });
            let text = verdict.expect("a verdict").to_string();
            assert!(text.contains("is an ExternalName"), "{text}");
        }
    });
}
