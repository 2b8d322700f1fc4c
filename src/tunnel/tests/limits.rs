//! Limits of sizes and rates, and strictness.

use rstest::rstest;

use super::*;

fn limited(set: impl FnOnce(&mut ir::Policy)) -> Open {
    Open {
        policy: policy(set),
        ..Open::default()
    }
}

/// A masked fragment of the client.
fn masked_fragment(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(payload);
    frame[0] = first;
    frame
}

#[tokio::test]
async fn a_message_of_the_client_that_is_too_big_passes_with_no_byte() {
    let mut kit = limited(|policy| {
        policy.upgrade.max_message_bytes = Setting::field(Some(1000));
    })
    .tunnel()
    .await;
    let fits = masked(&[7; 1000]);
    send(&mut kit.client, &fits).await;
    expect(&mut kit.backend, &fits).await;
    // The header alone tells: nothing is waited for.
    let too_big = masked(&[7; 1001]);
    send(&mut kit.client, &too_big[..8]).await;
    expect(
        &mut kit.client,
        &close_with(1009, "message_too_big: a message is over the limit"),
    )
    .await;
    expect_masked_close(&mut kit.backend, 1009).await;
    send(
        &mut kit.client,
        &[&too_big[8..], &masked(b"more"), &masked_close(1009)].concat(),
    )
    .await;
    send(&mut kit.backend, &close::frame(1009, "")).await;
    expect_end(&mut kit.backend).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let outcome = kit.outcome.await.unwrap();
    let expected = (Initiator::Hawser, Cause::MessageTooBig, Some(1009));
    assert_eq!(end(&outcome), expected);
    assert!(outcome.client_got_close && outcome.backend_got_close);
    assert_eq!(outcome.messages_from_client, 1);
}

/// RFC 6455 allows 2^63 - 1; who announces more ends no task.
#[rstest]
#[case(1 << 63)]
#[case(u64::MAX)]
#[tokio::test]
async fn no_announced_length_is_too_long_to_count(#[case] length: u64) {
    let announced = [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4], b"more"].concat();
    let mut kit = tunnel().await;
    send(&mut kit.client, &announced).await;
    expect(&mut kit.backend, &announced).await;

    let mut kit = limited(|policy| {
        policy.upgrade.max_frame_bytes = Setting::field(Some(1000));
    })
    .tunnel()
    .await;
    send(&mut kit.client, &announced).await;
    expect(
        &mut kit.client,
        &close_with(1009, "message_too_big: a frame is over the limit"),
    )
    .await;
    expect_masked_close(&mut kit.backend, 1009).await;
}

#[tokio::test]
async fn fragments_count_together_in_both_directions() {
    let open = || {
        limited(|policy| {
            policy.upgrade.max_message_bytes = Setting::field(Some(1000));
        })
    };
    let mut kit = open().tunnel().await;
    let first = fragment(0x02, &[7; 600]);
    send(&mut kit.backend, &first).await;
    expect(&mut kit.client, &first).await;
    send(&mut kit.backend, &fragment(0x80, &[7; 401])).await;
    expect(
        &mut kit.client,
        &close_with(1009, "message_too_big: a message is over the limit"),
    )
    .await;
    send(&mut kit.client, &masked_close(1009)).await;
    expect_masked_close(&mut kit.backend, 1009).await;
    drop((kit.client, kit.backend));
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::MessageTooBig);

    let mut kit = open().tunnel().await;
    let first = masked_fragment(0x02, &[7; 1000]);
    send(&mut kit.client, &first).await;
    expect(&mut kit.backend, &first).await;
    send(&mut kit.client, &masked_fragment(0x00, &[7; 1])).await;
    expect_masked_close(&mut kit.backend, 1009).await;
    expect(
        &mut kit.client,
        &close_with(1009, "message_too_big: a message is over the limit"),
    )
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_fragments_are_one_message() {
    let mut kit = limited(|policy| {
        policy.upgrade.max_message_bytes = Setting::field(Some(100_000));
    })
    .tunnel()
    .await;
    let mut bytes = masked_fragment(0x01, b"");
    for _ in 0..100_000 {
        bytes.extend(masked_fragment(0x00, b"x"));
    }
    bytes.extend(masked_fragment(0x80, b""));
    let expected = bytes.clone();
    let mut client = kit.client;
    let writer = tokio::spawn(async move {
        client.write_all(&bytes).await.unwrap();
        send(&mut client, &masked_fragment(0x01, &vec![0; 100_000])).await;
        send(&mut client, &masked_fragment(0x80, b"x")).await;
        client
    });
    let mut got = vec![0; expected.len()];
    kit.backend.read_exact(&mut got).await.unwrap();
    assert!(got == expected);
    let mut last = vec![0; 14 + 100_000];
    kit.backend.read_exact(&mut last).await.unwrap();
    expect_masked_close(&mut kit.backend, 1009).await;
    drop((writer.await.unwrap(), kit.backend));
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.cause, Cause::MessageTooBig);
    assert_eq!(outcome.messages_from_client, 1);
}

#[tokio::test]
async fn a_length_without_end_is_refused_however_its_header_is_cut() {
    let mut header = vec![0x82, 0xff];
    header.extend((1_u64 << 63).to_be_bytes());
    header.extend([1, 2, 3, 4]);
    for cut in 1..header.len() {
        let mut kit = limited(|policy| {
            policy.upgrade.max_frame_bytes = Setting::field(Some(1 << 20));
        })
        .tunnel()
        .await;
        send(&mut kit.client, &header[..cut]).await;
        send(&mut kit.backend, &frame(b"sync")).await;
        expect(&mut kit.client, &frame(b"sync")).await;
        send(&mut kit.client, &header[cut..]).await;
        expect_masked_close(&mut kit.backend, 1009).await;
        expect(
            &mut kit.client,
            &close_with(1009, "message_too_big: a frame is over the limit"),
        )
        .await;
        drop((kit.client, kit.backend));
        assert_eq!(kit.outcome.await.unwrap().cause, Cause::MessageTooBig);
    }
}

#[rstest]
#[case::unmasked_client(&[0x81, 1, b'a'], "protocol_error: wrong masking")]
#[case::reserved_bit(&[0xc1, 0x81, 0, 0, 0, 0, b'a'], "protocol_error: reserved bit")]
#[case::reserved_opcode(&[0x83, 0x80, 0, 0, 0, 0], "protocol_error: reserved opcode")]
#[case::fragmented_ping(&[0x09, 0x80, 0, 0, 0, 0], "protocol_error: bad control frame")]
#[case::long_ping(&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], "protocol_error: bad control frame")]
#[case::close_code(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xee], "protocol_error: bad close code")]
#[tokio::test]
async fn strict_routes_refuse_what_breaks_the_protocol(#[case] bytes: &[u8], #[case] reason: &str) {
    let mut kit = limited(|policy| policy.upgrade.strict = Setting::field(true))
        .tunnel()
        .await;
    send(&mut kit.client, &[&masked(b"fine"), bytes].concat()).await;
    expect(&mut kit.backend, &masked(b"fine")).await;
    expect_masked_close(&mut kit.backend, 1002).await;
    expect(&mut kit.client, &close_with(1002, reason)).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Hawser, Cause::ProtocolError, Some(1002));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

/// The client is told first (the contract), although the backend's Close would have its place at once.
#[tokio::test(start_paused = true)]
async fn the_client_is_told_first_of_what_it_did() {
    let mut kit = limited(|policy| {
        policy.upgrade.max_message_bytes = Setting::field(Some(1000));
    })
    .tunnel()
    .await;
    let begun = fragment(0x02, b"a message that goes on");
    send(&mut kit.backend, &begun).await;
    expect(&mut kit.client, &begun).await;
    let start = Instant::now();
    send(&mut kit.client, &masked(&[7; 1001])[..8]).await;
    tokio::time::sleep(Duration::from_millis(1900)).await;
    let early = kit.backend.try_read(&mut [0; 1]);
    assert!(early.is_err(), "it waits for what the client waits for");
    let told = close_with(1009, "message_too_big: a message is over the limit");
    expect(&mut kit.client, &told).await;
    expect_masked_close(&mut kit.backend, 1009).await;
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn without_strictness_what_the_ends_agree_on_passes() {
    let mut kit = tunnel().await;
    for bytes in [
        &[0x81, 1, b'a'][..],
        &[0xf3, 1, b'a'],
        &[0x8f, 2, 1, 2],
        &[0x09, 0],
    ] {
        send(&mut kit.client, bytes).await;
        expect(&mut kit.backend, bytes).await;
    }
}

#[tokio::test]
async fn compression_is_no_violation() {
    let mut open = limited(|policy| policy.upgrade.strict = Setting::field(true));
    open.extensions = Extensions::Deflate;
    let mut kit = open.tunnel().await;
    let compressed = masked_fragment(0xc1, b"abc");
    send(&mut kit.client, &compressed).await;
    expect(&mut kit.backend, &compressed).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_per_second_are_kept_by_waiting() {
    let mut kit = limited(|policy| {
        policy.limits.bytes_per_second = Setting::field(Some(10_000));
    })
    .tunnel()
    .await;
    let bytes = masked(&vec![7; 60_000 - 8]);
    assert_eq!(bytes.len(), 60_000);
    send(&mut kit.client, &bytes).await;
    let start = Instant::now();
    expect(&mut kit.backend, &bytes).await;
    // A second's share comes at once.
    let took = start.elapsed().as_secs_f64();
    assert!((4.9..=5.3).contains(&took), "{took}");
    // The other direction has a share of its own.
    send(&mut kit.backend, &frame(&[1; 5000])).await;
    expect(&mut kit.client, &frame(&[1; 5000])).await;
    assert!(start.elapsed().as_secs_f64() < took + 0.2);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_tunnel_counts() {
    let mut open = limited(|policy| {
        policy.limits.messages_per_second = Setting::field(Some(10));
    });
    let early = masked(b"x").repeat(30);
    open.client_early = early.clone().leak();
    let mut kit = open.tunnel().await;
    expect(&mut kit.backend, &early).await;
    let start = Instant::now();
    send(&mut kit.client, &masked(b"y")).await;
    expect(&mut kit.backend, &masked(b"y")).await;
    // A second's share is there at once, the rest is a debt.
    let took = start.elapsed().as_secs_f64();
    assert!((1.8..=2.3).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn pings_and_small_fragments_count_as_messages() {
    let fragments = [fragment(0x01, b"a"), fragment(0x00, b"b").repeat(999)].concat();
    let reserved = fragment(0x8b, b"").repeat(1000);
    for flood in [fragment(0x89, b"").repeat(1000), fragments, reserved] {
        let mut kit = limited(|policy| {
            policy.limits.messages_per_second = Setting::field(Some(100));
        })
        .tunnel()
        .await;
        send(&mut kit.backend, &flood).await;
        let start = Instant::now();
        expect(&mut kit.client, &flood).await;
        let took = start.elapsed().as_secs_f64();
        assert!((8.5..=10.0).contains(&took), "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_per_second_are_kept_by_waiting() {
    let mut kit = limited(|policy| {
        policy.limits.messages_per_second = Setting::field(Some(100));
    })
    .tunnel()
    .await;
    let bytes = masked(&[7; 94]).repeat(1000);
    send(&mut kit.client, &bytes).await;
    let start = Instant::now();
    expect(&mut kit.backend, &bytes).await;
    let took = start.elapsed().as_secs_f64();
    assert!((8.5..=10.0).contains(&took), "{took}");
    // Who waits can be told to end.
    send(&mut kit.client, &bytes).await;
    kit.registry.drain(Duration::ZERO);
    assert_eq!(kit.outcome.await.unwrap().cause, Cause::Drain);
}
