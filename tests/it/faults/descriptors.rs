//! F22: no file descriptor is left. What is open goes on, nothing spins, and it recovers.

use std::{process::Command, time::Duration};

use super::talkers::Talkers;
use crate::kit::{client, eventually, hawser, hawser::Hawser, manifest, origin};

/// The soft limit with which a process can open so many more. It is about numbers, and there may be gaps.
fn room_for(hawser: &Hawser, more: usize) -> usize {
    let used = hawser.descriptors();
    let mut free = (0..).filter(|number| !used.contains(number));
    free.nth(more).expect("without end")
}

/// Sets the soft limit of a running process.
fn limit(hawser: &Hawser, descriptors: usize) {
    let set = Command::new("prlimit")
        .args([
            "--pid".to_owned(),
            hawser.id().to_string(),
            format!("--nofile={descriptors}:"),
        ])
        .status();
    assert!(set.expect("prlimit runs").success());
}

fn complaints(hawser: &Hawser) -> usize {
    let log = hawser.log();
    let complaint = "cannot accept connections, trying again";
    log.iter()
        .filter(|line| hawser::field(line, "message") == Some(complaint))
        .count()
}

#[tokio::test]
async fn no_descriptor_left_harms_no_open_tunnel() {
    let echo = origin::echo().await;
    let hawser = hawser::with(&manifest::websocket("chat", "/ws", &[echo.addr])).await;
    let pace = Duration::from_millis(100);
    let mut talkers = Talkers::open(&hawser, "/ws", 20, Some(pace)).await;
    let used = hawser.descriptors().len();

    // One is left: a client is accepted, but there is none for its way to the backend.
    limit(&hawser, room_for(&hawser, 1));
    let refused = client::ws(hawser.http, "chat.test", "/ws").await;
    match refused.expect_err("no tunnel") {
        tokio_tungstenite::tungstenite::Error::Http(answer) => {
            let status = answer.status().as_u16();
            assert!(matches!(status, 502 | 503), "{answer:?}");
        }
        other => panic!("{other:?}"),
    }
    eventually("its descriptor is back", async || {
        (hawser.descriptors().len() <= used).then_some(())
    })
    .await;

    // None is left: a client waits in the queue of the system.
    limit(&hawser, room_for(&hawser, 0));
    let (http, cpu) = (hawser.http, hawser.cpu());
    let waiting = tokio::spawn(async move { client::ws(http, "chat.test", "/ws").await });
    eventually("it has tried again and again", async || {
        (complaints(&hawser) >= 9).then_some(())
    })
    .await;
    talkers.go_on().await;
    // 5 ms, then twice as long each time.
    let tries = complaints(&hawser);
    assert!(tries < 40, "{tries} tries: it spins");
    println!(
        "{tries} tries, {:?} of processor meanwhile",
        hawser.cpu().saturating_sub(cpu)
    );

    limit(&hawser, room_for(&hawser, 100));
    waiting.await.expect("no panic").expect("it is served now");
    talkers.go_on().await;
    talkers.all_open();
    let errors = hawser.sum("hawser_accept_errors_total", &[]).await;
    assert!(errors >= 9.0, "{errors}");
}
