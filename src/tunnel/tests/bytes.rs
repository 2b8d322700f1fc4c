//! Every byte arrives once and in order, whatever the sizes and speeds; and memory stays bounded.

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::*;

#[tokio::test]
async fn early_bytes_go_first() {
    let mut kit = Open {
        client_early: b"\x82\x80\0\0\0\0\x82\x81\0\0",
        backend_early: b"\x82\x05he",
        ..Open::default()
    }
    .tunnel()
    .await;
    send(&mut kit.client, b"\0\0x").await;
    send(&mut kit.backend, b"llo").await;
    let up = b"\x82\x80\0\0\0\0\x82\x81\0\0\0\0x";
    expect(&mut kit.backend, up).await;
    expect(&mut kit.client, b"\x82\x05hello").await;
    drop(kit.client);
    expect_masked_close(&mut kit.backend, 1001).await;
    drop(kit.backend);
    let outcome = kit.outcome.await.unwrap();
    assert_eq!(outcome.bytes_from_client, up.len() as u64);
    assert_eq!(outcome.bytes_from_backend, 7);
}

#[tokio::test]
async fn an_early_close_counts() {
    let mut kit = Open {
        backend_early: b"\x88\x02\x03\xe8 junk",
        ..Open::default()
    }
    .tunnel()
    .await;
    expect(&mut kit.client, b"\x88\x02\x03\xe8").await;
    send(&mut kit.client, &masked_close(1000)).await;
    expect_end(&mut kit.client).await;
    drop((kit.client, kit.backend));
    let expected = (Initiator::Backend, Cause::BackendClosed, Some(1000));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}

/// Sends `frames` in pieces of these sizes, then a Close.
async fn write(mut to: impl tokio::io::AsyncWrite + Unpin, bytes: Vec<u8>, pieces: Vec<usize>) {
    let mut at = 0;
    for piece in pieces.iter().cycle() {
        let end = bytes.len().min(at + piece);
        to.write_all(&bytes[at..end]).await.unwrap();
        at = end;
        if at == bytes.len() {
            return;
        }
        if piece % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads `length` bytes in pieces of these sizes.
async fn read(
    mut from: impl tokio::io::AsyncRead + Unpin,
    length: usize,
    pieces: Vec<usize>,
) -> Vec<u8> {
    let mut got = Vec::new();
    for piece in pieces.iter().cycle() {
        let mut buffer = vec![0; (*piece).min(length - got.len())];
        let n = from.read(&mut buffer).await.unwrap();
        got.extend_from_slice(&buffer[..n]);
        if got.len() == length || n == 0 {
            break;
        }
        if piece % 2 == 0 {
            tokio::task::yield_now().await;
        }
    }
    got
}

fn stream(lengths: &[usize], make: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut seed = 1_u8;
    let mut payload = |length| {
        std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(37).wrapping_add(11);
            seed
        })
        .take(length)
        .collect::<Vec<_>>()
    };
    lengths
        .iter()
        .flat_map(|length| make(&payload(*length)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_byte_arrives_in_order(
        up in proptest::collection::vec(0_usize..200_000, 0..12),
        down in proptest::collection::vec(0_usize..200_000, 0..12),
        pieces in proptest::collection::vec(1_usize..100_000, 4..12),
        reads in proptest::collection::vec(1_usize..100_000, 4..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let up = [stream(&up, masked), masked_close(1000)].concat();
            let down = [stream(&down, frame), close::frame(1000, "")].concat();
            let kit = tunnel().await;
            let (from_client, to_client) = kit.client.into_split();
            let (from_backend, to_backend) = kit.backend.into_split();
            let write_up = tokio::spawn(write(to_client, up.clone(), pieces.clone()));
            let write_down = tokio::spawn(write(to_backend, down.clone(), reads.clone()));
            let read_up = tokio::spawn(read(from_backend, up.len(), pieces));
            let read_down = tokio::spawn(read(from_client, down.len(), reads));
            assert!(read_up.await.unwrap() == up);
            assert!(read_down.await.unwrap() == down);
            write_up.await.unwrap();
            write_down.await.unwrap();
            let outcome = kit.outcome.await.unwrap();
            assert_eq!(outcome.bytes_from_client, up.len() as u64);
            assert_eq!(outcome.bytes_from_backend, down.len() as u64);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_writer_back() {
    let kit = tunnel().await;
    let bytes = stream(&[60_000; 1000], frame);
    let (expected, length) = (bytes.clone(), bytes.len());
    let mut backend = kit.backend;
    let writer = tokio::spawn(async move {
        backend.write_all(&bytes).await.unwrap();
        backend
    });
    // Nobody reads: what Hawser takes is bounded by the socket buffers and its rest. Wait until it stands still;
    // paused time passes only when nothing can be done.
    let taken = || kit.registry.list()[0].bytes_from_backend;
    let (mut before, mut still) = (0, 0);
    while still < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        still = if before == taken() && before > 0 {
            still + 1
        } else {
            0
        };
        before = taken();
    }
    assert!(!writer.is_finished());
    assert!(
        before < 16 << 20,
        "{before} bytes of {length} are somewhere"
    );
    let (mut from_client, mut to_client) = kit.client.into_split();
    let mut got = vec![0; length];
    from_client.read_exact(&mut got).await.unwrap();
    assert!(got == expected);
    to_client.write_all(&masked_close(1000)).await.unwrap();
    let mut backend = writer.await.unwrap();
    expect(&mut backend, &masked_close(1000)).await;
}

#[tokio::test]
async fn websockets_made_by_others() {
    let kit = tunnel().await;
    let mut client = WebSocketStream::from_raw_socket(kit.client, Role::Client, None).await;
    let backend = WebSocketStream::from_raw_socket(kit.backend, Role::Server, None).await;
    let echo = tokio::spawn(async move {
        let (mut sink, mut stream) = backend.split();
        while let Some(Ok(message)) = stream.next().await {
            if message.is_text() || message.is_binary() {
                sink.send(message).await.unwrap();
            }
        }
    });
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let message = Message::binary(stream(&[length], <[u8]>::to_vec));
        client.send(message.clone()).await.unwrap();
        client.send(Message::Ping(vec![1, 2].into())).await.unwrap();
        let (mut echoed, mut ponged) = (false, false);
        while !(echoed && ponged) {
            match client.next().await.unwrap().unwrap() {
                Message::Pong(payload) => ponged = payload[..] == [1, 2],
                other => {
                    assert!(other == message);
                    echoed = true;
                }
            }
        }
    }
    let close = CloseFrame {
        code: CloseCode::Library(4321),
        reason: "done".into(),
    };
    client.close(Some(close.clone())).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(close)));
    assert!(client.next().await.is_none());
    echo.await.unwrap();
    let expected = (Initiator::Client, Cause::ClientClosed, Some(4321));
    assert_eq!(end(&kit.outcome.await.unwrap()), expected);
}
