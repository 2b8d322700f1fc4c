//! Text of tenants in what is reported (row 34 of the fault catalogue): it stays text, in one line.

use serde_json::{Value, json};

use super::{
    Site, plane,
    site::{echo, text},
};
use crate::kit::{client, eventually, manifest};

/// What has broken templates, logs and terminals elsewhere.
const TEXT: &str = "a\n}\r\"'`$(reboot) ${x} {{x}} %s \u{1b}[31m\u{202e} end";

fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "web",
            "annotations": {
                "hawser.dev/upgrade": TEXT,
                "hawser.dev/allowed-origins": format!("https://a.test,{TEXT}"),
                "hawser.dev/unknown": TEXT,
                "example.com/other": TEXT,
            },
        },
        "spec": {
            "ingressClassName": "hawser",
            "rules": [{"host": "web.test", "http": {"paths": [{
                "path": "/a\"}$x", "pathType": "Prefix", "backend": {"service": {"name": "chat", "port": {"name": "no-port"}}},
            }]}}],
        },
    })
}

fn route() -> Value {
    json!({
        "apiVersion": "hawser.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "odd", "annotations": {"hawser.dev/unknown": TEXT}},
        "spec": {
            "hostnames": ["odd.test"],
            "rules": [
                {"name": "good", "backendRefs": [{"name": "chat", "port": 80}]},
                {
                    "name": "odd",
                    "matches": [{"path": {"type": "Regex", "value": "/a}$(reboot){{x}}'%s["}}],
                    "backendRefs": [{"name": "chat", "port": 80}],
                },
            ],
        },
    })
}

#[track_caller]
fn one_line(told: &Value) {
    let message = text(told);
    let bad = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(
        !message.is_empty() && !message.chars().any(bad),
        "{message:?}"
    );
}

/// A line of `/metrics` is a comment, or a name, labels in quotes with escapes, and a number.
#[track_caller]
fn metric(line: &str) {
    let label = r#"[a-z_]+="([^"\\]|\\["\\n])*""#;
    let labels = format!(r"(\{{{label}(,{label})*\}})?");
    let sample = regex::Regex::new(&format!(r"^hawser_[a-z_]+{labels} [-+.eE0-9Inf]+$"));
    let good = line.starts_with("# ") || sample.expect("an expression").is_match(line);
    assert!(good, "{line}");
}

#[test]
fn text_of_tenants_stays_text() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "hostile").await;
        let hawser = site.hawser(&["--publish-address=203.0.113.7"]).await;
        let echo = echo().await;
        site.apply(&manifest::websocket("chat", "/ws", &[echo.addr]));
        site.says("chat", "Programmed", "True Programmed").await;
        site.apply(&ingress().to_string());
        site.apply(&route().to_string());

        let partial = site
            .says("odd", "PartiallyInvalid", "True InvalidSpec")
            .await;
        one_line(&partial["message"]);
        for (object, reason) in [
            ("web", "BadAnnotation"),
            ("web", "UnknownAnnotation"),
            ("web", "PortNotFound"),
            ("odd", "InvalidSpec"),
        ] {
            for event in site.told(object, reason).await {
                one_line(&event["note"]);
            }
        }
        let table = site.kubectl(&["get", "events", "--no-headers"]);
        assert_eq!(table.lines().count(), site.events().await.len(), "{table}");

        for (host, path) in [("chat.test", "/ws"), ("odd.test", "/")] {
            client::ws(hawser.http, host, path)
                .await
                .expect("a WebSocket");
        }

        // Row 86: the longest name that there can be, and a path that must be escaped, are labels of one line each.
        let mut long = ingress();
        long["metadata"] = json!({"name": "n".repeat(253)});
        long["spec"]["rules"][0]["host"] = json!("long.test");
        long["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("/a\"}x");
        site.apply(&long.to_string());
        eventually("it is served", async || {
            let answer = client::get(hawser.http, "long.test", "/a%22%7Dx").await;
            let answer = answer.expect("an answer");
            assert!(answer.status < 600);
            let metrics = client::get(hawser.admin, "localhost", "/metrics").await;
            let metrics = metrics.expect("metrics").text();
            for line in metrics.lines() {
                metric(line);
            }
            metrics
                .contains(&format!("route=\"{}\"", "n".repeat(253)))
                .then_some(())
        })
        .await;
    });
}
