//! Conditions: each reason, when they change and when they do not, and what others wrote.

use serde_json::{Value, json};

use super::{
    Site, plane,
    site::{condition, nowhere, text},
};
use crate::kit::{eventually, manifest};

/// A route of two rules; the regular expression of the second one is broken unless `good`.
fn two_rules(good: bool) -> String {
    let regex = if good { "/v[0-9]+" } else { "/v[0-9" };
    let rule = |name: &str, type_: &str, path: &str| {
        format!(
            "  - {{name: {name}, matches: [{{path: {{type: {type_}, value: \"{path}\"}}}}], backendRefs: [{{name: chat, port: 80}}]}}\n"
        )
    };
    format!(
        "apiVersion: hawser.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {{name: chat}}\nspec:\n  hostnames: [chat.test]\n  rules:\n{}{}---\n",
        rule("plain", "Prefix", "/ws"),
        rule("versions", "Regex", regex),
    )
}

/// Waits until the next second has begun: times of conditions have no fractions.
async fn a_second_later(time: &Value) {
    let before: jiff::Timestamp = text(time).parse().expect("a time");
    eventually("a second passes", async || {
        let passed = jiff::Timestamp::now().as_second() > before.as_second() + 1;
        passed.then_some(())
    })
    .await;
}

#[test]
fn a_backend_that_is_missing_comes_and_loses_its_port() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "missing").await;
        let _hawser = site.hawser(&[]).await;
        site.apply(&manifest::route("chat", "chat.test", "/ws", "chat", ""));
        let missing = site
            .says("chat", "ResolvedRefs", "False BackendNotFound")
            .await;
        let expected = format!(
            "rule \"main\": spec.rules[0].backendRefs[0]: there is no Service {}/chat",
            site.namespace
        );
        assert_eq!(text(&missing["message"]), expected);
        let accepted = site.says("chat", "Accepted", "True Accepted").await;
        site.says("chat", "Programmed", "True Programmed").await;
        assert_eq!(
            site.route("chat").await["status"]["reason"],
            "BackendNotFound"
        );

        a_second_later(&missing["lastTransitionTime"]).await;
        site.apply(&manifest::service("chat", &[nowhere()]));
        let found = site.says("chat", "ResolvedRefs", "True ResolvedRefs").await;
        assert!(text(&found["lastTransitionTime"]) > text(&missing["lastTransitionTime"]));
        let route = site.route("chat").await;
        assert_eq!(route["status"]["reason"], "Programmed");
        assert_eq!(
            condition(&route, "Accepted"),
            Some(&accepted),
            "it did not change"
        );

        site.patch(
            "service/chat",
            r#"{"spec": {"ports": [{"name": "http", "port": 81}]}}"#,
        );
        let port = site
            .says("chat", "ResolvedRefs", "False PortNotFound")
            .await;
        assert!(text(&port["message"]).contains("no TCP port 80"), "{port}");
    });
}

#[test]
fn rules_are_named_and_times_move_only_when_a_status_flips() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "rules").await;
        let _hawser = site.hawser(&[]).await;
        site.apply(&(manifest::service("chat", &[nowhere()]) + &two_rules(false)));
        let partial = site
            .says("chat", "PartiallyInvalid", "True InvalidSpec")
            .await;
        assert!(
            text(&partial["message"]).starts_with("left out: rule \"versions\": "),
            "{partial}"
        );
        let programmed = site.says("chat", "Programmed", "True Programmed").await;
        let accepted = site.says("chat", "Accepted", "True Accepted").await;
        let route = site.route("chat").await;
        assert_eq!(route["status"]["reason"], "InvalidSpec");
        assert_eq!(route["status"]["observedGeneration"], 1);

        a_second_later(&programmed["lastTransitionTime"]).await;
        site.apply(&two_rules(true));
        let again = site.says("chat", "Programmed", "True Programmed").await;
        assert_eq!(again["observedGeneration"], 2);
        assert_eq!(
            again["lastTransitionTime"],
            programmed["lastTransitionTime"]
        );
        let route = site.route("chat").await;
        assert_eq!(condition(&route, "PartiallyInvalid"), None);
        assert_eq!(route["status"]["reason"], "Programmed");
        assert_eq!(route["status"]["observedGeneration"], 2);

        let only_bad = json!({"spec": {"rules": [{
            "name": "versions",
            "matches": [{"path": {"type": "Regex", "value": "/v[0-9"}}],
            "backendRefs": [{"name": "chat", "port": 80}],
        }]}});
        site.patch("wsr/chat", &only_bad.to_string());
        let refused = site.says("chat", "Accepted", "False InvalidSpec").await;
        assert!(
            text(&refused["message"]).contains("rule \"versions\""),
            "{refused}"
        );
        assert!(text(&refused["lastTransitionTime"]) > text(&accepted["lastTransitionTime"]));
        let dead = site.says("chat", "Programmed", "False NoValidRule").await;
        assert!(text(&dead["lastTransitionTime"]) > text(&programmed["lastTransitionTime"]));
        assert_eq!(site.route("chat").await["status"]["reason"], "InvalidSpec");
    });
}

#[test]
fn a_conflict_names_the_winner() {
    let plane = plane();
    plane.run(async || {
        let elsewhere = plane.namespace("winner").await;
        let site = Site::with(&plane, "loser", &[&elsewhere]).await;
        let _hawser = site.hawser(&[]).await;
        let route = manifest::route("first", "conflict.test", "/ws", "chat", "");
        let args = ["apply", "-n", &elsewhere, "-f", "-"];
        plane.kubectl(&args, &route).text();
        // The creation time decides, and it has no fractions.
        let path =
            format!("/apis/hawser.dev/v1alpha1/namespaces/{elsewhere}/websocketroutes/first");
        let first = site.get(&path).await;
        a_second_later(&first["metadata"]["creationTimestamp"]).await;
        site.apply(&manifest::route(
            "second",
            "conflict.test",
            "/ws",
            "chat",
            "",
        ));
        let lost = site.says("second", "Accepted", "False Conflicted").await;
        assert!(
            text(&lost["message"]).contains(&format!("{elsewhere}/first")),
            "{lost}"
        );
        site.says("second", "Programmed", "False NoValidRule").await;

        plane
            .kubectl(&["delete", "-n", &elsewhere, "wsr/first"], "")
            .text();
        site.says("second", "Accepted", "True Accepted").await;
        site.says("second", "Programmed", "True Programmed").await;
    });
}

/// Who owns what of the status, `manager: fields`.
fn owners(object: &Value) -> Vec<String> {
    let fields = object["metadata"]["managedFields"]
        .as_array()
        .expect("managers");
    let mut owners: Vec<String> = fields
        .iter()
        .filter(|entry| entry["subresource"] == "status")
        .map(|entry| {
            let status = entry["fieldsV1"]["f:status"].as_object().expect("fields");
            let fields: Vec<&str> = status
                .keys()
                .map(|key| key.trim_start_matches("f:"))
                .collect();
            format!("{}: {}", text(&entry["manager"]), fields.join(" "))
        })
        .collect();
    owners.sort();
    owners
}

#[test]
fn what_others_wrote_stays_and_ours_goes_with_the_class() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "owners").await;
        let _hawser = site.hawser(&[]).await;
        site.apply(&manifest::websocket("chat", "/ws", &[nowhere()]));
        site.says("chat", "Programmed", "True Programmed").await;
        site.apply_status(
            "auditor",
            "apiVersion: hawser.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {name: chat}\nstatus: {conditions: [{type: Audited, status: \"True\", \
             reason: Fine, message: \"\", lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}",
        );
        eventually("counts are written", async || {
            let route = site.route("chat").await;
            (route["status"]["endpoints"]["summary"] == "1/1").then_some(())
        })
        .await;
        let expected = [
            "auditor: conditions",
            "hawser-counts: connections endpoints",
            "hawser: conditions observedGeneration reason",
        ];
        assert_eq!(owners(&site.route("chat").await), expected);

        // Conditions are written anew; counts stay.
        site.patch("wsr/chat", r#"{"spec": {"hostnames": ["talk.test"]}}"#);
        site.says("chat", "Programmed", "True Programmed").await;
        let route = site.route("chat").await;
        assert_eq!(owners(&route), expected);
        assert_eq!(route["status"]["endpoints"]["summary"], "1/1");

        site.patch("wsr/chat", r#"{"spec": {"ingressClassName": "other"}}"#);
        let status = eventually("our status is gone", async || {
            let route = site.route("chat").await;
            let mut status = route["status"].clone();
            (owners(&route) == expected[..1]).then(|| status.take())
        })
        .await;
        let conditions = status["conditions"].as_array().expect("conditions");
        assert_eq!(conditions.len(), 1, "{status}");
        assert_eq!(conditions[0]["type"], "Audited");
        for ours in ["observedGeneration", "reason", "endpoints", "connections"] {
            assert!(status[ours].is_null(), "{status}");
        }

        site.patch("wsr/chat", r#"{"spec": {"ingressClassName": "hawser"}}"#);
        site.says("chat", "Programmed", "True Programmed").await;
        let route = site.route("chat").await;
        assert!(condition(&route, "Audited").is_some(), "{route}");
    });
}
