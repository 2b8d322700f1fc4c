//! More replicas and fewer: whoever stays keeps what it has.

use super::{
    DEADLINE, PLANE,
    install::{Install, Sockets},
};
use crate::kit::within;

#[test]
fn the_replica_that_stays_keeps_its_sockets() {
    let plane = PLANE.get();
    plane.run(async || {
        let install = Install::start(&plane, "scale", 1).await;
        let quiet = install.quiet(3).await;
        install.route("chat");
        install.settled("chat").await;
        let staying = install.pods().await.remove(0);
        let cost = "controller.kubernetes.io/pod-deletion-cost=1000";
        install.kubectl(&["annotate", "pod", &staying, cost]).text();
        let mut sockets = Sockets::open(install.switch.addr, &install, "chat", 500).await;
        let mark = plane.audit().mark();

        install
            .kubectl(&["scale", "deployment/hawser", "--replicas=5"])
            .text();
        install.rolled_out();
        install.spread(5).await;
        install.handshakes("chat", 20).await;
        let counts = install.switch.counts();
        assert_eq!(counts.len(), 5, "all take part: {counts:?}");
        sockets.go_on().await;

        install
            .kubectl(&["scale", "deployment/hawser", "--replicas=1"])
            .text();
        install.spread(1).await;
        within(DEADLINE, "one is left", async || {
            let pods = install.pods().await;
            (pods == [staying.clone()]).then_some(())
        })
        .await;
        within(DEADLINE, "the others are gone", async || {
            let pods = install.kubectl(&["get", "pods", "-o", "name"]).text();
            (pods.lines().count() == 1).then_some(())
        })
        .await;
        sockets.go_on().await;
        install.handshakes("chat", 5).await;
        install.leader(&[staying]).await;
        install.no_fight(mark, &quiet);
        assert_eq!(install.switch.refused(), 0);
    });
}
