//! The ADDRESS of an Ingress.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{Site, plane, site::text};
use crate::kit::{audit, eventually, manifest, within};

const INGRESSES: usize = 1000;

/// An Ingress of a class; its backend is missing, which is no matter for its address.
fn ingress(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": class,
            "rules": [{"host": format!("{name}.test"), "http": {"paths": [{
                "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    })
}

/// Addresses of an Ingress, in order.
fn addresses(ingress: &Value) -> Vec<String> {
    let entries = ingress["status"]["loadBalancer"]["ingress"].as_array();
    let entries = entries.into_iter().flatten();
    entries
        .map(|entry| format!("{}{}", text(&entry["ip"]), text(&entry["hostname"])))
        .collect()
}

async fn has(site: &Site<'_>, name: &str, expected: &[&str]) {
    eventually(&format!("{name} has {expected:?}"), async || {
        (addresses(&site.ingress(name).await) == expected).then_some(())
    })
    .await;
}

#[test]
fn a_thousand_ingresses_get_their_address_in_one_write_each() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "thousand").await;
        let _hawser = site.hawser(&["--publish-address=203.0.113.7"]).await;
        let api: Api<Ingress> = Api::namespaced(plane.client().await, &site.namespace);
        let mark = plane.audit().mark();
        let start = Instant::now();
        site.apply(&ingress("foreign", "other").to_string());
        stream::iter(0..INGRESSES)
            .for_each_concurrent(16, async |number| {
                let object = ingress(&format!("web-{number}"), "hawser");
                let object = serde_json::from_value(object).expect("an Ingress");
                api.create(&PostParams::default(), &object)
                    .await
                    .expect("it is made");
            })
            .await;
        let applied = start.elapsed();
        let path = format!(
            "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
            site.namespace
        );
        site.all(&path, INGRESSES, |ingress| {
            addresses(ingress) == ["203.0.113.7"]
        })
        .await;
        println!(
            "{INGRESSES} Ingresses: made after {applied:?}, all have an address after {:?}",
            start.elapsed()
        );

        let table = site.kubectl(&["get", "ingress"]);
        let with_address = table
            .lines()
            .filter(|line| line.contains(" 203.0.113.7 "))
            .count();
        assert_eq!(with_address, INGRESSES, "{table}");
        let writes = audit::exactly(INGRESSES, "writes, one for each", || {
            let mut writes = site.writes(mark);
            writes.retain(|write| write.resource == "ingresses");
            writes
        })
        .await;
        for write in &writes {
            assert_eq!(
                (write.code, write.subresource.as_str()),
                (200, "status"),
                "{write:?}"
            );
        }
        let names: BTreeSet<_> = writes.iter().map(|write| write.name.as_str()).collect();
        assert_eq!(names.len(), INGRESSES);
        assert!(!names.contains("foreign"));
        // 50 a second, and those of one second at once.
        let mut times: Vec<jiff::Timestamp> = Vec::new();
        for write in &writes {
            times.push(write.at.parse().expect("a time"));
        }
        times.sort();
        for (place, from) in times.iter().enumerate().step_by(10) {
            let until = *from + Duration::from_secs(5);
            let within = times[place..].iter().take_while(|time| **time < until);
            let count = within.count();
            assert!(count <= 50 + 5 * 50 + 10, "{count} in five seconds");
        }
    });
}

#[test]
fn an_address_goes_with_the_class_and_what_others_wrote_stays() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "classes").await;
        let mark = plane.audit().mark();
        let _hawser = site.hawser(&["--publish-address=203.0.113.7,lb.example.com"]).await;
        for (name, class) in [("ours", "hawser"), ("theirs", "other"), ("moved", "hawser")] {
            site.apply(&ingress(name, class).to_string());
        }
        let status = |name: &str, ip: &str| {
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nstatus: {{loadBalancer: {{ingress: [{{ip: {ip}}}]}}}}"
            )
        };
        site.apply_status("other", &status("theirs", "192.0.2.1"));
        let ours = ["203.0.113.7", "lb.example.com"];
        has(&site, "ours", &ours).await;
        has(&site, "moved", &ours).await;

        // Another controller takes it over, and writes before Hawser has taken its own back.
        site.patch("ingress/moved", r#"{"spec": {"ingressClassName": "other"}}"#);
        site.apply_status("other", &status("moved", "192.0.2.2"));
        site.patch("ingress/ours", r#"{"spec": {"ingressClassName": "other"}}"#);
        has(&site, "ours", &[]).await;
        let managers = site.ingress("ours").await["metadata"]["managedFields"].to_string();
        assert!(!managers.contains("\"status\""), "nothing is owned: {managers}");
        has(&site, "theirs", &["192.0.2.1"]).await;
        has(&site, "moved", &["192.0.2.2"]).await;

        site.patch("ingress/ours", r#"{"spec": {"ingressClassName": "hawser"}}"#);
        has(&site, "ours", &ours).await;
        let writes = site.writes(mark);
        assert!(!writes.iter().any(|write| write.name == "theirs"), "{writes:?}");
    });
}

#[test]
fn addresses_follow_a_service() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "balancer").await;
        let service = |ip: &str| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: hawser}}\nstatus: {{loadBalancer: {{ingress: [{{ip: {ip}}}]}}}}"
            )
        };
        site.apply("apiVersion: v1\nkind: Service\nmetadata: {name: hawser}\nspec: {type: LoadBalancer, ports: [{port: 80}]}");
        let flag = format!("--publish-service={}/hawser", site.namespace);
        let _hawser = site.hawser(&[&flag]).await;
        site.apply(&ingress("web", "hawser").to_string());
        site.told("web", "BackendNotFound").await;
        assert_eq!(addresses(&site.ingress("web").await), [""; 0]);

        site.apply_status("cloud", &service("203.0.113.1"));
        has(&site, "web", &["203.0.113.1"]).await;
        site.apply_status("cloud", &service("203.0.113.2"));
        has(&site, "web", &["203.0.113.2"]).await;
        site.apply(&ingress("more", "hawser").to_string());
        within(Duration::from_mins(1), "kubectl shows them", async || {
            let table = site.kubectl(&["get", "ingress"]);
            let shown = table.lines().filter(|line| line.contains(" 203.0.113.2 ")).count();
            (shown == 2).then_some(())
        })
        .await;
    });
}

/// Two installs of one address: what the one gives up stays the other's, and none touches the other's again.
#[test]
fn installs_with_the_same_address_leave_each_other_alone() {
    let plane = plane();
    plane.run(async || {
        let first = Site::new(&plane, "first").await;
        let second = Site::with(&plane, "second", &[&first.namespace]).await;
        let address = "--publish-address=203.0.113.7";
        let hawser = first.hawser(&[address]).await;
        let other = ["--controller-name=hawser.dev/second", address];
        let _second = second.hawser(&other).await;
        first.apply(&ingress("web", "hawser").to_string());
        first.apply(&manifest::route("chat", "chat.test", "/ws", "chat", ""));
        has(&first, "web", &["203.0.113.7"]).await;
        first.says("chat", "Programmed", "True Programmed").await;

        for object in ["ingress/web", "wsr/chat"] {
            first.patch(object, r#"{"spec": {"ingressClassName": "second"}}"#);
        }
        let owner = |object: &Value| {
            let fields = object["metadata"]["managedFields"].as_array().cloned();
            let mut owners: Vec<String> = fields
                .into_iter()
                .flatten()
                .filter(|entry| entry["subresource"] == "status")
                .map(|entry| text(&entry["manager"]).to_owned())
                .filter(|manager| !manager.starts_with("hawser-counts"))
                .collect();
            owners.sort();
            owners
        };
        let new = ["hawser@hawser.dev/second"];
        eventually("the address has another owner", async || {
            let web = first.ingress("web").await;
            assert_eq!(addresses(&web), ["203.0.113.7"], "it is there all the time");
            (owner(&web) == new).then_some(())
        })
        .await;
        eventually("the conditions have another owner", async || {
            (owner(&first.route("chat").await) == new).then_some(())
        })
        .await;
        first.says("chat", "Programmed", "True Programmed").await;
        eventually("the first one has taken back its counts", async || {
            let fields = first.route("chat").await["metadata"]["managedFields"].clone();
            let mut fields = fields.as_array().into_iter().flatten();
            let its = |entry: &Value| entry["manager"] == "hawser-counts";
            (!fields.any(its)).then_some(())
        })
        .await;

        let mark = plane.audit().mark();
        let hawser = first.restart(hawser, &[address]).await;
        hawser.judged(2).await;
        // What is written in order comes behind anything that would be written about the two.
        first.apply(&ingress("later", "hawser").to_string());
        has(&first, "later", &["203.0.113.7"]).await;
        let writes = first.writes(mark);
        let about: Vec<_> = writes
            .iter()
            .filter(|write| write.name != "later")
            .collect();
        let status = about.iter().filter(|write| write.subresource == "status");
        assert_eq!(status.count(), 0, "{writes:#?}");
        has(&first, "web", &["203.0.113.7"]).await;
    });
}
