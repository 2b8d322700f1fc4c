//! Large frames: moved without a copy, and nothing of them is lost, added or out of place.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::tunnel::{
    counts::Counts,
    flow::{Flow, SCRATCH_BYTES, Turn},
    passage::To,
    side::Side,
};

/// A payload in which every place looks different.
fn payload(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).unwrap())
        .collect()
}

/// Large and small messages mixed, fragments and control frames among them.
fn mixed(make: impl Fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for length in [
        10, 70_000, 5, 65_536, 65_536, 65_536, 40_000, 0, 1_000_000, 126,
    ] {
        bytes.extend(make(0x82, &payload(length)));
        bytes.extend(make(0x89, b"ping"));
    }
    bytes.extend(make(0x02, &payload(100_000)));
    bytes.extend(make(0x8a, b"between"));
    bytes.extend(make(0x00, &payload(200_000)));
    bytes.extend(make(0x80, &payload(33_000)));
    bytes
}

async fn check(splice: bool) {
    let open = Open {
        splice,
        ..Open::default()
    };
    let kit = open.tunnel().await;
    let up = mixed(|first, payload| {
        let mut frame = masked(payload);
        frame[0] = first;
        frame
    });
    let down = mixed(fragment);
    let (mut client_in, mut client_out) = kit.client.into_split();
    let (mut backend_in, mut backend_out) = kit.backend.into_split();
    let (to_send, expected) = (up.clone(), up);
    let upwards = tokio::spawn(async move {
        for _ in 0..3 {
            client_out.write_all(&to_send).await.unwrap();
        }
        client_out
    });
    let (to_send, expected_down) = (down.clone(), down);
    let downwards = tokio::spawn(async move {
        for _ in 0..3 {
            backend_out.write_all(&to_send).await.unwrap();
        }
        backend_out
    });
    let down_reader = tokio::spawn(async move {
        for _ in 0..3 {
            let mut got = vec![0; expected_down.len()];
            client_in.read_exact(&mut got).await.unwrap();
            assert!(got == expected_down);
        }
        client_in
    });
    for _ in 0..3 {
        let mut got = vec![0; expected.len()];
        backend_in.read_exact(&mut got).await.unwrap();
        assert!(got == expected);
    }
    let client_in = down_reader.await.unwrap();
    drop((upwards.await.unwrap(), client_in));
    drop((downwards.await.unwrap(), backend_in));
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.messages_from_client, 33);
    assert_eq!(outcome.messages_from_backend, 33);
    assert_eq!(outcome.bytes_from_client, 3 * expected.len() as u64);
}

#[tokio::test]
async fn nothing_is_lost_or_out_of_place() {
    check(true).await;
    check(false).await;
}

#[tokio::test]
async fn a_source_that_ends_inside_of_a_large_frame() {
    for by_reset in [false, true] {
        let mut kit = tunnel().await;
        // The first large frame makes the next one be looked for.
        let bytes = frame(&payload(100_000));
        send(&mut kit.backend, &bytes).await;
        expect(&mut kit.client, &bytes).await;
        let cut = frame(&payload(500_000));
        send(&mut kit.backend, &cut[..300_000]).await;
        expect(&mut kit.client, &cut[..300_000]).await;
        if by_reset {
            reset(kit.backend);
        } else {
            drop(kit.backend);
        }
        expect_end(&mut kit.client).await;
        drop(kit.client);
        let outcome = kit.outcome.await.unwrap();
        let expected = (Initiator::Backend, Cause::BackendLost, None);
        assert_eq!(end(&outcome), expected);
        assert!(!outcome.client_got_close);
    }
}

/// A large frame, and the first half of the next one: the frame.
async fn half_of_a_large_frame(kit: &mut Kit) -> Vec<u8> {
    let bytes = frame(&payload(100_000));
    send(&mut kit.backend, &bytes).await;
    expect(&mut kit.client, &bytes).await;
    send(&mut kit.backend, &bytes[..50_000]).await;
    expect(&mut kit.client, &bytes[..50_000]).await;
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_end_of_a_large_frame() {
    let mut kit = tunnel().await;
    let bytes = half_of_a_large_frame(&mut kit).await;
    kit.registry.drain(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    send(
        &mut kit.backend,
        &[&bytes[50_000..], &frame(b"next")].concat(),
    )
    .await;
    expect(&mut kit.client, &bytes[50_000..]).await;
    expect(&mut kit.client, &own_close(1012)).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_stands_behind_a_large_frame_that_nothing_follows() {
    let mut kit = tunnel().await;
    let bytes = half_of_a_large_frame(&mut kit).await;
    kit.registry.drain(Duration::ZERO);
    // Until the Close would stand inside of a message, too.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    send(&mut kit.backend, &bytes[50_000..]).await;
    expect(&mut kit.client, &bytes[50_000..]).await;
    expect(&mut kit.client, &own_close(1012)).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_stands_behind_a_large_frame_that_nothing_follows() {
    let open = Open {
        policy: policy(|policy| {
            policy.keepalive.interval = Setting::field(Some(Duration::from_secs(10)));
        }),
        ..Open::default()
    };
    let mut kit = open.tunnel().await;
    let bytes = half_of_a_large_frame(&mut kit).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    send(&mut kit.backend, &bytes[50_000..]).await;
    expect(&mut kit.client, &bytes[50_000..]).await;
    let mut ping = [0; 10];
    let start = Instant::now();
    kit.client.read_exact(&mut ping).await.unwrap();
    assert_eq!(
        (ping[..2].to_vec(), start.elapsed()),
        (vec![0x89, 8], Duration::ZERO)
    );
}

#[tokio::test]
async fn a_reader_that_stops_gets_everything_in_order_when_it_goes_on() {
    let mut kit = tunnel().await;
    let bytes = frame(&payload(1_000_000));
    let (mut still, mut sent) = (0, 0);
    while still < 20 {
        match kit.backend.try_write(&bytes[sent % bytes.len()..]) {
            Ok(count) => {
                still = 0;
                sent += count;
            }
            Err(_) => still += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut left = sent;
    let mut at = 0;
    let mut got = vec![0; 100_000];
    while left > 0 {
        let count = kit.client.read(&mut got).await.unwrap();
        assert!(count > 0);
        for byte in &got[..count] {
            assert_eq!(*byte, bytes[at % bytes.len()], "at {at}");
            at += 1;
        }
        left -= count;
    }
}

/// A socket that counts what is copied out of it.
struct Counted {
    socket: TcpStream,
    copied: usize,
}

impl Side for Counted {
    fn socket(&self) -> Option<&TcpStream> {
        Some(&self.socket)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.copied += buffer.filled().len() - before;
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Frames of the size of a read, of which the first one begins inside of a read: all the others do, too, if it goes on with
/// reads of that size.
#[tokio::test]
async fn large_frames_are_not_copied_wherever_they_begin() {
    let (mut sender, source) = pair().await;
    let (mut receiver, mut destination) = pair().await;
    let bytes = [frame(b"small"), frame(&payload(65_536)).repeat(200)].concat();
    let total = bytes.len();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        sender.write_all(&sent).await.unwrap();
        sender
    });
    let receiving = tokio::spawn(async move {
        let mut got = vec![0; total];
        receiver.read_exact(&mut got).await.unwrap();
        got
    });
    let mut source = Counted {
        socket: source,
        copied: 0,
    };
    let mut flow = Flow::new(To::Client, true, None);
    let (mut scratch, mut counts) = (vec![0; SCRATCH_BYTES], Counts::default());
    let limits = ir::Limits::default();
    poll_fn(|cx| {
        loop {
            let mut turn = Turn {
                cx,
                scratch: &mut scratch,
                counts: &mut counts,
            };
            let moved = flow.poll(
                &mut turn,
                &mut source,
                &mut destination,
                &Rules::NONE,
                &limits,
            );
            if counts.bytes == total as u64 && flow.blocked().is_none() {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    })
    .await;
    assert!(receiving.await.unwrap() == bytes);
    drop(sending.await.unwrap());
    assert!(source.copied < total / 2, "{} of {total}", source.copied);
}
