//! The end of all tunnels, spread over time: with real sockets and a paused clock.

use tokio_util::sync::CancellationToken;

use super::*;

const COUNT: usize = 120;

/// Tunnels that share a registry, and the task that paces their end.
async fn tunnels(count: usize) -> (Arc<Registry>, Vec<Kit>) {
    let registry = Arc::<Registry>::default();
    pace(&registry);
    let mut kits = Vec::new();
    for _ in 0..count {
        kits.push(another(&registry).await);
    }
    (registry, kits)
}

fn pace(registry: &Arc<Registry>) {
    let registry = Arc::clone(registry);
    tokio::spawn(async move { registry.pace(CancellationToken::new()).await });
}

async fn another(registry: &Arc<Registry>) -> Kit {
    let open = Open {
        registry: Arc::clone(registry),
        ..Open::default()
    };
    open.tunnel().await
}

/// From `start` until this client has its Close and both sides have answered it.
async fn goodbye(mut kit: Kit, start: Instant) -> Duration {
    expect(&mut kit.client, &own_close(1012)).await;
    let at = start.elapsed();
    send(&mut kit.client, &masked_close(1012)).await;
    expect_masked_close(&mut kit.backend, 1012).await;
    send(&mut kit.backend, &close::frame(1012, "")).await;
    drop((kit.client, kit.backend));
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::Drain);
    at
}

async fn goodbyes(kits: impl IntoIterator<Item = Kit>, start: Instant) -> Vec<Duration> {
    let all = kits.into_iter().map(|kit| goodbye(kit, start));
    let mut times = futures_util::future::join_all(all).await;
    times.sort();
    times
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_is_spread_over_its_window() {
    let (registry, kits) = tunnels(COUNT).await;
    let start = Instant::now();
    // The route's own window of 60 s is longer.
    registry.drain(Duration::from_secs(20));
    let times = goodbyes(kits, start).await;
    registry.ended().await;
    let mut bins = [0; 21];
    for time in &times {
        bins[usize::try_from(time.as_secs()).unwrap()] += 1;
    }
    let mean = COUNT / 20;
    assert!(bins[1..].iter().all(|&bin| bin <= mean * 3 / 2), "{bins:?}");
    assert!(*times.last().unwrap() > Duration::from_secs(19), "{bins:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hurry_and_a_cut() {
    let (registry, kits) = tunnels(40).await;
    let mut kits = kits.into_iter();
    let mut silent = kits.next().unwrap();
    let start = Instant::now();
    registry.drain(Duration::from_secs(50));
    registry.hurry(10);
    // One that comes now shares what is left.
    let late = another(&registry).await;
    let times = goodbyes(kits.chain([late]), start).await;
    assert!(
        *times.last().unwrap() <= Duration::from_millis(5_010),
        "{times:?}"
    );
    // One never answers: it need not, when there is no time. It may be the last whose turn comes.
    expect(&mut silent.client, &own_close(1012)).await;
    registry.cut();
    registry.ended().await;
    assert!(start.elapsed() < Duration::from_secs(6));
    let expected = (Initiator::Hawser, Cause::Drain, Some(1012));
    assert_eq!(end(&silent.outcome.await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn a_cut_does_not_change_the_reason_of_an_end_that_has_begun() {
    let mut kit = tunnel().await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    kit.registry.cut();
    let outcome = kit.outcome.await.unwrap();
    let expected = (Initiator::Client, Cause::ClientClosed, Some(1000));
    assert_eq!(end(&outcome), expected);
    assert!(outcome.backend_got_close && !outcome.client_got_close);
}

#[tokio::test(start_paused = true)]
async fn a_cut_needs_no_drain_before() {
    let (registry, kits) = tunnels(3).await;
    let start = Instant::now();
    registry.cut();
    registry.ended().await;
    assert!(
        another(&registry).await.outcome.await.is_ok(),
        "also one that comes later"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    for kit in kits {
        let outcome = kit.outcome.await.unwrap();
        assert_eq!(end(&outcome), (Initiator::Hawser, Cause::Drain, None));
    }
}

#[tokio::test(start_paused = true)]
async fn some_are_ended_and_the_others_stay() {
    let (registry, mut kits) = tunnels(10).await;
    let last = kits.pop().unwrap();
    assert!(!registry.end(
        99,
        Order {
            cause: Cause::Admin,
            code: 1001
        }
    ));
    let wanted = |open: &super::super::Open<'_>| open.id <= 9 && &*open.route.rule == "socket";
    assert_eq!(
        registry.drain_some(wanted, Cause::Drain, Some(Duration::from_secs(3))),
        9
    );
    let start = Instant::now();
    let times = goodbyes(kits, start).await;
    assert!(
        *times.last().unwrap() <= Duration::from_millis(3_010),
        "{times:?}"
    );
    assert_eq!(registry.len(), 1);
    assert_eq!(
        registry.drain_some(|_| true, Cause::Admin, Some(Duration::ZERO)),
        1
    );
    assert_eq!(
        registry.drain_some(|_| true, Cause::Admin, None),
        0,
        "it is ending"
    );
    let mut client = last.client;
    expect(
        &mut client,
        &close::frame(1001, "admin: closed by an administrator"),
    )
    .await;
    drop((client, last.backend));
    assert_eq!(last.outcome.await.unwrap().cause, Cause::Admin);
}

#[tokio::test(start_paused = true)]
async fn who_ended_in_time_is_not_waited_for() {
    let (registry, kits) = tunnels(20).await;
    registry.drain(Duration::from_mins(1));
    let start = Instant::now();
    for kit in kits {
        drop((kit.client, kit.backend));
        kit.outcome.await.unwrap();
    }
    registry.ended().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
