//! F3, F4: lists that come anew, late, broken or wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    answers, apply, connected, delete, here, own_plane, page, pages, plane, routes, start, status,
    warnings,
};
use crate::kit::{
    DEADLINE, client, eventually,
    fault_proxy::{Fault, FaultProxy},
    hawser::Hawser,
    manifest, origin, within,
};

const ROUTES: usize = 12;

#[test]
fn a_history_that_is_gone_is_one_swap() {
    let plane = own_plane();
    let proxy = FaultProxy::start(&plane, plane.admin());
    let kubeconfig = plane.kubeconfig_with(&proxy.url(), "gone", "ignored");
    plane.run(async || {
        let namespace = plane.namespace("gone").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &pages(0..ROUTES);
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, &kubeconfig, &[]).await;
        hawser.ready().await;
        answers(&hawser, "page-0", 200).await;
        let before = hawser.generation().await;
        let stop = Arc::<AtomicBool>::default();
        let least = Arc::new(AtomicUsize::new(usize::MAX));
        let looking = tokio::spawn(look(hawser.admin, Arc::clone(&stop), Arc::clone(&least)));

        proxy.fail("/", Fault::Broken);
        eventually("every watch ended", async || {
            for kind in ["WebSocketRoute", "Service", "EndpointSlice"] {
                if connected(&hawser, kind).await {
                    return None;
                }
            }
            Some(())
        })
        .await;
        apply(&plane, &namespace, &pages(ROUTES..ROUTES + 2));
        for gone in ["wsr/page-0", "wsr/page-1"] {
            delete(&plane, &namespace, gone);
        }
        plane.forget_history().await;
        proxy.heal();
        for (name, wanted) in [
            ("page-0", 404),
            ("page-1", 404),
            ("page-12", 200),
            ("page-13", 200),
        ] {
            answers(&hawser, name, wanted).await;
        }
        stop.store(true, Ordering::Relaxed);
        looking.await.expect("the looks succeed");
        assert_eq!(least.load(Ordering::Relaxed), ROUTES, "never fewer routes");
        eventually("the metric follows", async || {
            (hawser.generation().await > before).then_some(())
        })
        .await;
        assert_eq!(hawser.generation().await, before + 1, "one swap");

        apply(&plane, &namespace, &page("after"));
        answers(&hawser, "after", 200).await;
    });
}

/// Remembers the lowest number of routes that was ever live.
async fn look(admin: std::net::SocketAddr, stop: Arc<AtomicBool>, least: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let answer = client::get(admin, "localhost", "/api/v1/routes").await;
        let answer = answer.expect("the admin answers").text();
        let view: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let count = view["routes"].as_array().expect("routes").len();
        least.fetch_min(count, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const KIND: &str = "/apis/hawser.dev";

#[test]
fn broken_and_wrong_lists_remove_nothing() {
    let plane = plane();
    let proxy = FaultProxy::start(&plane, plane.admin());
    let kubeconfig = plane.kubeconfig_with(&proxy.url(), "relist", "ignored");
    plane.run(async || {
        let namespace = plane.namespace("wrong").await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &pages(0..ROUTES);
        apply(&plane, &namespace, &yaml);
        let flags = ["--watch-namespace", &*namespace, "--relist-guard", "8s"];
        let hawser = start(&plane, &kubeconfig, &flags).await;
        hawser.ready().await;
        answers(&hawser, "page-0", 200).await;
        let before = hawser.generation().await;

        for fault in [Fault::Status(500), Fault::Truncated] {
            proxy.fail(KIND, Fault::Broken);
            eventually("the watch ended", async || {
                (!connected(&hawser, "WebSocketRoute").await).then_some(())
            })
            .await;
            proxy.fail(KIND, fault);
            // Several more tries.
            let tries = restarts(&hawser).await + 3.0;
            eventually(&format!("{fault:?} was met again and again"), async || {
                (restarts(&hawser).await >= tries).then_some(())
            })
            .await;
            assert_eq!(hawser.generation().await, before, "{fault:?}");
            assert!(hawser.is_ready().await);
            proxy.heal();
            eventually("the watch is back", async || {
                connected(&hawser, "WebSocketRoute").await.then_some(())
            })
            .await;
            assert_eq!(hawser.generation().await, before, "{fault:?}");
        }

        // The server says that the history is gone, each time. Lists go on, so changes are seen.
        proxy.fail(KIND, Fault::Broken);
        eventually("the watch ended", async || {
            (!connected(&hawser, "WebSocketRoute").await).then_some(())
        })
        .await;
        proxy.fail(KIND, Fault::Gone);
        let series = r#"hawser_source_restarts_total{kind="WebSocketRoute",reason="desynced"}"#;
        eventually("410 was met again and again", async || {
            (hawser.metric(series).await >= Some(3.0)).then_some(())
        })
        .await;
        assert_eq!(hawser.generation().await, before, "nothing changed");
        apply(&plane, &namespace, &page("meanwhile"));
        answers(&hawser, "meanwhile", 200).await;
        delete(&plane, &namespace, "wsr/meanwhile");
        answers(&hawser, "meanwhile", 404).await;
        proxy.heal();
        eventually("the watch is back", async || {
            connected(&hawser, "WebSocketRoute").await.then_some(())
        })
        .await;

        for (round, fault) in [Fault::Empty, Fault::Half].into_iter().enumerate() {
            let holds = guard_holds(&hawser).await;
            let lines = hawser.log().len();
            proxy.fail(KIND, Fault::Broken);
            eventually("the watch ended", async || {
                (!connected(&hawser, "WebSocketRoute").await).then_some(())
            })
            .await;
            proxy.fail(KIND, fault);
            eventually("the list is held", async || {
                (guard_holds(&hawser).await > holds).then_some(())
            })
            .await;
            // What is new is live at once, beside all that was there.
            let name = format!("added-{round}");
            apply(&plane, &namespace, &page(&name));
            answers(&hawser, &name, 200).await;
            let held = warnings(&hawser, lines);
            let told = held.iter().any(|line| line.contains("--relist-guard"));
            assert!(told, "{held:#?}");
            let mut statuses = Vec::new();
            for number in 0..ROUTES {
                statuses.push(status(&hawser, &format!("page-{number}")).await);
            }
            // Unless it took so long that the second list came in between.
            if !said(&hawser, lines, "are removed") {
                assert_eq!(statuses, [Some(200); ROUTES], "{fault:?}");
            }
            within(2 * DEADLINE, "the second list is obeyed", async || {
                said(&hawser, lines, "are removed").then_some(())
            })
            .await;
            // Lists are in the order of names: this one is not in the first half.
            answers(&hawser, "page-9", 404).await;
            proxy.fail(KIND, Fault::Broken);
            eventually("the watch ended", async || {
                (!connected(&hawser, "WebSocketRoute").await).then_some(())
            })
            .await;
            proxy.heal();
            for number in 0..ROUTES {
                answers(&hawser, &format!("page-{number}"), 200).await;
            }
            eventually("all are back", async || {
                (routes(&hawser).await == ROUTES + 1 + round).then_some(())
            })
            .await;
        }
    });
}

fn said(hawser: &Hawser, from: usize, words: &str) -> bool {
    warnings(hawser, from)
        .iter()
        .any(|line| line.contains(words))
}

async fn guard_holds(hawser: &Hawser) -> f64 {
    let series = r#"hawser_relist_guard_holds_total{kind="WebSocketRoute"}"#;
    hawser.metric(series).await.unwrap_or_default()
}

/// How often the watch of our kind began anew, whatever the reason.
async fn restarts(hawser: &Hawser) -> f64 {
    let answer = client::get(hawser.admin, "localhost", "/metrics").await;
    let text = answer.expect("metrics").text();
    let series = r#"hawser_source_restarts_total{kind="WebSocketRoute""#;
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
