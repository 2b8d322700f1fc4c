//! Headers however they are cut, lengths without end, and limits that count what is on the wire.

use crate::kit::wire::{
    Site, close, expect, expect_close, expect_end, frame, has_read, header, send,
};

const BIG: &str = "message_too_big: a message is over the limit";

#[tokio::test]
async fn a_header_may_be_cut_at_every_byte() {
    let site = Site::start(&[("cut", "upgrade: {maxMessageBytes: 70000, strict: true}")]).await;
    let mut ends = site.open("/cut").await;
    let mut sent = 0;
    for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
        let bytes = frame(0x82, true, &vec![b'x'; length]);
        let header = bytes.len() - length;
        for cut in 1..=header.min(bytes.len() - 1) {
            send(&mut ends.client, &bytes[..cut]).await;
            sent += bytes.len();
            has_read(&site, "/cut", sent - bytes.len() + cut).await;
            send(&mut ends.client, &bytes[cut..]).await;
            expect(&mut ends.backend, &bytes).await;
        }
    }
    // A control frame is whole or not at all, too.
    let ping = frame(0x89, true, b"payload");
    for cut in 1..ping.len() {
        send(&mut ends.client, &ping[..cut]).await;
        sent += ping.len();
        has_read(&site, "/cut", sent - ping.len() + cut).await;
        send(&mut ends.client, &ping[cut..]).await;
        expect(&mut ends.backend, &ping).await;
    }
}

#[tokio::test]
async fn a_length_without_end_is_refused_however_its_header_is_cut() {
    let site = Site::start(&[("limited", "upgrade: {maxMessageBytes: 1000}")]).await;
    for length in [1001, 1 << 31, 1 << 63, u64::MAX] {
        let header = header(0x82, true, length);
        for cut in 1..=header.len() {
            let path = format!("/limited/{length}/{cut}");
            let mut ends = site.open(&path).await;
            let good = frame(0x81, true, b"good");
            send(&mut ends.client, &[&*good, &header[..cut]].concat()).await;
            expect(&mut ends.backend, &good).await;
            if cut < header.len() {
                has_read(&site, &path, good.len() + cut).await;
                send(&mut ends.client, &header[cut..]).await;
            }
            // Not a byte of the frame is passed on.
            assert_eq!(
                expect_close(&mut ends.backend).await,
                (1009, BIG.to_owned())
            );
            assert_eq!(expect_close(&mut ends.client).await, (1009, BIG.to_owned()));
            send(&mut ends.backend, &close(false, 1009)).await;
            drop(ends.client);
            expect_end(&mut ends.backend).await;
            assert_eq!(
                site.cause(&path).await,
                ("message_too_big".to_owned(), Some(1009))
            );
        }
    }
}

#[tokio::test]
async fn fragments_count_together_and_compressed() {
    let site = Site::start(&[
        ("message", "upgrade: {maxMessageBytes: 1000}"),
        ("frame", "upgrade: {maxFrameBytes: 100}"),
    ])
    .await;
    let mut ends = site.open_deflate("/message").await;
    // Twice as much as is allowed in one message, in two messages.
    let first = [frame(0x41, true, &[0; 900]), frame(0x80, true, &[0; 100])].concat();
    let second = frame(0xc2, true, &[0; 1000]);
    send(&mut ends.client, &[&*first, &second].concat()).await;
    expect(&mut ends.backend, &[&*first, &second].concat()).await;
    // And one byte more in the last of three fragments, with a ping in between.
    let most = [
        frame(0x01, true, &[1; 500]),
        frame(0x89, true, b"ping"),
        frame(0x00, true, &[2; 500]),
    ]
    .concat();
    send(
        &mut ends.client,
        &[&*most, &frame(0x80, true, b"!")].concat(),
    )
    .await;
    expect(&mut ends.backend, &most).await;
    assert_eq!(
        expect_close(&mut ends.backend).await,
        (1009, BIG.to_owned())
    );

    // The limit of frames is one of its own, and holds for the backend as well.
    let mut ends = site.open("/frame").await;
    let most = [frame(0x02, false, &[1; 100]), frame(0x00, false, &[2; 100])].concat();
    send(
        &mut ends.backend,
        &[&*most, &frame(0x80, false, &[3; 101])].concat(),
    )
    .await;
    expect(&mut ends.client, &most).await;
    let told = (
        1009,
        "message_too_big: a frame is over the limit".to_owned(),
    );
    assert_eq!(expect_close(&mut ends.client).await, told);
    assert_eq!(expect_close(&mut ends.backend).await, told);
}

/// Without a limit nothing is announced that anybody would have to keep.
#[tokio::test]
async fn a_length_of_2_63_costs_nothing() {
    let site = Site::start(&[("plain", "")]).await;
    let before = site.hawser.rss();
    let mut all = Vec::new();
    for number in 0..50 {
        let mut ends = site.open(&format!("/plain/{number}")).await;
        let start = [header(0x82, true, 1 << 63), vec![7; 100_000]].concat();
        send(&mut ends.client, &start).await;
        expect(&mut ends.backend, &start).await;
        all.push(ends);
    }
    let growth = site.hawser.rss().saturating_sub(before);
    assert!(growth < 8 << 20, "{growth} bytes for 50 tunnels");
}
