//! Pings of our own, and what else ends a tunnel by the clock.

use socket2::SockRef;

use super::*;

/// Pings every 10 s, answered within 3 s.
fn pinging(target: ir::PingTarget) -> Open {
    Open {
        policy: policy(|policy| {
            policy.keepalive.interval = Setting::field(Some(Duration::from_secs(10)));
            policy.keepalive.timeout = Setting::field(Some(Duration::from_secs(3)));
            policy.keepalive.target = Setting::field(target);
        }),
        ..Open::default()
    }
}

/// Gives a side that takes nothing a minute.
fn patient() -> Open {
    Open {
        policy: policy(|policy| {
            policy.limits.write_stall = Setting::field(Some(Duration::from_mins(1)));
        }),
        ..Open::default()
    }
}

/// Reads a ping of ours and returns the payload, without its mask.
async fn expect_ping(stream: &mut TcpStream, masked: bool) -> Vec<u8> {
    let mut got = vec![0; if masked { 14 } else { 10 }];
    stream.read_exact(&mut got).await.unwrap();
    let second = if masked { 0x88 } else { 8 };
    assert_eq!(got[..2], [0x89, second]);
    let mask: Vec<u8> = if masked {
        got[2..6].to_vec()
    } else {
        vec![0; 4]
    };
    let payload = got[got.len() - 8..].iter();
    payload
        .zip(mask.iter().cycle())
        .map(|(b, m)| b ^ m)
        .collect()
}

/// A pong of the client, masked with 0.
fn masked_pong(payload: &[u8]) -> Vec<u8> {
    let mut pong = masked(payload);
    pong[0] = 0x8a;
    pong
}

fn metric(kit: &Kit, start: &str) -> Option<String> {
    let text = kit.metrics.encode();
    let line = text.lines().find(|line| line.starts_with(start));
    line.map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn both_sides_are_pinged_and_their_pongs_swallowed() {
    let mut kit = pinging(ir::PingTarget::Both).tunnel().await;
    let start = Instant::now();
    for turn in 1..=3 {
        let payload = expect_ping(&mut kit.client, false).await;
        send(&mut kit.client, &masked_pong(&payload)).await;
        let payload = expect_ping(&mut kit.backend, true).await;
        send(&mut kit.backend, &fragment(0x8a, &payload)).await;
        assert_eq!(start.elapsed().as_secs(), turn * 10);
    }
    // Pongs of the application are none of ours.
    send(&mut kit.client, &masked_pong(b"theirs")).await;
    expect(&mut kit.backend, &masked_pong(b"theirs")).await;
    send(&mut kit.backend, &fragment(0x89, b"theirs")).await;
    expect(&mut kit.client, &fragment(0x89, b"theirs")).await;
    drop(kit.client);
    expect_masked_close(&mut kit.backend, 1001).await;
    let label = |target| {
        format!(
            "hawser_websocket_ping_rtt_seconds_count{{kind=\"WebSocketRoute\",namespace=\"shop\",route=\"chat\",rule=\"socket\",target=\"{target}\"}} 3"
        )
    };
    let text = kit.metrics.encode();
    for target in ["client", "backend"] {
        assert!(text.contains(&label(target)), "{text}");
    }
    // Ours are not counted.
    assert!(!text.contains("direction=\"client_to_backend\",type=\"ping\""));
    assert!(
        text.contains("direction=\"client_to_backend\",type=\"pong\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("direction=\"backend_to_client\",type=\"ping\"} 1"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_answer_is_lost() {
    let mut kit = pinging(ir::PingTarget::Client).tunnel().await;
    let start = Instant::now();
    expect_ping(&mut kit.client, false).await;
    expect_masked_close(&mut kit.backend, 1001).await;
    assert_eq!(start.elapsed().as_secs(), 13);
    expect_end(&mut kit.backend).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Hawser, Cause::PingTimeout, Some(1001));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);

    let mut kit = pinging(ir::PingTarget::Backend).tunnel().await;
    expect_ping(&mut kit.backend, true).await;
    expect(
        &mut kit.client,
        &close_with(1014, "ping_timeout: a ping was not answered"),
    )
    .await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Hawser, Cause::PingTimeout, Some(1014));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_the_end_of_a_frame_and_bytes_are_a_sign_of_life() {
    let mut kit = pinging(ir::PingTarget::Client).tunnel().await;
    // The backend is in the middle of a frame for 25 s: no ping can be put.
    let long = frame(&[7; 100]);
    send(&mut kit.backend, &long[..50]).await;
    expect(&mut kit.client, &long[..50]).await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    send(&mut kit.backend, &[&long[50..], &frame(b"next")].concat()).await;
    expect(&mut kit.client, &long[50..]).await;
    let payload = expect_ping(&mut kit.client, false).await;
    expect(&mut kit.client, &frame(b"next")).await;
    // The client sends one long frame, into which it cannot put a pong.
    let slow = masked(&[1; 10]);
    for byte in &slow {
        send(&mut kit.client, &[*byte]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    send(&mut kit.client, &masked_pong(&payload)).await;
    expect(&mut kit.backend, &slow).await;
    assert_eq!(kit.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pings_of_ours_are_no_activity_but_theirs_are() {
    let mut open = pinging(ir::PingTarget::Client);
    open.policy.timeouts.idle = Setting::field(Some(Duration::from_secs(25)));
    let mut kit = open.tunnel().await;
    let start = Instant::now();
    for turn in 1..=4 {
        let payload = expect_ping(&mut kit.client, false).await;
        send(&mut kit.client, &masked_pong(&payload)).await;
        if turn == 2 {
            send(&mut kit.backend, &fragment(0x89, b"theirs")).await;
            expect(&mut kit.client, &fragment(0x89, b"theirs")).await;
        }
    }
    expect(&mut kit.client, &own_close(1001)).await;
    assert_eq!(start.elapsed().as_secs(), 20 + 25);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_pings_only_keep_the_way_open() {
    let mut open = pinging(ir::PingTarget::Client);
    open.policy.keepalive.timeout = Setting::field(None);
    let mut kit = open.tunnel().await;
    let start = Instant::now();
    let payload = expect_ping(&mut kit.client, false).await;
    for turn in 2..=30 {
        assert_eq!(expect_ping(&mut kit.client, false).await, payload);
        assert_eq!(start.elapsed().as_secs(), 10 * turn);
    }
    send(&mut kit.backend, &frame(b"a")).await;
    expect(&mut kit.client, &frame(b"a")).await;
    // An answer is none of the backend's business, however late it is.
    let pong = masked_pong(&payload);
    let text = masked(b"b");
    send(&mut kit.client, &[&*pong, &pong, &text].concat()).await;
    expect(&mut kit.backend, &text).await;
    assert_ne!(expect_ping(&mut kit.client, false).await, payload);
    assert_eq!(kit.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_end_spread_over_their_last_tenth() {
    let mut ends = Vec::new();
    for _ in 0..40 {
        let open = Open {
            policy: policy(|policy| {
                policy.timeouts.max_lifetime = Setting::field(Some(Duration::from_secs(1000)));
            }),
            ..Open::default()
        };
        let mut kit = open.tunnel().await;
        let start = Instant::now();
        let reason = "max_lifetime: open for as long as allowed, please reconnect";
        expect(&mut kit.client, &close_with(1012, reason)).await;
        ends.push(start.elapsed().as_secs_f64());
        send(&mut kit.client, &masked_close(1012)).await;
        expect_masked_close(&mut kit.backend, 1012).await;
        drop((kit.client, kit.backend));
        let expected = (Initiator::Hawser, Cause::MaxLifetime, Some(1012));
        assert_eq!(end(&kit.outcome.await.unwrap()), expected);
    }
    assert!(
        ends.iter().all(|end| (900.0..=998.1).contains(end)),
        "{ends:?}"
    );
    let early = ends.iter().filter(|end| **end < 950.0).count();
    assert!((5..=35).contains(&early), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_is_noticed_and_ends() {
    let mut kit = patient().tunnel().await;
    fill(&kit).await;
    let start = Instant::now();
    let stalled = "hawser_websocket_stalled{kind=\"WebSocketRoute\",namespace=\"shop\",route=\"chat\",rule=\"socket\"} ";
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(metric(&kit, stalled), Some(format!("{stalled}1")));
    expect_masked_close(&mut kit.backend, 1001).await;
    assert!((58..=61).contains(&start.elapsed().as_secs()));
    drop(kit.backend);
    drop(kit.client);
    let expected = (Initiator::Client, Cause::ClientLost, Some(1001));
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(end(&outcome), expected);
    assert_eq!(outcome.loss, Some(Loss::WriteStall));
}

/// Whoever reads nothing cannot make up for it by talking.
#[tokio::test(start_paused = true)]
async fn a_side_that_takes_nothing_ends_though_it_talks() {
    let mut kit = patient().tunnel().await;
    fill(&kit).await;
    let start = Instant::now();
    while !kit.outcome.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(70), "it goes on");
        let _may_be_over = kit.client.write_all(&masked(b"chatter")).await;
        let _may_be_over = kit.backend.try_read(&mut [0; 4096]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::ClientLost);
    assert_eq!(outcome.loss, Some(Loss::WriteStall));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_answer_is_lost_though_the_other_talks() {
    let mut kit = pinging(ir::PingTarget::Client).tunnel().await;
    let start = Instant::now();
    while !kit.outcome.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(30), "it goes on");
        let _may_be_over = kit.backend.write_all(&frame(b"chatter")).await;
        let _may_be_over = kit.client.try_read(&mut [0; 4096]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::PingTimeout);
}

/// What waits unread because of a limit may be the answer, or a sign of life.
#[tokio::test(start_paused = true)]
async fn no_more_messages_come_at_once_than_in_a_second() {
    let mut open = Open::default();
    open.policy.limits.messages_per_second = Setting::field(Some(10));
    let mut kit = open.tunnel().await;
    let message = masked(b"x");
    send(&mut kit.client, &message.repeat(300)).await;
    let mut got = 0;
    let mut buffer = vec![0; 4096];
    let soon = Instant::now() + Duration::from_millis(90);
    while let Ok(read) = tokio::time::timeout_at(soon, kit.backend.read(&mut buffer)).await {
        got += read.unwrap();
    }
    // A read may have a few more, where they are as small as these.
    let messages = got / message.len();
    assert!((10..=13).contains(&messages), "{messages}");
}

#[tokio::test(start_paused = true)]
async fn who_is_slowed_down_is_not_silent() {
    let mut open = pinging(ir::PingTarget::Client);
    open.policy.limits.messages_per_second = Setting::field(Some(10));
    open.policy.timeouts.idle = Setting::field(Some(Duration::from_secs(5)));
    let mut kit = open.tunnel().await;
    let burst = masked(b"x").repeat(300);
    let start = Instant::now();
    send(&mut kit.client, &burst).await;
    expect(&mut kit.backend, &burst).await;
    let payload = expect_ping(&mut kit.client, false).await;
    send(&mut kit.client, &masked_pong(&payload)).await;
    send(&mut kit.client, &masked(b"after it")).await;
    expect(&mut kit.backend, &masked(b"after it")).await;
    let waited = start.elapsed().as_secs();
    assert!(waited > 20, "{waited} s: it was not slowed down");
    assert_eq!(kit.registry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_is_over_is_forgotten() {
    let mut kit = patient().tunnel().await;
    let sent = fill(&kit).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut left = sent;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        left -= kit.client.read(&mut buffer).await.unwrap();
    }
    tokio::time::sleep(Duration::from_mins(5)).await;
    let stalled = "hawser_websocket_stalled{";
    assert!(metric(&kit, stalled).unwrap().ends_with(" 0"));
    assert_eq!(kit.registry.len(), 1);
}

/// Its own pongs are no activity, also where bytes are counted.
#[tokio::test(start_paused = true)]
async fn answered_pings_do_not_keep_a_limited_tunnel_open() {
    let mut open = pinging(ir::PingTarget::Client);
    open.policy.limits.bytes_per_second = Setting::field(Some(1_000_000));
    open.policy.timeouts.idle = Setting::field(Some(Duration::from_secs(35)));
    let mut kit = open.tunnel().await;
    let start = Instant::now();
    for _ in 0..3 {
        let payload = expect_ping(&mut kit.client, false).await;
        send(&mut kit.client, &masked_pong(&payload)).await;
    }
    expect(&mut kit.client, &own_close(1001)).await;
    assert_eq!(start.elapsed().as_secs(), 35);
}

/// RFC 6455 section 5.5.3: whoever gets several pings may answer the last one alone.
#[tokio::test(start_paused = true)]
async fn a_ping_that_was_skipped_is_sent_again_to_who_lives() {
    let mut kit = pinging(ir::PingTarget::Client).tunnel().await;
    let skipped = expect_ping(&mut kit.client, false).await;
    // It talks.
    send(&mut kit.client, &masked(b"a")).await;
    expect(&mut kit.backend, &masked(b"a")).await;
    let again = expect_ping(&mut kit.client, false).await;
    assert_eq!(again, skipped);
    // An answer to each is ours to swallow.
    send(&mut kit.client, &masked_pong(&again)).await;
    send(&mut kit.client, &masked_pong(&again)).await;
    send(&mut kit.client, &masked(b"b")).await;
    expect(&mut kit.backend, &masked(b"b")).await;
    // The next one is another one.
    let next = expect_ping(&mut kit.client, false).await;
    assert_ne!(next, skipped);
    send(&mut kit.client, &masked_pong(&next)).await;
    drop(kit.client);
    expect_masked_close(&mut kit.backend, 1001).await;
    let rtt = "hawser_websocket_ping_rtt_seconds_count";
    let text = kit.metrics.encode();
    let line = text.lines().find(|line| line.starts_with(rtt));
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{line:?}");
}

/// Neither while the client takes what waits in Hawser, nor while it only takes what waits in the kernel, which knows nothing
/// of a paused clock.
#[tokio::test]
async fn who_reads_slowly_is_not_idle() {
    const IDLE: Duration = Duration::from_secs(2);
    let mut open = patient();
    open.policy.timeouts.idle = Setting::field(Some(IDLE));
    let mut kit = open.tunnel().await;
    // So that it tells often how much more it takes.
    let small = SockRef::from(&kit.client).set_recv_buffer_size(64 * 1024);
    small.unwrap();
    let mut sent = fill(&kit).await;
    let bytes = frame(&vec![7; 60_000]);
    let mut buffer = vec![0; 16 * 1024];
    let start = Instant::now();
    while start.elapsed() < 2 * IDLE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kit.client.read_exact(&mut buffer).await.unwrap();
        while let Ok(count) = kit.backend.try_write(&bytes[sent % bytes.len()..]) {
            sent += count;
        }
    }
    // Still open: it is the client that ends it.
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    drop((kit.client, kit.backend));
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::ClientClosed);
}

/// A side whose bytes nobody takes is not read, and neither are its pongs.
#[tokio::test(start_paused = true)]
async fn whose_other_side_stalls_is_not_silent() {
    let mut open = pinging(ir::PingTarget::Backend);
    open.policy.limits.write_stall = Setting::field(Some(Duration::from_mins(1)));
    let kit = open.tunnel().await;
    fill(&kit).await;
    let start = Instant::now();
    let end = kit.outcome.await.unwrap();
    let lost = (end.cause, end.loss.map(Loss::as_str));
    assert_eq!(lost, (Cause::ClientLost, Some("write_stall")));
    assert!(start.elapsed() >= Duration::from_mins(1));
}

/// What was taken since the last look counts, too.
#[tokio::test]
async fn a_side_is_asked_once_more_before_it_is_lost() {
    let mut open = patient();
    open.policy.limits.write_stall = Setting::field(Some(Duration::from_secs(6)));
    let mut kit = open.tunnel().await;
    let small = SockRef::from(&kit.client).set_recv_buffer_size(64 * 1024);
    small.unwrap();
    fill(&kit).await;
    // Behind the look at 5 s.
    tokio::time::sleep(Duration::from_millis(5_400)).await;
    kit.client
        .read_exact(&mut vec![0; 128 * 1024])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    drop((kit.client, kit.backend));
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::ClientClosed);
}
