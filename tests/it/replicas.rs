//! Several replicas behind an L4 switch: all serve, one writes, and what happens to one is no matter of the others.

mod faults;
mod install;
mod rollout;
mod scale;

use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rustix::process::Signal;

use crate::kit::{audit, control_plane::Shared, within};
use install::{Install, Sockets};

static PLANE: Shared = Shared::full();

/// Several processes start or end for one step, beside other tests.
const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn three_replicas_serve_and_one_writes() {
    let plane = PLANE.get();
    plane.run(async || {
        let install = Install::start(&plane, "replicas", 3).await;
        install.route("chat");
        let wait = [
            "wait",
            "--for=condition=Programmed",
            "--timeout=30s",
            "wsr/chat",
        ];
        install.kubectl(&wait).text();

        // The answer of `kubectl wait` is true for each of them, at once.
        let pods = install.pods().await;
        assert_eq!(pods.len(), 3);
        for pod in &pods {
            install
                .open(install.http(pod), "chat", "/ws")
                .await
                .expect(pod);
        }

        let mut sockets = Sockets::open(install.switch.addr, &install, "chat", 30).await;
        sockets.go_on().await;
        let counts = install.switch.counts();
        assert_eq!(counts.len(), 3, "all take part: {counts:?}");

        let leads = async || {
            let leads =
                join_all(pods.iter().map(|pod| install.metric(pod, "hawser_leader "))).await;
            leads.into_iter().flatten().sum::<f64>() as u32
        };
        within(DEADLINE, "one leads", async || {
            (leads().await == 1).then_some(())
        })
        .await;

        // Two writes of counts of an object are a minute apart.
        within(
            Duration::from_mins(3),
            "the count is that of all",
            async || {
                let status = install.get("chat").await.status?;
                (status.connections?.active == 30).then_some(())
            },
        )
        .await;
        sockets.go_on().await;
        assert_eq!(install.switch.refused(), 0);

        // Who leads next has counted nothing yet: that is no zero.
        let (leader, _) = install.leader(&pods).await;
        install.node.signal(&leader, Signal::KILL);
        let next = within(
            Duration::from_mins(3),
            "the next leader writes a count",
            async || {
                let active = install.get("chat").await.status?.connections?.active;
                (active != 30).then_some(active)
            },
        )
        .await;
        assert!(0 < next && next < 30, "{next} of 30 are left");
    });
}

/// They see each other's objects.
#[test]
fn installs_write_only_about_their_own_routes() {
    let plane = PLANE.get();
    plane.run(async || {
        let one = Install::start(&plane, "one", 1).await;
        let other = Install::start(&plane, "other", 1).await;
        let mark = plane.audit().mark();
        for install in [&one, &other] {
            install.route("chat");
            install.settled("chat").await;
        }
        for number in 0..5 {
            let path = format!("/{number}");
            for install in [&one, &other] {
                install.change("chat", &path);
                let programmed = |condition: &Condition| condition.status == "True";
                install.judged(DEADLINE, "chat", programmed).await;
            }
        }
        for install in [&one, &other] {
            install.no_fight(mark, &[]);
            audit::exactly(6, "conditions, one for each generation", || {
                let mut writes = install.writes(mark);
                writes.retain(|entry| !entry.uri.contains("hawser-counts"));
                writes
            })
            .await;
        }
    });
}
