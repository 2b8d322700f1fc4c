//! Tunnels that share a thread: none waits for long because another one always has something to do.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

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
