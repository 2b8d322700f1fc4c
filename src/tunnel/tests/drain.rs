//! The end of the process: Close 1012 where a frame starts, to the client first.

use super::*;

/// Ends all tunnels of the registry without pacing.
fn drain(kit: &Kit) -> JoinHandle<()> {
    let registry = Arc::clone(&kit.registry);
    registry.drain(Duration::ZERO);
    tokio::spawn(async move { registry.ended().await })
}

fn expected() -> (Initiator, Cause, Option<u16>) {
    (Initiator::Hawser, Cause::Drain, Some(1012))
}

#[tokio::test]
async fn both_sides_get_one_close_and_answer() {
    let mut kit = tunnel().await;
    let drained = drain(&kit);
    expect(&mut kit.client, &own_close(1012)).await;
    // What was on its way still arrives; the client's answer is replaced by ours.
    let last = masked(b"last words");
    send(
        &mut kit.client,
        &[last.clone(), masked_close(1000)].concat(),
    )
    .await;
    expect(&mut kit.backend, &last).await;
    expect_masked_close(&mut kit.backend, 1012).await;
    // What the backend sends now is dropped and counted.
    let dropped = [frame(b"too late"), close::frame(1012, "")].concat();
    send(&mut kit.backend, &dropped).await;
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(end(&outcome), expected());
    assert_eq!(outcome.bytes_from_backend, dropped.len() as u64);
    drained.await.unwrap();
    assert!(kit.registry.is_empty());
    assert_eq!(kit.registry.recently_closed()[0].outcome, outcome);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_end_of_a_frame() {
    let mut kit = tunnel().await;
    let long = frame(&[7; 1000]);
    send(&mut kit.backend, &long[..500]).await;
    expect(&mut kit.client, &long[..500]).await;
    let _drained = drain(&kit);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The end of the frame and a next one in one piece: the next one is dropped.
    send(&mut kit.backend, &[&long[500..], &frame(b"next")].concat()).await;
    expect(&mut kit.client, &long[500..]).await;
    expect(&mut kit.client, &own_close(1012)).await;
    send(&mut kit.client, &masked_close(1012)).await;
    expect_masked_close(&mut kit.backend, 1012).await;
    send(&mut kit.backend, &close::frame(1012, "")).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected());
}

#[tokio::test(start_paused = true)]
async fn a_frame_without_end_gives_fin_without_close() {
    let mut kit = tunnel().await;
    send(&mut kit.backend, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1]).await;
    expect(&mut kit.client, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1]).await;
    let start = Instant::now();
    let drained = drain(&kit);
    expect_end(&mut kit.client).await;
    assert_eq!(start.elapsed().as_secs(), 5);
    expect_masked_close(&mut kit.backend, 1012).await;
    expect_end(&mut kit.backend).await;
    drained.await.unwrap();
    assert_eq!(end(&kit.outcome.await.unwrap()), expected());
}

#[tokio::test(start_paused = true)]
async fn a_message_gets_two_seconds_to_end() {
    // It ends in time: Close comes after its last fragment.
    let mut kit = tunnel().await;
    send(&mut kit.backend, &fragment(0x02, b"one")).await;
    expect(&mut kit.client, &fragment(0x02, b"one")).await;
    let _drained = drain(&kit);
    tokio::time::sleep(Duration::from_secs(1)).await;
    send(&mut kit.backend, &fragment(0x80, b"two")).await;
    expect(&mut kit.client, &fragment(0x80, b"two")).await;
    expect(&mut kit.client, &own_close(1012)).await;

    // It does not: Close comes between two fragments.
    let mut kit = tunnel().await;
    send(&mut kit.backend, &fragment(0x02, b"one")).await;
    expect(&mut kit.client, &fragment(0x02, b"one")).await;
    let start = Instant::now();
    let _drained = drain(&kit);
    expect(&mut kit.client, &own_close(1012)).await;
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer() {
    let mut kit = tunnel().await;
    let start = Instant::now();
    let drained = drain(&kit);
    expect(&mut kit.client, &own_close(1012)).await;
    assert_eq!(start.elapsed().as_secs(), 0);
    // Its frames reach the backend until the backend gets its Close, at the next frame start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let long = masked(&[7; 100]);
    send(&mut kit.client, &long[..50]).await;
    expect(&mut kit.backend, &long[..50]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    send(&mut kit.client, &[&long[50..], &masked(b"next")].concat()).await;
    expect(&mut kit.backend, &long[50..]).await;
    expect_masked_close(&mut kit.backend, 1012).await;
    assert_eq!(start.elapsed().as_secs(), 4);
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    assert_eq!(start.elapsed().as_secs(), 5);
    drained.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 6);
    assert_eq!(end(&kit.outcome.await.unwrap()), expected());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read() {
    let kit = tunnel().await;
    fill(&kit).await;
    let start = Instant::now();
    drain(&kit).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 6, "it cannot hold up the drain");
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::Drain);
    assert!(outcome.bytes_from_backend > 0);
    // The Close to the client was never written; the backend has its own.
    let got = (outcome.client_got_close, outcome.backend_got_close);
    assert_eq!((got, outcome.code), ((false, true), Some(1012)));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_waits_at_the_cut_was_never_given() {
    let kit = tunnel().await;
    fill(&kit).await;
    let _drained = drain(&kit);
    tokio::time::sleep(Duration::from_secs(1)).await;
    kit.registry.cut();
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::Drain);
    let got = (outcome.client_got_close, outcome.backend_got_close);
    assert_eq!((got, outcome.code), ((false, false), None));
}

#[tokio::test(start_paused = true)]
async fn a_drain_shortens_the_wait_for_an_answer() {
    let mut kit = tunnel().await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    let start = Instant::now();
    drain(&kit).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 6);
    expect_end(&mut kit.backend).await;
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::ClientClosed);
}

#[tokio::test]
async fn a_close_that_is_not_whole_gives_way_to_ours() {
    let mut kit = tunnel().await;
    // Half of the backend's own Close is there when the drain begins.
    let close = close::frame(4000, "reason");
    send(
        &mut kit.backend,
        &[frame(b"a"), close[..3].to_vec()].concat(),
    )
    .await;
    expect(&mut kit.client, &frame(b"a")).await;
    let _drained = drain(&kit);
    expect(&mut kit.client, &own_close(1012)).await;
    send(&mut kit.backend, &close[3..]).await;
    send(&mut kit.client, &masked_close(1012)).await;
    expect_masked_close(&mut kit.backend, 1012).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected());
}
