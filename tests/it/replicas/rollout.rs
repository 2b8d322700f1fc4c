//! A rolling update: every Pod is replaced, and nobody has to know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    DEADLINE, PLANE,
    install::{Install, echoes, programmed},
};
use crate::kit::{client, within};

#[test]
fn a_rolling_update_writes_nothing_and_takes_no_route_away() {
    let plane = PLANE.get();
    plane.run(async || {
        let install = Install::start(&plane, "rollout", 3).await;
        let quiet = install.quiet(20).await;
        install.route("chat");
        install.settled("chat").await;

        // Whoever is told to go comes back, and finds somebody each time.
        let done = Arc::new(AtomicBool::new(false));
        let returns = Arc::new(AtomicU32::new(0));
        let clients = (0..100).map(|_| {
            let (to, host) = (install.switch.addr, install.host("chat"));
            let (done, returns) = (Arc::clone(&done), Arc::clone(&returns));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut socket = client::ws(to, &host, "/ws")
                        .await
                        .expect("somebody is there");
                    while echoes(&mut socket).await.is_ok() {
                        if done.load(Ordering::Relaxed) {
                            return;
                        }
                        sleep(Duration::from_millis(300)).await;
                    }
                    returns.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients: Vec<_> = clients.collect();

        let not_programmed = Arc::new(Mutex::new(Vec::new()));
        let watching = {
            let (routes, seen) = (install.routes(), Arc::clone(&not_programmed));
            tokio::spawn(async move {
                let events = watcher(routes, watcher::Config::default()).default_backoff();
                let mut objects = events.applied_objects().boxed();
                while let Some(object) = objects.next().await {
                    let Ok(route) = object else { continue };
                    let condition = programmed(&route);
                    if condition
                        .as_ref()
                        .is_none_or(|condition| condition.status != "True")
                    {
                        seen.lock().push((route.name_any(), condition));
                    }
                }
            })
        };

        let before = install.pods().await;
        let mark = plane.audit().mark();
        install
            .kubectl(&["rollout", "restart", "deployment/hawser"])
            .text();
        install.rolled_out();
        install.spread(3).await;
        let after = install.pods().await;
        assert!(
            after.iter().all(|pod| !before.contains(pod)),
            "{before:?} {after:?}"
        );
        install.leader(&after).await;

        // The last of the old ones drains when the new ones are complete.
        within(DEADLINE, "all had to come back", async || {
            (returns.load(Ordering::Relaxed) >= 100).then_some(())
        })
        .await;
        done.store(true, Ordering::Relaxed);
        for client in join_all(clients).await {
            client.expect("no handshake failed");
        }
        watching.abort();
        let seen = not_programmed.lock();
        assert!(seen.is_empty(), "{seen:?}");
        install.no_fight(mark, &quiet);
        assert_eq!(install.switch.refused(), 0);
    });
}
