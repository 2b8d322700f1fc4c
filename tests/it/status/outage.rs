//! Status writes that are late, refused or answered with errors.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Site, furnish, plane,
    site::{nowhere, text},
};
use crate::kit::{
    audit,
    control_plane::ControlPlane,
    eventually,
    fault_proxy::{Fault, FaultProxy},
    manifest, within,
};
use serde_json::Value;

/// Path of the status of a route.
fn path(site: &Site<'_>, name: &str) -> String {
    format!(
        "/apis/hawser.dev/v1alpha1/namespaces/{}/websocketroutes/{name}/status",
        site.namespace
    )
}

/// A proxy with the rights of the site's Hawser, and the way to it.
fn proxy(site: &Site<'_>) -> (FaultProxy, PathBuf) {
    let proxy = FaultProxy::start(site.plane, &site.kubeconfig);
    let name = format!("{}-faults", site.namespace);
    let kubeconfig = site.plane.kubeconfig_with(&proxy.url(), &name, "none");
    (proxy, kubeconfig)
}

#[test]
fn a_new_object_never_gets_the_verdict_of_the_old_one() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "anew").await;
        let (proxy, kubeconfig) = proxy(&site);
        let hawser = site.hawser_by(&kubeconfig, &[]).await;
        let mark = plane.audit().mark();
        proxy.fail(&path(&site, "chat"), Fault::Stalled);
        // Nothing can be served: its expression is broken.
        let bad = manifest::route("chat", "chat.test", "/ws", "chat", "")
            .replace("type: Prefix, value: /ws", "type: Regex, value: \"/[\"");
        site.apply(&(manifest::service("chat", &[nowhere()]) + &bad));
        hawser.judged(1).await;
        eventually("the write is under way", async || {
            let waiting = hawser
                .metric("hawser_status_queue{manager=\"hawser\"}")
                .await;
            (waiting >= Some(1.0)).then_some(())
        })
        .await;
        site.kubectl(&["delete", "wsr/chat"]);
        // It is another object with a generation of its own.
        site.apply(&manifest::route("chat", "chat.test", "/ws", "chat", ""));
        let uid = site.route("chat").await["metadata"]["uid"].clone();
        proxy.heal();
        site.says("chat", "Programmed", "True Programmed").await;
        audit::exactly(1, "a status that was taken", || {
            let mut writes = site.writes(mark);
            writes.retain(|write| write.resource == "websocketroutes" && write.code == 200);
            writes
        })
        .await;
        assert_eq!(site.route("chat").await["metadata"]["uid"], uid);
    });
}

#[test]
fn errors_of_the_api_server_end_in_the_right_status() {
    let plane = plane();
    plane.run(async || {
        let site = Site::new(&plane, "errors").await;
        let (proxy, kubeconfig) = proxy(&site);
        let hawser = site.hawser_by(&kubeconfig, &[]).await;
        site.apply(&manifest::service("chat", &[nowhere()]));
        for status in [409, 429, 500] {
            let name = format!("chat-{status}");
            proxy.fail(&path(&site, &name), Fault::Status(status));
            let retries = hawser
                .metric("hawser_status_retries_total")
                .await
                .unwrap_or(0.0);
            site.apply(&manifest::route(
                &name,
                &format!("{name}.test"),
                "/ws",
                "chat",
                "",
            ));
            eventually(&format!("it is tried again after {status}"), async || {
                let now = hawser.metric("hawser_status_retries_total").await;
                (now >= Some(retries + 2.0)).then_some(())
            })
            .await;
            assert!(site.route(&name).await["status"]["conditions"].is_null());
            proxy.heal();
            site.says(&name, "Programmed", "True Programmed").await;
        }
    });
}

#[test]
fn what_changed_while_the_api_server_was_gone_is_reported_when_it_is_back() {
    let plane = ControlPlane::api();
    furnish(&plane);
    plane.run(async || {
        let site = Site::new(&plane, "gone").await;
        let _hawser = site.hawser(&[]).await;
        site.apply(&manifest::websocket("chat", "/ws", &[nowhere()]));
        site.says("chat", "Programmed", "True Programmed").await;
        let before = site.route("chat").await["status"]["conditions"].clone();
        // Just started, it refuses everything for a moment: it does not know the roles yet.
        plane.kill_api();
        plane.restart_api().await;
        site.apply(&manifest::websocket("talk", "/ws", &[nowhere()]));
        site.says("talk", "Programmed", "True Programmed").await;
        assert_eq!(site.route("chat").await["status"]["conditions"], before);
    });
}

/// As with a webhook for one namespace that hangs.
#[test]
fn one_namespace_that_fails_holds_up_no_other() {
    const STALLED: usize = 24;
    let plane = plane();
    plane.run(async || {
        let bad = plane.namespace("hangs").await;
        let site = Site::with(&plane, "beside", &[&bad]).await;
        let (proxy, kubeconfig) = proxy(&site);
        let hawser = site.hawser_by(&kubeconfig, &[]).await;
        let status = format!("/apis/hawser.dev/v1alpha1/namespaces/{bad}/websocketroutes/hangs");
        proxy.fail(&status, Fault::Stalled);
        let routes: String = (0..STALLED)
            .map(|number| {
                let (name, host) = (format!("hangs-{number}"), format!("{number}.hangs.test"));
                manifest::route(&name, &host, "/ws", "chat", "")
            })
            .collect();
        plane
            .kubectl(&["apply", "-n", &bad, "-f", "-"], &routes)
            .text();
        hawser.judged(STALLED).await;
        let begun = Instant::now();
        site.apply(&manifest::websocket("chat", "/ws", &[nowhere()]));
        site.says("chat", "Programmed", "True Programmed").await;
        // All places may be taken once, for 10 s; one after the other they would need a minute.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
}

/// Reasons of the events about an object, in the order of their times.
fn told(plane: &ControlPlane, namespace: &str, object: &str) -> Vec<String> {
    let get = [
        "get",
        "events.v1.events.k8s.io",
        "-n",
        namespace,
        "-o",
        "json",
    ];
    let events: Value = serde_json::from_str(&plane.kubectl(&get, "").text()).expect("JSON");
    let events = events["items"].as_array().into_iter().flatten();
    let mut events: Vec<_> = events
        .filter(|event| event["regarding"]["name"] == object)
        .map(|event| {
            (
                text(&event["eventTime"]).to_owned(),
                text(&event["reason"]).to_owned(),
            )
        })
        .collect();
    events.sort();
    events.into_iter().map(|(_, reason)| reason).collect()
}

#[test]
fn events_that_are_not_taken_keep_their_order_and_hold_up_no_others() {
    let plane = plane();
    plane.run(async || {
        let bad = plane.namespace("untold").await;
        let site = Site::with(&plane, "told-beside", &[&bad]).await;
        let (proxy, kubeconfig) = proxy(&site);
        let hawser = site.hawser_by(&kubeconfig, &[]).await;
        proxy.fail(
            &format!("/apis/events.k8s.io/v1/namespaces/{bad}/"),
            Fault::Stalled,
        );
        let route =
            |name: &str| manifest::route(name, &format!("{name}.{bad}.test"), "/ws", "nobody", "");
        let routes: String = (0..4)
            .map(|number| route(&format!("untold-{number}")))
            .collect();
        plane
            .kubectl(&["apply", "-n", &bad, "-f", "-"], &routes)
            .text();
        hawser.judged(4).await;

        let begun = Instant::now();
        site.apply(&manifest::route("chat", "chat.test", "/ws", "nobody", ""));
        eventually("another namespace is told", async || {
            (told(&plane, &site.namespace, "chat") == ["BackendNotFound"]).then_some(())
        })
        .await;
        // The first one may hang for 10 s.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");

        let service = manifest::service("nobody", &[nowhere()]);
        plane
            .kubectl(&["apply", "-n", &bad, "-f", "-"], &service)
            .text();
        site.apply(&service);
        eventually("there is nothing wrong any more", async || {
            (told(&plane, &site.namespace, "chat").len() == 2).then_some(())
        })
        .await;
        assert_eq!(told(&plane, &bad, "untold-0"), Vec::<String>::new());
        let wanted = told(&plane, &site.namespace, "chat");
        proxy.heal();
        for number in 0..4 {
            let name = format!("untold-{number}");
            within(
                Duration::from_mins(1),
                "all is told in its order",
                async || (told(&plane, &bad, &name) == wanted).then_some(()),
            )
            .await;
        }
    });
}
