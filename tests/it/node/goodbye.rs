//! Pods that are asked to end, and objects that are made anew: what WebSockets see of it.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future::join_all};
use tokio_tungstenite::tungstenite::Message;

use super::{DEADLINE, PLANE, apply, echo, ready_endpoints, rolled_out, start};
use crate::kit::{client, hawser, manifest, within};

const SOCKETS: usize = 40;

/// What was in no slice for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// `drain.backendGrace` and the time to notice, on a loaded machine.
const GRACE: Duration = Duration::from_secs(35);

/// What the Pod at the other end calls itself.
async fn who(socket: &mut client::Socket) -> String {
    socket.send(Message::text("who")).await.expect("sent");
    let answer = socket.next().await.expect("open").expect("an answer");
    answer.into_text().expect("text").to_string()
}

/// Waits for the Close: code, reason and when.
async fn closed(mut socket: client::Socket) -> (u16, String, Instant) {
    let next = tokio::time::timeout(2 * DEADLINE, socket.next()).await;
    let message = next
        .expect("in time")
        .expect("a message")
        .expect("no error");
    let Message::Close(Some(frame)) = message else {
        panic!("expected a Close, got {message:?}");
    };
    (frame.code.into(), frame.reason.to_string(), Instant::now())
}

#[test]
fn only_the_sockets_of_a_pod_that_goes_are_told_to() {
    let plane = PLANE.get();
    plane.install_crd();
    plane.share(manifest::CLASS);
    plane.run(async || {
        let namespace = plane.namespace("goodbye").await;
        let client = plane.client().await;
        let _node = start(&plane, &namespace).await;
        let deployment = echo(2, "", ", env: [{name: IGNORE_TERM, value: \"1\"}]");
        let route = manifest::route("chat", "chat.test", "/ws", "echo", "");
        apply(&plane, &namespace, &deployment);
        apply(&plane, &namespace, &route);
        rolled_out(&plane, &namespace, "echo");
        ready_endpoints(&client, &namespace, 2).await;
        let hawser = hawser::on(plane.admin(), &["--watch-namespace", &namespace]).await;
        hawser.ready().await;

        let (mut going, mut staying) = (Vec::new(), Vec::new());
        let mut victim = None;
        for _ in 0..SOCKETS {
            let socket = within(DEADLINE, "the route takes a WebSocket", async || {
                client::ws(hawser.http, "chat.test", "/ws").await.ok()
            });
            let mut socket = socket.await;
            let name = who(&mut socket).await;
            if *victim.get_or_insert_with(|| name.clone()) == name {
                going.push(socket);
            } else {
                staying.push(socket);
            }
        }
        assert!(going.len() >= SOCKETS / 4 && staying.len() >= SOCKETS / 4);

        // Route and Service are other objects now, of the same names.
        let (_, service) = deployment.split_once("---\n").expect("two objects");
        for manifest in [&*route, service] {
            let replace = ["replace", "--force", "-n", &namespace, "-f", "-"];
            plane.kubectl(&replace, manifest).text();
        }
        let pod = format!("pod/{}", victim.expect("a Pod"));
        let delete = [
            "delete",
            "-n",
            &namespace,
            &pod,
            "--grace-period=90",
            "--wait=false",
        ];
        let start = Instant::now();
        plane.kubectl(&delete, "").text();
        let closes = join_all(going.into_iter().map(closed)).await;
        for (code, reason, at) in &closes {
            assert_eq!(
                (*code, &**reason),
                (
                    1012,
                    "backend_terminating: the server is restarting, please reconnect"
                )
            );
            assert!(*at - start < GRACE, "{:?}", *at - start);
        }
        let first = closes.iter().map(|close| close.2).min().expect("some");
        let last = closes.iter().map(|close| close.2).max().expect("some");
        println!(
            "{} Closes between {:?} and {:?}",
            closes.len(),
            first - start,
            last - start
        );
        assert!(last - first > Duration::from_secs(5), "they are spread");

        // The others have seen nothing of all this, for longer than a missing object is waited for.
        within(DEADLINE, "time passes", async || {
            (start.elapsed() > PATIENCE + Duration::from_secs(5)).then_some(())
        })
        .await;
        for socket in &mut staying {
            who(socket).await;
        }

        // Their Pod lives, but is no endpoint any more.
        let start = Instant::now();
        let select = [
            "patch",
            "-n",
            &namespace,
            "service/echo",
            "-p",
            r#"{"spec": {"selector": {"app": "nobody"}}}"#,
        ];
        plane.kubectl(&select, "").text();
        for (code, reason, at) in join_all(staying.into_iter().map(closed)).await {
            assert_eq!(
                (code, &*reason),
                (
                    1012,
                    "backend_removed: the server was removed, please reconnect"
                )
            );
            assert!(at - start >= PATIENCE, "{:?}", at - start);
        }
    });
}
