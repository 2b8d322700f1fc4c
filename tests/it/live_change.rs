//! Invariant: no connection is dropped for a change that is not about it.
//!
//! 1,000 sockets exchange numbered messages while 2,000 files change: other routes, another rule of the
//! same route, endpoints of the same backend, deleted and broken files in between.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{client, eventually, hawser, hawser::Hawser, manifest, origin};

const SOCKETS: usize = 1_000;
const CHANGES: usize = 2_000;
/// After so many changes the test waits until the last one is live, so that tables really change.
const CHECKPOINT: usize = 10;
/// Between two bursts of one socket: all together still some thousand messages a second.
const PACE: Duration = Duration::from_millis(600);
/// Messages that a socket sends at once.
const BURST: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_changes_close_no_socket_and_lose_no_message() {
    let chat = [origin::echo().await, origin::echo().await];
    let spare = origin::echo().await;
    let pages = origin::http().await;
    let endpoints = [chat[0].addr, chat[1].addr];
    let hawser = hawser::with(&chat_route(0)).await;
    hawser.write("chat-service.yaml", &manifest::service("chat", &endpoints));
    hawser.write("pages.yaml", &manifest::service("pages", &[pages.addr]));
    mark(&hawser, 0).await;

    let stop = Arc::new(AtomicBool::new(false));
    let exchanged = Arc::new(AtomicU64::new(0));
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        let socket = client::ws(hawser.http, "chat.test", "/ws")
            .await
            .expect("the handshake succeeds");
        sockets.push(tokio::spawn(talk(
            socket,
            Arc::clone(&stop),
            Arc::clone(&exchanged),
        )));
    }
    let goal = SOCKETS as u64;
    eventually("every socket talks", async || {
        (exchanged.load(Ordering::Relaxed) >= goal).then_some(())
    })
    .await;
    let rss_before = hawser.rss();
    let generation_before = hawser.generation().await;

    for number in 1..=CHANGES {
        match number % 5 {
            0 => hawser.write("main.yaml", &chat_route(number)),
            1 => hawser.write(&format!("other-{}.yaml", number % 50), &other_route(number)),
            2 => {
                // The third endpoint of the sockets' own backend comes and goes.
                let with_spare = [chat[0].addr, chat[1].addr, spare.addr];
                let now = if number % 2 == 0 {
                    &with_spare[..]
                } else {
                    &endpoints[..]
                };
                hawser.write("chat-service.yaml", &manifest::service("chat", now));
            }
            3 if number % 2 == 1 => hawser.delete(&format!("other-{}.yaml", (number - 2) % 50)),
            3 => hawser.write("broken.yaml", &format!("kind: [{number}\n  nothing: {{")),
            _ => hawser.write("broken.yaml", &other_route(number)),
        }
        if number % CHECKPOINT == 0 {
            mark(&hawser, number).await;
        }
    }

    // The metric follows the table by a moment.
    let expected = (CHANGES / CHECKPOINT) as u64;
    let generations = eventually("a table for every checkpoint", async || {
        let generations = hawser.generation().await - generation_before;
        (generations >= expected).then_some(generations)
    })
    .await;
    let so_far = exchanged.load(Ordering::Relaxed);
    eventually(
        "every socket still talks after the last change",
        async || (exchanged.load(Ordering::Relaxed) >= so_far + goal).then_some(()),
    )
    .await;
    let rss_after = hawser.rss();
    let open = hawser.metric("hawser_websocket_connections{").await;
    assert_eq!(open, Some(SOCKETS as f64), "open tunnels by the metric");

    stop.store(true, Ordering::Relaxed);
    for socket in sockets {
        socket
            .await
            .expect("no panic")
            .expect("no socket was closed, no message lost");
    }
    let growth = rss_after as f64 / rss_before as f64 - 1.0;
    println!(
        "{generations} tables, {} messages, RSS {} KiB -> {} KiB ({:+.1} %)",
        exchanged.load(Ordering::Relaxed),
        rss_before / 1024,
        rss_after / 1024,
        growth * 100.0,
    );
    assert!(
        growth <= 0.05,
        "RSS grew from {rss_before} to {rss_after} bytes"
    );
}

/// Sends numbers and expects each back, in order.
async fn talk(
    mut socket: client::Socket,
    stop: Arc<AtomicBool>,
    exchanged: Arc<AtomicU64>,
) -> Result<(), String> {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        // Several at once, so that there is an order to keep.
        let burst: Vec<String> = (1..=BURST)
            .map(|step| (number + step).to_string())
            .collect();
        number += BURST;
        for sent in &burst {
            let message = Message::text(sent.clone());
            socket
                .feed(message)
                .await
                .map_err(|error| error.to_string())?;
        }
        socket.flush().await.map_err(|error| error.to_string())?;
        for sent in &burst {
            match socket.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == sent => {}
                other => return Err(format!("message {sent}: {other:?}")),
            }
        }
        exchanged.fetch_add(BURST, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    socket.close(None).await.map_err(|error| error.to_string())
}

/// The sockets' own route: the rule `side` beside theirs changes with every number.
fn chat_route(number: usize) -> String {
    let mut text = manifest::route("chat", "chat.test", "/ws", "chat", "");
    text.truncate(text.len() - "---\n".len());
    let _ = writeln!(
        text,
        "  - {{name: side, matches: [{{path: {{type: Prefix, value: /side{number}}}}}], backendRefs: [{{name: chat, port: 80}}]}}"
    );
    text
}

fn other_route(number: usize) -> String {
    let name = format!("other-{}", number % 50);
    manifest::route(
        &name,
        &format!("{name}.test"),
        &format!("/p{number}"),
        "pages",
        "",
    )
}

/// Writes a route that only this change has and waits until it answers.
async fn mark(hawser: &Hawser, number: usize) {
    let path = format!("/mark{number}");
    hawser.write(
        "mark.yaml",
        &manifest::route("mark", "mark.test", &path, "pages", ""),
    );
    eventually(&format!("change {number} is live"), async || {
        let answer = client::get(hawser.http, "mark.test", &path).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}
