//! Floods: the process lives, others are served, memory stays bounded.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::kit::{
    client, hawser, manifest, origin,
    raw::{self, Then, ok},
};

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PADDED,
        PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
    },
    kit::{connect, get as request},
};

/// More than this no flood may make the process grow, all of them together.
const GROWTH: u64 = 48 * 1024 * 1024;

/// Bytes after which a flood that is borne has gone on for long enough.
const ENOUGH: usize = 16 * 1024 * 1024;

/// A server that takes nothing for so long has stopped reading, which is an answer too.
const STALL: Duration = Duration::from_secs(2);

/// The same where nothing should make it stop: a machine may stand still for two seconds.
const NO_STALL: Duration = Duration::from_secs(20);

/// How a flood ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The server ended the connection; the code of its GOAWAY, if that arrived before the reset of TCP.
    Closed(Option<u32>),
    /// The server takes no more.
    Stalled,
    /// All of it was borne.
    Borne,
}

/// Sends `batch(1)`, `batch(2)`, … until something happens. What comes back is read, if `reads`.
async fn flood(
    address: SocketAddr,
    settings: &[u8],
    reads: bool,
    mut batch: impl FnMut(u32) -> Vec<u8>,
) -> End {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let received = Arc::new(Mutex::new(Vec::new()));
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (received, ended) = (Arc::clone(&received), Arc::clone(&ended));
        async move {
            let mut scratch = vec![0; 65_536];
            while reads && let Ok(count @ 1..) = read.read(&mut scratch).await {
                let mut received = received.lock();
                received.extend_from_slice(&scratch[..count]);
                // The last frames are enough.
                let keep = received.len().saturating_sub(4096);
                received.drain(..keep);
            }
            ended.store(reads, Ordering::Relaxed);
            if !reads {
                std::future::pending::<()>().await;
            }
        }
    });
    let mut sent = 0;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    let mut end = End::Borne;
    for number in 1.. {
        bytes.extend(batch(number));
        sent += bytes.len();
        let patience = if reads { NO_STALL } else { STALL };
        match timeout(patience, write.write_all(&bytes)).await {
            Err(_) => end = End::Stalled,
            Ok(Err(_)) => end = End::Closed(None),
            Ok(Ok(())) if sent > ENOUGH => {}
            Ok(Ok(())) if ended.load(Ordering::Relaxed) => end = End::Closed(None),
            Ok(Ok(())) => {
                bytes.clear();
                continue;
            }
        }
        break;
    }
    if let End::Closed(code) = &mut end {
        let received = received.lock();
        let goaway = received
            .windows(17)
            .rev()
            .find(|bytes| bytes[..2] == [0, 0] && bytes[3] == GOAWAY && bytes[4..9] == [0; 5]);
        *code = goaway.map(|bytes| u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
    }
    reader.abort();
    end
}

/// Client streams have odd numbers.
fn stream(number: u32) -> u32 {
    2 * number - 1
}

/// A whole request on its stream.
fn whole(number: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get(&[]))
}

fn calm(end: &End) -> bool {
    matches!(end, End::Closed(None | Some(ENHANCE_YOUR_CALM)))
}

/// Frames for a stream that make the server reset it.
type Primitive = fn(u32) -> Vec<u8>;

#[tokio::test]
async fn floods() {
    let origin = origin::http().await;
    let held = raw::held(ok, Then::Close).await;
    let hawser = hawser::with(
        &(manifest::service("a", &[origin.addr])
            + &manifest::route("a", "a.test", "/", "a", "")
            + &manifest::websocket("held", "/", &[held.addr])),
    )
    .await;
    let address = hawser.http;
    let mut witness = connect(address).await;
    assert_eq!(witness.send(request("/")).await.unwrap().status, 200);
    let start = hawser.rss();

    // Row 65: rapid reset (CVE-2023-44487).
    let rapid = |number: u32| {
        let reset = frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes());
        [whole(number), reset].concat()
    };
    let end = flood(address, &[], true, |batch| {
        (0..100)
            .flat_map(|i| rapid((batch - 1) * 100 + i + 1))
            .collect()
    })
    .await;
    assert!(calm(&end), "rapid reset: {end:?}");

    // Row 66: the server is made to reset (CVE-2025-8671).
    let primitives: [(&str, Primitive); 6] = [
        ("WINDOW_UPDATE of 0", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &[0; 4])
        }),
        ("WINDOW_UPDATE beyond the limit", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("DATA after the end", |stream| frame(DATA, 0, stream, b"x")),
        ("HEADERS after the end", |stream| {
            frame(HEADERS, END_HEADERS, stream, &get(&[]))
        }),
        ("PRIORITY of 6 bytes", |stream| {
            frame(PRIORITY, 0, stream, &[0; 6])
        }),
        ("PRIORITY of itself", |stream| {
            let payload = [&stream.to_be_bytes()[..], &[1]].concat();
            frame(PRIORITY, 0, stream, &payload)
        }),
    ];
    for (name, primitive) in primitives {
        let end = flood(address, &[], true, |batch| {
            (0..20)
                .flat_map(|i| {
                    let number = (batch - 1) * 20 + i + 1;
                    [whole(number), primitive(stream(number))].concat()
                })
                .collect()
        })
        .await;
        assert!(matches!(end, End::Closed(_)), "{name}: {end:?}");
    }

    // Row 67: CONTINUATION without end (RUSTSEC-2024-0332), references to one large field, split cookies.
    let end = flood(address, &[], true, |batch| {
        let filler = block(&[("x", &"y".repeat(16_000))]);
        match batch {
            1 => frame(HEADERS, 0, 1, &get(&[])),
            _ => frame(CONTINUATION, 0, 1, &filler),
        }
    })
    .await;
    assert!(matches!(end, End::Closed(_)), "CONTINUATION: {end:?}");
    let end = flood(address, &[], true, |batch| {
        // Into the dynamic table, then the newest entry of it again and again.
        let mut bomb = get(&[]);
        bomb.push(0x40);
        bomb.extend(&block(&[("x", &"y".repeat(3000))])[1..]);
        bomb.extend(vec![0xbe; 12_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream(batch), &bomb)
    })
    .await;
    assert!(matches!(end, End::Closed(_)), "references: {end:?}");
    let end = flood(address, &[], true, |batch| {
        let crumbs = vec![("cookie", "a"); 1000];
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream(batch),
            &get(&crumbs),
        )
    })
    .await;
    // Each is answered with 431.
    assert_ne!(end, End::Stalled, "cookies");

    // Row 67: answers that nobody takes. INITIAL_WINDOW_SIZE (4) is 0.
    let end = flood(address, &[0, 4, 0, 0, 0, 0], false, whole).await;
    assert_ne!(end, End::Borne, "a stalled window");

    // Row 68: frames that carry nothing or little, and such as must be answered.
    let posting = |number| {
        let fields = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "held.test"),
            (":path", "/"),
        ]);
        frame(HEADERS, END_HEADERS, stream(number), &fields)
    };
    let empty = frame(DATA, 0, 1, &[]).repeat(100);
    let end = flood(address, &[], true, |batch| match batch {
        1 => posting(1),
        _ => empty.clone(),
    })
    .await;
    assert!(matches!(end, End::Closed(_)), "empty DATA: {end:?}");
    let padded = frame(DATA, PADDED, 1, &[&[255, b'x'][..], &[0; 255]].concat()).repeat(10);
    let end = flood(address, &[], true, |batch| match batch {
        1 => posting(1),
        _ => padded.clone(),
    })
    .await;
    // Its window is full, or the backend takes it all: a slow upload.
    println!("padding: {end:?}");
    for (name, kind, payload) in [
        ("PING", PING, vec![0; 8]),
        ("SETTINGS", SETTINGS, vec![0, 4, 0, 1, 0, 0]),
    ] {
        let frames = frame(kind, 0, 0, &payload).repeat(1000);
        let end = flood(address, &[], false, |_| frames.clone()).await;
        assert_ne!(end, End::Borne, "{name}");
    }

    // Others: the connection from before, a new one, and HTTP/1.
    assert_eq!(witness.send(request("/")).await.unwrap().status, 200);
    let fresh = connect(address).await.send(request("/")).await;
    assert_eq!(fresh.unwrap().status, 200);
    let old = client::get(address, "a.test", "/").await.unwrap();
    assert_eq!(old.status, 200);
    let grown = hawser.rss().saturating_sub(start);
    assert!(grown < GROWTH, "grew by {grown} bytes");
    println!("grew by {grown} bytes");
    let panics = hawser.metric("hawser_connection_panics_total").await;
    assert!(panics.is_none_or(|count| count < 0.5));
}
