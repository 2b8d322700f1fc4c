//! Each cause: who ended it, what both sides see, which code.

use super::*;

#[tokio::test]
async fn the_clients_close_is_relayed_and_answered() {
    let mut kit = tunnel().await;
    send(&mut kit.client, &masked(b"hello")).await;
    expect(&mut kit.backend, &masked(b"hello")).await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    // A backend may finish what it was saying before it answers.
    let last_words = [frame(b"bye"), close::frame(1000, "ok")].concat();
    send(&mut kit.backend, &last_words).await;
    expect(&mut kit.client, &last_words).await;
    expect_end(&mut kit.client).await;
    expect_end(&mut kit.backend).await;
    drop((kit.client, kit.backend));
    let outcome = kit.outcome.await.unwrap();
    let expected = (Initiator::Client, Cause::ClientClosed, Some(1000));
    assert_eq!(end(&outcome), expected);
    assert_eq!(outcome.bytes_from_client, 11 + 8);
    assert_eq!(outcome.bytes_from_backend, 5 + 6);
}

#[tokio::test]
async fn the_backends_close_is_relayed_and_answered() {
    let mut kit = tunnel().await;
    send(&mut kit.backend, &close::frame(4001, "go")).await;
    expect(&mut kit.client, &close::frame(4001, "go")).await;
    send(&mut kit.client, &masked_close(4001)).await;
    expect(&mut kit.backend, &masked_close(4001)).await;
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Backend, Cause::BackendClosed, Some(4001));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

#[tokio::test]
async fn a_close_without_a_code() {
    let mut kit = tunnel().await;
    send(&mut kit.backend, &[0x88, 0]).await;
    expect(&mut kit.client, &[0x88, 0]).await;
    send(&mut kit.client, &masked_close(1000)).await;
    let expected = (Initiator::Backend, Cause::BackendClosed, None);
    expect(&mut kit.backend, &masked_close(1000)).await;
    drop((kit.client, kit.backend));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn who_breaks_a_rule_behind_the_others_close_has_answered() {
    let open = Open {
        policy: policy(|policy| {
            policy.upgrade.max_message_bytes = Setting::field(Some(1000));
        }),
        ..Open::default()
    };
    let mut kit = open.tunnel().await;
    let start = Instant::now();
    send(&mut kit.backend, &close::frame(1000, "")).await;
    expect(&mut kit.client, &close::frame(1000, "")).await;
    send(&mut kit.client, &masked(&[7; 1001])).await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect_masked_close(&mut kit.backend, 1009).await;
    expect_end(&mut kit.backend).await;
    drop((kit.client, kit.backend));
    let outcome = kit.outcome.await.unwrap();
    let expected = (Initiator::Backend, Cause::BackendClosed, Some(1000));
    assert_eq!(end(&outcome), expected);
    assert!(outcome.backend_got_close);
    assert!(start.elapsed() < Duration::from_secs(2), "nobody waits");
}

#[tokio::test]
async fn nothing_follows_a_close() {
    let mut kit = tunnel().await;
    let bytes = [masked_close(1000), masked(b"more"), masked_close(1001)].concat();
    send(&mut kit.client, &bytes).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    send(&mut kit.client, &masked(b"and more")).await;
    send(&mut kit.backend, &close::frame(1000, "")).await;
    expect_end(&mut kit.backend).await;
    expect(&mut kit.client, &close::frame(1000, "")).await;
    expect_end(&mut kit.client).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_awaited_for_10_seconds() {
    let mut kit = tunnel().await;
    let start = Instant::now();
    send(&mut kit.client, &masked_close(1000)).await;
    expect(&mut kit.backend, &masked_close(1000)).await;
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::ClientClosed);
    assert_eq!(
        start.elapsed().as_secs(),
        11,
        "and a second for what is in flight"
    );
}

#[tokio::test]
async fn a_lost_client() {
    for by_reset in [false, true] {
        let mut kit = tunnel().await;
        send(&mut kit.client, &masked(b"hello")).await;
        expect(&mut kit.backend, &masked(b"hello")).await;
        if by_reset {
            reset(kit.client);
        } else {
            drop(kit.client);
        }
        expect_masked_close(&mut kit.backend, 1001).await;
        expect_end(&mut kit.backend).await;
        drop(kit.backend);
        let expected = (Initiator::Client, Cause::ClientLost, Some(1001));
        assert_eq!(end(&kit.outcome.await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_lost_backend() {
    for by_reset in [false, true] {
        let mut kit = tunnel().await;
        send(&mut kit.backend, &frame(b"hello")).await;
        expect(&mut kit.client, &frame(b"hello")).await;
        if by_reset {
            reset(kit.backend);
        } else {
            drop(kit.backend);
        }
        expect(&mut kit.client, &own_close(1014)).await;
        expect_end(&mut kit.client).await;
        drop(kit.client);
        let expected = (Initiator::Backend, Cause::BackendLost, Some(1014));
        assert_eq!(end(&kit.outcome.await.unwrap()), expected);
    }
}

#[tokio::test]
async fn inside_of_a_frame_there_is_no_close() {
    let mut kit = tunnel().await;
    send(&mut kit.backend, &[0x82, 5, b'a']).await;
    expect(&mut kit.client, &[0x82, 5, b'a']).await;
    drop(kit.backend);
    expect_end(&mut kit.client).await;
    drop(kit.client);
    let expected = (Initiator::Backend, Cause::BackendLost, None);
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);

    let mut kit = tunnel().await;
    let half = &masked(b"abc")[..7];
    send(&mut kit.client, half).await;
    expect(&mut kit.backend, half).await;
    reset(kit.client);
    expect_end(&mut kit.backend).await;
    drop(kit.backend);
    let outcome = kit.outcome.await.unwrap();
    let expected = (Initiator::Client, Cause::ClientLost, None);
    assert_eq!(end(&outcome), expected);
    assert!(!outcome.backend_got_close && !outcome.client_got_close);
}

#[tokio::test]
async fn a_header_or_control_frame_that_never_becomes_whole_goes_no_further() {
    let ping = [0x89, 0x84, 1, 2, 3, 4, 5];
    let long = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3];
    for half in [&[0x82][..], &ping, &long] {
        let mut kit = tunnel().await;
        send(&mut kit.client, &[&masked(b"a"), half].concat()).await;
        expect(&mut kit.backend, &masked(b"a")).await;
        kit.client.shutdown().await.unwrap();
        expect_masked_close(&mut kit.backend, 1001).await;
        expect_end(&mut kit.backend).await;
        drop((kit.client, kit.backend));
        let outcome = kit.outcome.await.unwrap();
        let expected = (Initiator::Client, Cause::ClientLost, Some(1001));
        assert_eq!(end(&outcome), expected);
        assert!(outcome.backend_got_close);
        assert_eq!(outcome.bytes_from_client, 7 + half.len() as u64);
        assert_eq!(outcome.messages_from_client, 1);
    }
}

#[tokio::test]
async fn codes_that_are_never_on_the_wire_are_not_passed_on() {
    for code in [1005_u16, 1006, 1015] {
        let mut kit = tunnel().await;
        let [high, low] = code.to_be_bytes();
        send(&mut kit.backend, &[0x88, 3, high, low, b'x']).await;
        expect(&mut kit.client, &[0x88, 0]).await;
        send(&mut kit.client, &masked_close(1000)).await;
        expect(&mut kit.backend, &masked_close(1000)).await;
        drop((kit.client, kit.backend));
        let expected = (Initiator::Backend, Cause::BackendClosed, Some(code));
        assert_eq!(end(&kit.outcome.await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_half_closed_client_still_gets_everything() {
    let mut kit = tunnel().await;
    kit.client.shutdown().await.unwrap();
    expect_masked_close(&mut kit.backend, 1001).await;
    expect_end(&mut kit.backend).await;
    let bytes = frame(&vec![7; 3_000_000]);
    let expected = bytes.clone();
    let mut backend = kit.backend;
    let writer = tokio::spawn(async move {
        backend.write_all(&bytes).await.unwrap();
        drop(backend);
    });
    let mut got = Vec::new();
    kit.client.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
    writer.await.unwrap();
    drop(kit.client);
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::ClientLost);
}

#[tokio::test]
async fn a_half_closed_backend_still_gets_everything() {
    let mut kit = tunnel().await;
    kit.backend.shutdown().await.unwrap();
    expect(&mut kit.client, &own_close(1014)).await;
    expect_end(&mut kit.client).await;
    let bytes = [masked(&vec![7; 1_000_000]), masked_close(1014)].concat();
    let expected = bytes.clone();
    let mut client = kit.client;
    let writer = tokio::spawn(async move { client.write_all(&bytes).await.unwrap() });
    let mut got = Vec::new();
    kit.backend.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
    writer.await.unwrap();
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::BackendLost);
}

#[tokio::test(start_paused = true)]
async fn the_other_direction_ends_10_seconds_after_a_fin() {
    let mut kit = tunnel().await;
    let start = Instant::now();
    kit.client.shutdown().await.unwrap();
    expect_masked_close(&mut kit.backend, 1001).await;
    expect_end(&mut kit.client).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::ClientLost);
}

#[tokio::test]
async fn a_backend_that_closed_before_it_was_gone_has_closed() {
    // The client's bytes meet a closed socket; what the backend said before counts.
    let mut kit = tunnel().await;
    send(&mut kit.backend, &close::frame(1013, "")).await;
    drop(kit.backend);
    for _ in 0..10 {
        send(&mut kit.client, &masked(b"still here")).await;
    }
    expect(&mut kit.client, &close::frame(1013, "")).await;
    expect_end(&mut kit.client).await;
    drop(kit.client);
    let expected = (Initiator::Backend, Cause::BackendClosed, Some(1013));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn idle_is_no_byte_in_either_direction() {
    let open = Open {
        policy: policy(|policy| {
            policy.timeouts.idle = Setting::field(Some(Duration::from_mins(1)));
        }),
        ..Open::default()
    };
    let mut kit = open.tunnel().await;
    let start = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        send(&mut kit.client, &masked(b"ping")).await;
        expect(&mut kit.backend, &masked(b"ping")).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        send(&mut kit.backend, &frame(b"pong")).await;
        expect(&mut kit.client, &frame(b"pong")).await;
    }
    expect(&mut kit.client, &own_close(1001)).await;
    assert_eq!(start.elapsed().as_secs(), 240 + 60);
    send(&mut kit.client, &masked_close(1001)).await;
    expect_masked_close(&mut kit.backend, 1001).await;
    send(&mut kit.backend, &close::frame(1001, "")).await;
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Hawser, Cause::IdleTimeout, Some(1001));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn without_an_idle_timeout_a_tunnel_lives() {
    let mut kit = tunnel().await;
    tokio::time::sleep(Duration::from_hours(30 * 24)).await;
    send(&mut kit.client, &masked(b"still here")).await;
    expect(&mut kit.backend, &masked(b"still here")).await;
    assert_eq!(kit.registry.len(), 1);
}
