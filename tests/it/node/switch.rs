//! The switch follows a Service, and a Service that drains loses nothing.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{
    Api, DEADLINE, PLANE, Patch, PatchParams, Pod, apply, echo, ready_endpoints, rolled_out, start,
};
use crate::kit::{client, switch::Switch, within};

/// What the Pod at the other end calls itself.
async fn who(socket: &mut client::Socket) -> String {
    socket.send(Message::text("who")).await.expect("sent");
    let answer = socket.next().await.expect("open").expect("an answer");
    answer.into_text().expect("text").to_string()
}

#[test]
fn it_follows_the_scale_and_keeps_connections() {
    let plane = PLANE.get();
    plane.run(async || {
        let namespace = plane.namespace("switch").await;
        let client = plane.client().await;
        let _node = start(&plane, &namespace).await;
        // Longer than the switch's delay.
        let hook = ", lifecycle: {preStop: {sleep: {seconds: 3}}}";
        apply(&plane, &namespace, &echo(1, "", hook));
        rolled_out(&plane, &namespace, "echo");
        ready_endpoints(&client, &namespace, 1).await;
        let switch = Switch::follow(&plane, &format!("{namespace}/echo"), 80).await;
        let follows = async |count: usize| {
            within(DEADLINE, "the switch has the endpoints", async || {
                let now = switch.endpoints();
                (now.len() == count).then_some(now)
            })
            .await
        };
        let staying: SocketAddr = follows(1).await[0];
        let mut socket = client::ws(switch.addr, "echo.test", "/").await.expect("open");
        let name = who(&mut socket).await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "1000"}}});
        let cost = Patch::Merge(cost);
        pods.patch(&name, &PatchParams::default(), &cost).await.expect("annotated");

        let (done, asked) = (AtomicBool::new(false), AtomicU32::new(0));
        let asking = async {
            while !done.load(Ordering::Relaxed) {
                let answer = client::get(switch.addr, "echo.test", "/").await;
                assert_eq!(answer.expect("no connection is lost").status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let scaling = async {
            let scale = async |count: usize| {
                let to = json!({"spec": {"replicas": count}}).to_string();
                let patch = ["patch", "deployment/echo", "-n", &namespace, "-p", &to];
                plane.kubectl(&patch, "").text();
                follows(count).await
            };
            let three = scale(3).await;
            within(DEADLINE, "all three are used", async || {
                let counts = switch.counts();
                three.iter().all(|endpoint| counts.contains_key(endpoint)).then_some(())
            })
            .await;
            assert_eq!(who(&mut socket).await, name);
            assert_eq!(scale(1).await, [staying], "the costly one stays");
            // Until the others are gone, not only away from the switch.
            ready_endpoints(&client, &namespace, 1).await;
            assert_eq!(who(&mut socket).await, name);
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(asking, scaling);
        assert_eq!(switch.refused(), 0);
        assert!(asked.load(Ordering::Relaxed) > 10, "there were connections all the time");
    });
}
