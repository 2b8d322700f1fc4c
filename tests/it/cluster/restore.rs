//! F5: etcd is restored from an older snapshot: resource versions go back, too.

use std::time::Instant;

use super::{CONVERGED, answers, apply, delete, here, own_plane, page, pages, start};
use crate::kit::{manifest, origin};

const ROUTES: usize = 20;

#[test]
fn what_a_restored_etcd_has_is_what_is_served() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("restore").await;
        let http = origin::http_on(here()).await;
        let other = origin::http_on(here()).await;
        let yaml = manifest::service("pages", &[http.addr]) + &pages(0..ROUTES);
        apply(&plane, &namespace, &yaml);
        let snapshot = plane.snapshot().await;
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "page-0", 200).await;

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
