//! Tunnels that share a thread: none waits for long because another one always has something to do.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::io::duplex;

use super::*;
use crate::tunnel::pump::{Pump, Start};

const ROUND_TRIPS: usize = 50;

/// All of it is in one thread. Counted is what goes through the flood meanwhile: no time is promised.
#[tokio::test]
async fn a_flood_of_empty_messages_leaves_its_turn_to_others() {
    let flood = tunnel().await;
    let mut calm = tunnel().await;
    let (mut from, mut to) = (flood.backend, flood.client);
    let flooding = tokio::spawn(async move {
        let burst = frame(b"").repeat(100_000);
        while from.write_all(&burst).await.is_ok() {}
    });
    let passed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&passed);
    let draining = tokio::spawn(async move {
        let mut scratch = vec![0; 65_536];
        while let Ok(count @ 1..) = to.read(&mut scratch).await {
            counter.fetch_add(count / 2, Relaxed);
        }
    });
    let message = masked(b"hello");
    for _ in 0..ROUND_TRIPS {
        send(&mut calm.client, &message).await;
        expect(&mut calm.backend, &message).await;
    }
    let each = passed.load(Relaxed) / ROUND_TRIPS;
    assert!(
        (1_000..20_000).contains(&each),
        "{each} messages of the other tunnel meanwhile"
    );
    flooding.abort();
    draining.abort();
}

/// Once it has been looked at: it took nothing for some seconds, and then always a little.
#[tokio::test(start_paused = true)]
async fn who_takes_little_at_a_time_costs_few_turns() {
    const TAKEN: usize = 100;
    let policy = policy(|policy| {
        policy.limits.write_stall = Setting::field(Some(Duration::from_mins(1)));
    });
    let (mut client, near_client) = duplex(1024);
    let (mut backend, near_backend) = duplex(64 * 1024);
    let stream = tokio::spawn(async move {
        let message = frame(&vec![7; 60_000]);
        while backend.write_all(&message).await.is_ok() {}
    });
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        let mut scratch = [0; 512];
        for _ in 0..TAKEN {
            client.read_exact(&mut scratch).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Start {
        policy: &policy,
        extensions: Extensions::None,
        splice: false,
    };
    let mut sleep = pin!(sleep_until(Instant::now()));
    let news = &mut News::default();
    let mut pump = Pump::new(near_client, b"", near_backend, b"", start, news);
    let mut turns = 0;
    let end = poll_fn(|cx| {
        turns += 1;
        assert!(turns < 10 * TAKEN, "too many");
        pump.poll(cx, sleep.as_mut(), &policy, None, news)
    });
    let whole = Duration::from_secs(TAKEN as u64);
    let open = tokio::time::timeout(whole, end).await.is_err();
    assert!(open && turns > TAKEN / 2, "{turns}");
    stream.abort();
}
