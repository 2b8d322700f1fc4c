//! F2, F20: packets between Hawser and others vanish.

use std::time::{Duration, Instant};

use super::{
    CONVERGED, answers, apply, connected, delete, here, host, own_plane, page, plane,
    sockets::Sockets,
};
use crate::kit::{control_plane::PORT, faults::Cut, hawser, manifest, origin, within};

/// Within this time Hawser says that it is cut off.
const NOTICED: Duration = Duration::from_secs(75);

#[test]
fn packets_that_vanish_are_noticed_and_nothing_is_lost() {
    let plane = own_plane();
    let (netns, address) = host(&plane);
    plane.run(async || {
        let namespace = plane.namespace("cut").await;
        let echo = origin::echo_on(here()).await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::websocket("chat", "/ws", &[echo.addr])
            + &manifest::service("pages", &[http.addr])
            + &page("old");
        apply(&plane, &namespace, &yaml);
        let hawser = hawser::inside(&netns, address, "hawser-0", plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "old", 200).await;
        let sockets = Sockets::open(50, hawser.http, "chat.test", "/ws").await;

        let cut = Cut::port(&netns, here(), PORT);
        let start = Instant::now();
        apply(&plane, &namespace, &page("new"));
        delete(&plane, &namespace, "wsr/old");
        for kind in ["WebSocketRoute", "Service", "EndpointSlice", "Ingress"] {
            within(2 * NOTICED, "the dead watch is noticed", async || {
                (!connected(&hawser, kind).await).then_some(())
            })
            .await;
        }
        let took = start.elapsed();
        println!("all dead watches were noticed after {took:?}");
        // The metric moves a moment after, and a test looks at it now and then.
        assert!(took <= NOTICED + Duration::from_secs(5), "{took:?}");
        assert!(hawser.is_ready().await);
        answers(&hawser, "old", 200).await;
        sockets.all_talk().await;

        cut.heal();
        let healed = Instant::now();
        answers(&hawser, "new", 200).await;
        answers(&hawser, "old", 404).await;
        let took = healed.elapsed();
        println!("live {took:?} after the packets passed again");
        assert!(took <= CONVERGED, "{took:?}");
        sockets.close().await;
    });
}

#[test]
fn names_that_cannot_be_resolved_change_nothing() {
    let plane = plane();
    let (netns, address) = host(&plane);
    let _cut = Cut::dns(&netns);
    plane.run(async || {
        let namespace = plane.namespace("dns").await;
        let http = origin::http_on(here()).await;
        let flags = ["--watch-namespace", &*namespace];
        let hawser = hawser::inside(&netns, address, "hawser-0", plane.admin(), &flags).await;
        hawser.ready().await;
        let yaml = manifest::service("pages", &[http.addr]) + &page("first");
        apply(&plane, &namespace, &yaml);
        answers(&hawser, "first", 200).await;
        delete(&plane, &namespace, "wsr/first");
        answers(&hawser, "first", 404).await;
    });
}
