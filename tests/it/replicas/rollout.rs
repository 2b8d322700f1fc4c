//! A rolling update: every Pod is replaced, and nobody has to know.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, future::join_all};
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::{
    DEADLINE, PLANE,
    install::{Install, programmed},
};
use crate::kit::{client, within};

/// 300, or what a long run asks for.
fn sockets() -> u32 {
    if env::var_os("HAWSER_SOAK_MINUTES").is_some() {
        2_000
    } else {
        300
    }
}

/// One message there and back; false after a Close 1012, which is the only way to end.
async fn talks(socket: &mut client::Socket) -> bool {
    let message = Message::text("hello");
    // Whoever has got a Close may not be able to send; the Close is still there to be read.
    let _closing = socket.send(message.clone()).await;
    match socket.next().await {
        Some(Ok(got)) if got == message => true,
        Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) == 1012 => {
            // Our answer goes out with the next look, and nothing but the end may follow.
            let more = socket.next().await;
            assert!(more.is_none(), "{more:?}");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rolling_update_writes_nothing_and_takes_no_route_away() {
    let plane = PLANE.get();
    plane.run(async || {
        let install = Install::start(&plane, "rollout", 2).await;
        let quiet = install.quiet(20).await;
        install.route("chat");
        install.settled("chat").await;

        // Whoever is told to go, always with a Close, comes back, and finds somebody each time.
        let sockets = sockets();
        let done = Arc::new(AtomicBool::new(false));
        let returns = Arc::new(AtomicU32::new(0));
        let clients = (0..sockets).map(|_| {
            let (to, host) = (install.switch.addr, install.host("chat"));
            let (done, returns) = (Arc::clone(&done), Arc::clone(&returns));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut socket = client::ws(to, &host, "/ws")
                        .await
                        .expect("somebody is there");
                    while talks(&mut socket).await {
                        if done.load(Ordering::Relaxed) {
                            return;
                        }
                        sleep(Duration::from_secs(1)).await;
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
            (returns.load(Ordering::Relaxed) >= sockets).then_some(())
        })
        .await;
        done.store(true, Ordering::Relaxed);
        for client in join_all(clients).await {
            client.expect("no handshake failed, and each end was a Close 1012");
        }
        watching.abort();
        let seen = not_programmed.lock();
        assert!(seen.is_empty(), "{seen:?}");
        install.no_fight(mark, &quiet);
        assert_eq!(install.switch.refused(), 0);
    });
}
