//! Floods of tiny frames: nothing is buffered, and other tunnels go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    client, eventually, manifest, origin,
    wire::{Ends, Site, close, expect, expect_close, expect_end, fill, frame, send},
};

const FRAGMENTS: usize = 100_000;

/// What a flood may add to the memory of the process, debug build included.
const GROWTH: u64 = 8 << 20;

/// One message in so many fragments of one byte.
fn fragments(count: usize) -> Vec<u8> {
    let first = frame(0x01, true, b"x");
    let middle = frame(0x00, true, b"x").repeat(count - 2);
    [first, middle, frame(0x80, true, b"x")].concat()
}

/// Sends on one end and reads at the other, as fast as both can.
async fn through(ends: &mut Ends, bytes: &[u8]) {
    let Ends { client, backend } = ends;
    tokio::join!(send(client, bytes), expect(backend, bytes));
}

#[tokio::test]
async fn a_message_in_100_000_fragments_is_a_message() {
    let site = Site::start(&[
        ("plain", ""),
        ("limited", "upgrade: {maxMessageBytes: 50000}"),
    ])
    .await;
    let bytes = fragments(FRAGMENTS);
    let before = site.hawser.rss();
    let mut ends = site.open("/plain").await;
    through(&mut ends, &bytes).await;
    eventually("it is counted as one", async || {
        let counted = site.seen("/plain", "messages_from_client").await;
        (counted == Some(1)).then_some(())
    })
    .await;

    let mut ends = site.open("/limited").await;
    let Ends { client, backend } = &mut ends;
    // What breaks the limit is cut off, so the client may not get rid of all.
    let (_, ()) = tokio::join!(client.write_all(&bytes), async {
        expect(backend, &bytes[..50_000 * frame(0x00, true, b"x").len()]).await;
        assert_eq!(expect_close(backend).await.0, 1009);
        send(backend, &close(false, 1009)).await;
        expect_end(backend).await;
    });
    assert_eq!(site.cause("/limited").await.0, "message_too_big");
    let growth = site.hawser.rss().saturating_sub(before);
    assert!(growth < GROWTH, "{growth} bytes");
}

/// Sorts them, too.
fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(
        "{} round trips, p50 {:?}, p99 {:?}",
        times.len(),
        at(50),
        at(99)
    )
}

/// A round trip takes a tenth of a millisecond.
const STARVED: Duration = Duration::from_secs(1);

/// Round trips beside each flood.
const ROUND_TRIPS: usize = 500;

/// Frames that are written at once.
const BURST: usize = 10_000;

/// Pings, empty messages, and messages of one byte: as fast as they are taken, for as long as the round trips take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_tiny_frames_leaves_other_tunnels_alone() {
    let site = Site::start(&[("flood", "")]).await;
    let echo = origin::echo().await;
    let calm = manifest::websocket("calm", "/ws", &[echo.addr]);
    site.hawser.write("calm.yaml", &calm);
    let mut calm = eventually("the other route is live", async || {
        client::ws(site.hawser.http, "calm.test", "/ws").await.ok()
    })
    .await;
    let before = site.hawser.rss();
    for (what, unit) in [
        ("ping", frame(0x89, true, b"")),
        ("empty message", frame(0x81, true, b"")),
        ("message of one byte", frame(0x81, true, b"x")),
    ] {
        let Ends {
            mut client,
            mut backend,
        } = site.open(&format!("/flood/{}", unit.len())).await;
        let bytes = unit.repeat(BURST);
        let cpu = site.hawser.cpu();
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = Arc::clone(&enough);
        let flooding = tokio::spawn(async move {
            let mut sent = 0;
            while !is_enough.load(Ordering::Relaxed) {
                send(&mut client, &bytes).await;
                sent += BURST;
            }
            (client, sent)
        });
        let length = unit.len();
        let draining = tokio::spawn(async move {
            let mut read = 0;
            let mut scratch = vec![0; 65_536];
            while let Ok(count @ 1..) = backend.read(&mut scratch).await {
                read += count;
            }
            read / length
        });
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let start = Instant::now();
            round_trip(&mut calm).await;
            times.push(start.elapsed());
        }
        enough.store(true, Ordering::Relaxed);
        let (mut client, frames) = flooding.await.expect("the flood");
        client.shutdown().await.expect("its end");
        let passed = draining.await.expect("the backend");
        assert!(passed >= frames, "{passed} of {frames}");
        let spent = site.hawser.cpu().saturating_sub(cpu);
        println!(
            "{what}: {frames} frames, {:.2} µs of processor each; beside it {}",
            spent.as_secs_f64() * 1e6 / frames as f64,
            percentiles(&mut times)
        );
        let slowest = times[times.len() - 1];
        // No time is promised on a machine that is shared; whoever is starved waits for the whole flood, and longer.
        assert!(slowest < STARVED, "{what}: {slowest:?}");
    }
    // What the same frames cost that come one by one, with an answer each.
    let (cpu, count) = (site.hawser.cpu(), 5_000);
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        round_trip(&mut calm).await;
        times.push(start.elapsed());
    }
    let spent = site.hawser.cpu().saturating_sub(cpu);
    println!(
        "alone: {:.2} µs of processor each; {}",
        spent.as_secs_f64() * 1e6 / f64::from(count),
        percentiles(&mut times)
    );
    let growth = site.hawser.rss().saturating_sub(before);
    assert!(growth < GROWTH, "{growth} bytes");
}

async fn round_trip(socket: &mut client::Socket) {
    socket.send(Message::text("hello")).await.expect("sent");
    let answer = socket.next().await.expect("open").expect("a message");
    assert_eq!(answer, Message::text("hello"));
}

/// A client that pings and never reads, and a backend that answers every ping before it reads the next.
#[tokio::test]
async fn pongs_that_nobody_reads_are_not_kept() {
    let site = Site::start(&[("plain", "")]).await;
    let before = site.hawser.rss();
    let ping = frame(0x89, true, &[b'x'; 100]);
    let mut floods = Vec::new();
    for number in 0..5 {
        let Ends {
            mut client,
            mut backend,
        } = site.open(&format!("/plain/{number}")).await;
        let length = ping.len();
        tokio::spawn(async move {
            let mut read = 0;
            let mut scratch = vec![0; 16_384];
            while let Ok(count @ 1..) = backend.read(&mut scratch).await {
                read += count;
                let pongs = frame(0x8a, false, &[b'x'; 100]).repeat(read / length);
                read %= length;
                if backend.write_all(&pongs).await.is_err() {
                    return;
                }
            }
        });
        let pings = ping.repeat(1000);
        floods.push(tokio::spawn(async move {
            fill(&mut client, &pings).await;
            client
        }));
    }
    for flood in &mut floods {
        flood.await.expect("no panic");
    }
    let growth = site.hawser.rss().saturating_sub(before);
    assert!(growth < GROWTH, "{growth} bytes for 5 tunnels");
}
