//! How Hawser ends tunnels whose peers do not play along: half frames, no answer to a Close, data after one.
//!
//! The end is that of `timeouts.maxLifetime`; all ends of Hawser's own go the same way.

use std::time::Instant;

use crate::kit::wire::{
    Ends, Site, close, expect, expect_close, expect_end, frame, number, rest, send,
};

/// Everything on `short` is being ended once a later one on `long` is: its last tenth begins after a second.
const ROUTES: &[(&str, &str)] = &[
    ("short", "timeouts: {maxLifetime: 1s}"),
    ("long", "timeouts: {maxLifetime: 1s200ms}"),
];

/// Waits until everything on `short` is being ended.
async fn ending(site: &Site) {
    let mut last = site.open("/long").await;
    assert_eq!(expect_close(&mut last.client).await.0, 1012);
}

async fn ended_by_us(site: &Site) {
    let cause = site.cause("/short").await;
    assert_eq!(cause, ("max_lifetime".to_owned(), Some(1012)));
}

#[tokio::test]
async fn a_half_frame_is_finished_first() {
    let site = Site::start(ROUTES).await;
    let Ends {
        mut client,
        mut backend,
    } = site.open("/short").await;
    let message = frame(0x82, false, b"0123456789");
    send(&mut backend, &message[..5]).await;
    expect(&mut client, &message[..5]).await;
    ending(&site).await;
    send(
        &mut backend,
        &[&message[5..], &frame(0x82, false, b"too late")].concat(),
    )
    .await;
    expect(&mut client, &message[5..]).await;
    assert_eq!(expect_close(&mut client).await.0, 1012);
    // A message of the client that was on its way still arrives, and Hawser's Close behind it.
    let late = frame(0x81, true, b"on its way");
    send(
        &mut client,
        &[late.clone(), close(true, 1012), late.clone()].concat(),
    )
    .await;
    expect(&mut backend, &late).await;
    assert_eq!(expect_close(&mut backend).await.0, 1012);
    send(&mut backend, &close(false, 1012)).await;
    expect_end(&mut client).await;
    expect_end(&mut backend).await;
    ended_by_us(&site).await;
}

#[tokio::test]
async fn nothing_stands_inside_of_a_frame_that_never_ends() {
    let site = Site::start(ROUTES).await;
    let Ends {
        mut client,
        mut backend,
    } = site.open("/short").await;
    let half = &frame(0x82, false, b"0123456789")[..5];
    send(&mut backend, half).await;
    let (got, (code, _)) = tokio::join!(rest(&mut client), expect_close(&mut backend));
    assert_eq!((&*got, code), (half, 1012), "no Close, but FIN");
    expect_end(&mut backend).await;
    let outcome = site.outcome("/short").await;
    let told = |name: &str| outcome.get("fields").unwrap_or(&outcome)[name].as_bool();
    assert_eq!(told("client_got_close"), Some(false), "{outcome}");
    assert_eq!(told("backend_got_close"), Some(true), "{outcome}");
}

#[tokio::test]
async fn a_fragmented_message_is_waited_for_but_not_for_ever() {
    let site = Site::start(ROUTES).await;
    let start = Instant::now();
    let Ends {
        mut client,
        mut backend,
    } = site.open("/short").await;
    let part = frame(0x01, false, b"once upon a time");
    send(&mut backend, &part).await;
    expect(&mut client, &part).await;
    assert_eq!(expect_close(&mut client).await.0, 1012);
    // 0.9 s of life, and 2 s for the rest of the message.
    let closed_after = start.elapsed().as_secs_f64();
    assert!(closed_after > 2.8, "{closed_after}");
    send(&mut client, &close(true, 1012)).await;
    assert_eq!(expect_close(&mut backend).await.0, 1012);
    send(&mut backend, &close(false, 1012)).await;
    expect_end(&mut client).await;
    ended_by_us(&site).await;
}

#[tokio::test]
async fn a_client_that_never_answers_holds_nothing() {
    let site = Site::start(ROUTES).await;
    let start = Instant::now();
    let Ends {
        mut client,
        mut backend,
    } = site.open("/short").await;
    assert_eq!(expect_close(&mut client).await.0, 1012);
    assert_eq!(expect_close(&mut backend).await.0, 1012);
    // 0.9 s of life, and 3 s for the client's answer.
    let told_after = start.elapsed().as_secs_f64();
    assert!(told_after > 3.8, "{told_after}");
    send(&mut backend, &close(false, 1012)).await;
    expect_end(&mut client).await;
    expect_end(&mut backend).await;
    ended_by_us(&site).await;
}

#[tokio::test]
async fn a_backend_that_goes_on_is_dropped_and_counted() {
    let site = Site::start(ROUTES).await;
    let Ends {
        mut client,
        mut backend,
    } = site.open("/short").await;
    assert_eq!(expect_close(&mut client).await.0, 1012);
    let more = frame(0x82, false, &[7; 1000]);
    for _ in 0..100 {
        send(&mut backend, &more).await;
    }
    send(&mut client, &close(true, 1012)).await;
    assert_eq!(expect_close(&mut backend).await.0, 1012);
    send(&mut backend, &close(false, 1012)).await;
    expect_end(&mut client).await;
    let outcome = site.outcome("/short").await;
    let bytes = number(&outcome, "bytes_from_backend");
    let sent = 100 * more.len() + close(false, 1012).len();
    assert_eq!(bytes, Some(sent as u64), "{outcome}");
    assert_eq!(
        number(&outcome, "messages_from_backend"),
        Some(0),
        "{outcome}"
    );
}

/// Its own Close counts; what it sends behind it reaches nobody.
#[tokio::test]
async fn data_after_a_close_is_dropped() {
    let site = Site::start(&[("plain", "")]).await;
    let late = frame(0x81, true, b"one more thing");
    let Ends {
        mut client,
        mut backend,
    } = site.open("/plain").await;
    send(
        &mut client,
        &[close(true, 4001), late.clone(), close(true, 4002)].concat(),
    )
    .await;
    expect(&mut backend, &close(true, 4001)).await;
    send(&mut client, &late).await;
    send(
        &mut backend,
        &[close(false, 4001), frame(0x81, false, b"me too")].concat(),
    )
    .await;
    assert_eq!(rest(&mut client).await, close(false, 4001));
    expect_end(&mut backend).await;
    assert_eq!(
        site.cause("/plain").await,
        ("client_closed".to_owned(), Some(4001))
    );
}

/// Nobody waits longer than 10 s for the answer to a peer's Close.
#[tokio::test]
async fn a_close_that_is_never_answered() {
    let site = Site::start(&[("plain", "")]).await;
    let Ends {
        mut client,
        mut backend,
    } = site.open("/plain").await;
    let start = Instant::now();
    send(&mut backend, &close(false, 4000)).await;
    expect(&mut client, &close(false, 4000)).await;
    // The client goes on as if nothing had happened, for as long as it likes.
    let late = frame(0x81, true, b"what?");
    send(&mut client, &late).await;
    expect(&mut backend, &late).await;
    expect_end(&mut client).await;
    let waited = start.elapsed().as_secs();
    assert!((9..20).contains(&waited), "{waited} s");
    expect_end(&mut backend).await;
    assert_eq!(
        site.cause("/plain").await,
        ("backend_closed".to_owned(), Some(4000))
    );
}
