//! F1: an API server that is gone is no outage.

use std::{
    env,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::{
    CONVERGED, answers, apply, delete, here, own_plane, page, sockets::Sockets, start, warnings,
};
use crate::kit::{client, hawser::Hawser, manifest, origin};

/// 500, or 1,000 in long runs.
fn count() -> usize {
    let long = env::var_os("HAWSER_SOAK_MINUTES").is_some();
    if long { 1_000 } else { 500 }
}

/// 90 s, or what a long run asks for.
fn length() -> Duration {
    let minutes = env::var("HAWSER_SOAK_MINUTES").ok();
    let minutes = minutes.map(|text| text.parse().expect("a number of minutes"));
    minutes.map_or(Duration::from_secs(90), Duration::from_mins)
}

#[test]
fn an_api_server_that_is_gone_is_no_outage() {
    let plane = own_plane();
    plane.run(async || {
        let namespace = plane.namespace("outage").await;
        let echo = origin::echo_on(here()).await;
        let http = origin::http_on(here()).await;
        let yaml = manifest::websocket("chat", "/ws", &[echo.addr])
            + &manifest::service("pages", &[http.addr])
            + &page("old");
        apply(&plane, &namespace, &yaml);
        let hawser = start(&plane, plane.admin(), &[]).await;
        hawser.ready().await;
        answers(&hawser, "old", 200).await;
        let sockets = Sockets::open(count(), hawser.http, "chat.test", "/ws").await;

        let lines = hawser.log().len();
        let generation = hawser.generation().await;
        plane.pause_api();
        go_on_for(&hawser, length()).await;
        let staleness = hawser.metric("hawser_source_staleness_seconds").await;
        let staleness = staleness.expect("a value");
        // Each watch has heard something within its minute before.
        let outage = length().as_secs_f64();
        assert!(
            staleness >= outage && staleness < outage + 90.0,
            "{staleness}"
        );
        assert_eq!(hawser.generation().await, generation);
        let said = warnings(&hawser, lines);
        let minutes = length().as_secs() / 60 + 1;
        println!("said without the API server: {said:#?}");
        let about_it = said
            .iter()
            .filter(|line| line.contains("what is live stays"));
        let count = about_it.count() as u64;
        assert!((1..=minutes).contains(&count), "{count} lines: {said:#?}");
        sockets.all_talk().await;

        plane.resume_api();
        let resumed = Instant::now();
        apply(&plane, &namespace, &page("new"));
        delete(&plane, &namespace, "wsr/old");
        answers(&hawser, "new", 200).await;
        answers(&hawser, "old", 404).await;
        let took = resumed.elapsed();
        println!(
            "after {:?} without the API server: live after {took:?}",
            length()
        );
        assert!(took <= CONVERGED, "{took:?}");

        plane.kill_api();
        go_on_for(&hawser, Duration::from_secs(10)).await;
        plane.restart_api().await;
        let restarted = Instant::now();
        apply(&plane, &namespace, &page("newest"));
        delete(&plane, &namespace, "wsr/new");
        answers(&hawser, "newest", 200).await;
        answers(&hawser, "new", 404).await;
        let took = restarted.elapsed();
        println!("after a restart of the API server: live after {took:?}");
        assert!(took <= CONVERGED, "{took:?}");
        sockets.close().await;
    });
}

/// New handshakes succeed and readiness stays, all the time.
async fn go_on_for(hawser: &Hawser, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(hawser.is_ready().await, "after {:?}", start.elapsed());
        let socket = client::ws(hawser.http, "chat.test", "/ws").await;
        let mut socket = socket.expect("the handshake succeeds");
        socket.send(Message::text("new")).await.expect("sent");
        let back = socket.next().await.expect("not closed").expect("a message");
        assert_eq!(back, Message::text("new"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
