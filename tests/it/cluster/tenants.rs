//! What tenants of one cluster can do to one another and to Hawser (rows 78, 79 and 82 of the fault catalogue).

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::{apply, delete, here, plane, start};
use crate::kit::{DEADLINE, client, eventually, hawser::Hawser, manifest, origin};

/// An endpoint that nothing listens on.
fn nowhere() -> SocketAddr {
    SocketAddr::new(here(), 9)
}

async fn status(hawser: &Hawser, host: &str) -> u16 {
    let answer = client::get(hawser.http, host, "/").await;
    answer.expect("an answer").status
}

async fn becomes(hawser: &Hawser, host: &str, wanted: u16) {
    let last = AtomicU16::new(0);
    let answers = tokio::time::timeout(DEADLINE, async {
        loop {
            last.store(status(hawser, host).await, Ordering::Relaxed);
            if last.load(Ordering::Relaxed) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if answers.await.is_err() {
        let view = hawser.view("/api/v1/backends").await;
        panic!("{host} answers {last:?}, not {wanted}: {view:#}");
    }
}

#[test]
fn the_oldest_claim_is_served_whatever_comes_later() {
    let plane = plane();
    plane.run(async || {
        let owner = plane.namespace("owner").await;
        let thief = plane.namespace("a-thief").await;
        let both = ["--watch-namespace", &owner, "--watch-namespace", &thief];
        let hawser = start(&plane, plane.admin(), &both).await;
        hawser.ready().await;
        let http = origin::http_on(here()).await;
        let route = |name: &str, host: &str| manifest::route(name, host, "/", "pages", "");
        let yaml = manifest::service("pages", &[http.addr]) + &route("shop", "shop.claim.test");
        apply(&plane, &owner, &yaml);
        becomes(&hawser, "shop.claim.test", 200).await;

        // The thief's namespace would win among objects of the same second; creation times have no fractions.
        let first = jiff::Timestamp::now().as_second();
        eventually("a second passes", async || {
            (jiff::Timestamp::now().as_second() > first + 1).then_some(())
        })
        .await;
        let claims = manifest::service("pages", &[nowhere()])
            + &route("a-shop", "shop.claim.test")
            + &route("wildcard", "\"*.claim.test\"");
        apply(&plane, &thief, &claims);
        // Nobody answers there, so whatever goes to the thief is seen.
        becomes(&hawser, "other.claim.test", 502).await;
        for _ in 0..20 {
            assert_eq!(status(&hawser, "shop.claim.test").await, 200);
        }
        delete(&plane, &owner, "wsr/shop");
        becomes(&hawser, "shop.claim.test", 502).await;
        // Made anew it is the younger one, or of the same second.
        apply(&plane, &owner, &route("shop", "shop.claim.test"));
        hawser.judged(3).await;
        for _ in 0..20 {
            assert_eq!(status(&hawser, "shop.claim.test").await, 502);
        }
    });
}

#[test]
fn no_endpoint_leads_to_hawser_itself() {
    let plane = plane();
    plane.run(async || {
        let namespace = plane.namespace("mirror").await;
        let flags = ["--watch-namespace", &namespace];
        let hawser = start(&plane, plane.admin(), &flags).await;
        hawser.ready().await;
        let http = origin::http_on(here()).await;
        let own = |port| SocketAddr::new(hawser.http.ip(), port);
        let route = |name: &str| manifest::route(name, &format!("{name}.test"), "/", name, "");
        // Its status address with the metrics, its admin address, and the traffic address, which would be a loop.
        let ports = [9101, hawser.admin.port(), hawser.http.port()].map(own);
        let yaml = manifest::service("mirror", &ports)
            + &route("mirror")
            + &manifest::service("mixed", &[own(9101), http.addr])
            + &route("mixed");
        apply(&plane, &namespace, &yaml);
        becomes(&hawser, "mixed.test", 200).await;
        becomes(&hawser, "mirror.test", 503).await;
        for _ in 0..20 {
            assert_eq!(status(&hawser, "mixed.test").await, 200);
            assert_eq!(status(&hawser, "mirror.test").await, 503);
        }
        let view = hawser.judged(2).await.to_string();
        assert!(view.contains("it is Hawser's own address"), "{view}");
    });
}

/// Also where the replicas' own namespace is none of those that are watched.
#[test]
fn no_endpoint_leads_to_another_replica() {
    let plane = plane();
    plane.run(async || {
        let home = plane.namespace("home").await;
        let shop = plane.namespace("guest").await;
        let peers = format!("{home}/peers");
        let flags = ["--watch-namespace", &shop, "--peer-service", &peers];
        let hawser = start(&plane, plane.admin(), &flags).await;
        hawser.ready().await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::service("guest", &[http.addr])
            + &manifest::route("guest", "guest.test", "/", "guest", "");
        apply(&plane, &shop, &yaml);
        becomes(&hawser, "guest.test", 200).await;
        // A Service beside theirs is no matter, and neither is its slice when it has long been seen.
        apply(&plane, &home, &manifest::service("others", &[http.addr]));
        let more = manifest::route("more", "more.test", "/", "guest", "");
        apply(&plane, &shop, &more);
        becomes(&hawser, "more.test", 200).await;
        for _ in 0..20 {
            assert_eq!(status(&hawser, "guest.test").await, 200);
        }
        let replica = SocketAddr::new(here(), 9101);
        apply(&plane, &home, &manifest::service("peers", &[replica]));
        becomes(&hawser, "guest.test", 503).await;
        let view = hawser.judged(2).await.to_string();
        assert!(view.contains("it is Hawser's own address"), "{view}");
        delete(&plane, &home, "endpointslices/peers-0");
        becomes(&hawser, "guest.test", 200).await;
    });
}
