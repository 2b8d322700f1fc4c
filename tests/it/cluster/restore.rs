//! F5: etcd is restored from an older snapshot: resource versions go back, too.

use std::time::Instant;

use super::{CONVERGED, answers, apply, delete, here, own_plane, page, pages, start};
use crate::kit::{
    control_plane::ControlPlane,
    hawser::{Hawser, field},
    manifest, origin, within,
};

const ROUTES: usize = 20;

/// The Service of `--publish-service` gets this address from its load balancer.
async fn balanced(plane: &ControlPlane, hawser: &Hawser, namespace: &str, ip: &str, from: usize) {
    let status = format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{ip}"}}]}}}}}}"#);
    let patch = [
        "patch",
        "service",
        "edge",
        "--subresource=status",
        "--type=merge",
    ];
    plane
        .kubectl(
            &[&patch[..], &["-n", namespace, "-p", &status]].concat(),
            "",
        )
        .text();
    published(hawser, ip, from).await;
}

/// Waits until Hawser says that it publishes this address, in the log from this line on.
async fn published(hawser: &Hawser, ip: &str, from: usize) {
    within(2 * CONVERGED, &format!("{ip} is published"), async || {
        let log = hawser.log();
        let mut lines = log.iter().skip(from);
        lines.find_map(|line| (field(line, "addresses")? == ip).then_some(()))
    })
    .await;
}

#[test]
fn what_a_restored_etcd_has_is_what_is_served() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("restore").await;
        let http = origin::http_on(here()).await;
        let other = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &pages(0..ROUTES);
        apply(&plane, &namespace, &yaml);
        let edge = "apiVersion: v1\nkind: Service\nmetadata: {name: edge}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n";
        apply(&plane, &namespace, edge);
        let publish = format!("--publish-service={namespace}/edge");
        let hawser = start(&plane, plane.admin(), &[&publish]).await;
        hawser.ready().await;
        answers(&hawser, "page-0", 200).await;
        balanced(&plane, &hawser, &namespace, "203.0.113.1", 0).await;
        let snapshot = plane.snapshot().await;

        // What the snapshot does not know: deleted, changed, new, and more versions than it has.
        for gone in ["wsr/page-0", "wsr/page-1", "wsr/page-2"] {
            delete(&plane, &namespace, gone);
        }
        let moved = manifest::route("page-3", "pages.test", "/moved", "pages", "");
        let yaml = moved + &pages(100..103) + &manifest::service("pages", &[other.addr]);
        apply(&plane, &namespace, &yaml);
        for (name, wanted) in [
            ("page-0", 404),
            ("moved", 200),
            ("page-3", 404),
            ("page-102", 200),
        ] {
            answers(&hawser, name, wanted).await;
        }

        balanced(&plane, &hawser, &namespace, "203.0.113.2", 0).await;
        let line = hawser.log().len();

        plane.restore(&snapshot).await;
        let restored = Instant::now();
        let wanted = (0..4).map(|number| (number, 200));
        for (number, wanted) in wanted.chain((100..103).map(|number| (number, 404))) {
            answers(&hawser, &format!("page-{number}"), wanted).await;
        }
        answers(&hawser, "moved", 404).await;
        let took = restored.elapsed();
        println!("restored objects are live after {took:?}");
        assert!(took <= CONVERGED, "{took:?}");
        published(&hawser, "203.0.113.1", line).await;

        // Nothing is stuck: each kind still follows.
        let yaml = page("after") + &manifest::service("pages", &[other.addr]);
        apply(&plane, &namespace, &yaml);
        answers(&hawser, "after", 200).await;
        delete(&plane, &namespace, "wsr/page-19");
        answers(&hawser, "page-19", 404).await;
        delete(&plane, &namespace, "service/pages");
        answers(&hawser, "after", 500).await;
    });
}
