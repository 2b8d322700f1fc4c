use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};

use super::*;
use crate::proxy::gate::Verdict;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\n\r\n";
const SENTINEL: &[u8] = b"GET * HTTP/1.1\r\n\r\n";

fn gate() -> (DuplexStream, Gate<DuplexStream>, Control) {
    let (client, server) = duplex(1 << 22);
    let (gate, control) = Gate::new(server, Limits::default());
    (client, gate, control)
}

/// One read with room for `size` bytes; `None` when it is pending.
async fn read_now(gate: &mut Gate<DuplexStream>, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    tokio::select! {
        biased;
        count = gate.read(&mut bytes) => {
            bytes.truncate(count.unwrap());
            Some(bytes)
        }
        () = std::future::ready(()) => None,
    }
}

/// All that can be read without waiting.
async fn read_all(gate: &mut Gate<DuplexStream>, size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = read_now(gate, size).await {
        if bytes.is_empty() {
            break;
        }
        all.extend(bytes);
    }
    all
}

fn refusal_of(control: &Control, head: &[u8]) -> Option<Refusal> {
    let target = head.split(|&byte| byte == b' ').nth(1).unwrap();
    let (parts, ()) = Request::get(target).body(()).unwrap().into_parts();
    control.refusal(&parts)
}

#[tokio::test]
async fn whole_heads_only() {
    let (mut client, mut gate, _) = gate();
    let (first, second) = GET.split_at(20);
    client.write_all(first).await.unwrap();
    assert_eq!(read_now(&mut gate, 100).await, None);
    client.write_all(second).await.unwrap();
    client.write_all(first).await.unwrap();
    assert_eq!(read_all(&mut gate, 7).await, GET);
    client.write_all(second).await.unwrap();
    assert_eq!(read_all(&mut gate, 1).await, GET);
    assert_eq!(
        gate.pending.capacity(),
        0,
        "an idle connection holds no buffer"
    );
}

#[tokio::test]
async fn http2_is_left_as_it_came() {
    let (mut client, mut gate, control) = gate();
    let bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04";
    let (first, second) = bytes.split_at(10);
    client.write_all(first).await.unwrap();
    assert_eq!(read_now(&mut gate, 100).await, None);
    assert!(!gate.is_http2());
    client.write_all(second).await.unwrap();
    assert_eq!(read_now(&mut gate, 100).await.unwrap(), b"");
    assert!(gate.is_http2());
    assert!(!control.is_used());
    // hyper shuts down what has ended, and that is not the end of the stream.
    gate.shutdown().await.unwrap();
    let (mut stream, read) = gate.into_parts();
    assert_eq!(read, bytes.as_slice());
    stream.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_refusal_comes_behind_what_was_admitted() {
    let (mut client, mut gate, control) = gate();
    let bad = b"GET /\x00 HTTP/1.1\r\n\r\n";
    client.write_all(&[GET, bad, GET].concat()).await.unwrap();
    let read = read_all(&mut gate, 1000).await;
    assert_eq!(read, [GET, SENTINEL].concat());
    assert_eq!(refusal_of(&control, GET), None);
    assert_eq!(refusal_of(&control, SENTINEL), Some(Refusal::Control));
    // Pending, not at its end, whatever the client does.
    drop(client);
    assert_eq!(read_now(&mut gate, 100).await, None);
}

#[tokio::test]
async fn a_broken_body_is_an_error() {
    let (mut client, mut gate, control) = gate();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc";
    client
        .write_all(&[head, b"d\r\n0\r\n\r\n".as_slice()].concat())
        .await
        .unwrap();
    assert_eq!(read_now(&mut gate, 1000).await.unwrap(), head);
    let error = gate.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(control.aborted(), Some(Refusal::ChunkEnd));
}

#[tokio::test]
async fn a_tunnel_gets_its_early_bytes() {
    let (mut client, mut gate, control) = gate();
    client.write_all(&[UPGRADE, b"one"].concat()).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, UPGRADE);
    client.write_all(b"two").await.unwrap();
    assert_eq!(read_now(&mut gate, 1000).await, None);
    let _served = control.begin();
    control.upgrade(Verdict::Tunnel);
    assert!(control.early_bytes());
    assert_eq!(read_now(&mut gate, 1000).await, None);
    let (mut stream, early) = gate.into_parts();
    assert_eq!(early, &b"onetwo"[..]);
    client.write_all(b"three").await.unwrap();
    let mut rest = [0; 5];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"three");
}

#[tokio::test]
async fn no_more_than_the_limit_is_read_early() {
    let (mut client, mut gate, control) = gate();
    let early = vec![b'x'; 100_000];
    client.write_all(&[UPGRADE, &early].concat()).await.unwrap();
    assert_eq!(read_all(&mut gate, 200_000).await, UPGRADE);
    assert!(gate.pending.len() <= Limits::default().early_bytes);
    let _served = control.begin();
    control.upgrade(Verdict::Refused);
    assert!(control.early_bytes());
    assert_eq!(read_now(&mut gate, 1000).await, None);
    assert_eq!(gate.mode, Mode::Stopped);
}

#[tokio::test]
async fn the_verdict_wakes_the_reader() {
    let (mut client, mut gate, control) = gate();
    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, UPGRADE);
    let reader = tokio::spawn(async move {
        let mut bytes = vec![0; GET.len()];
        gate.read_exact(&mut bytes).await.unwrap();
        bytes
    });
    tokio::task::yield_now().await;
    let _served = control.begin();
    control.upgrade(Verdict::Refused);
    assert!(!control.early_bytes());
    client.write_all(GET).await.unwrap();
    assert_eq!(reader.await.unwrap(), GET);
}

#[tokio::test]
async fn the_verdict_alone_wakes() {
    let (mut client, mut gate, control) = gate();
    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, UPGRADE);
    let count = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut room = [0; 10];
    let mut buf = ReadBuf::new(&mut room);
    let mut cx = Context::from_waker(&waker);
    assert!(
        Pin::new(&mut gate)
            .poll_read(&mut cx, &mut buf)
            .is_pending()
    );
    let _served = control.begin();
    control.upgrade(Verdict::Refused);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_body_of_a_refused_handshake_follows_its_verdict() {
    let (mut client, mut gate, control) = gate();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Content-Length: 3\r\n\r\n";
    let all = [head.as_slice(), b"abc", GET].concat();
    client.write_all(&all).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, head);
    let _served = control.begin();
    control.upgrade(Verdict::Refused);
    assert!(!control.early_bytes());
    assert_eq!(read_all(&mut gate, 1000).await, [b"abc", GET].concat());
}

#[tokio::test]
async fn a_verdict_for_nothing_does_nothing() {
    let (mut client, mut gate, control) = gate();
    control.upgrade(Verdict::Refused);
    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, UPGRADE);
    client.write_all(GET).await.unwrap();
    assert_eq!(read_now(&mut gate, 1000).await, None);
}

#[tokio::test]
async fn a_verdict_on_the_request_before_does_nothing() {
    let (mut client, mut gate, control) = gate();
    client
        .write_all(&[GET, UPGRADE, b"early"].concat())
        .await
        .unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, [GET, UPGRADE].concat());
    let first = control.begin();
    control.upgrade(Verdict::Refused);
    assert!(!control.early_bytes());
    drop(first);
    let _second = control.begin();
    control.upgrade(Verdict::Tunnel);
    assert!(control.early_bytes());
    // Once more, when something else may be held.
    control.upgrade(Verdict::Refused);
    assert_eq!(read_now(&mut gate, 1000).await, None);
    assert_eq!(gate.into_parts().1, &b"early"[..]);
}

#[tokio::test]
async fn the_end_is_seen_while_a_verdict_is_awaited() {
    let (mut client, mut gate, _control) = gate();
    client.write_all(UPGRADE).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, UPGRADE);
    drop(client);
    assert_eq!(read_now(&mut gate, 1000).await, Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused() {
    let (mut client, mut gate, control) = gate();
    let start = Instant::now();
    let writer = tokio::spawn(async move {
        for byte in b"HEAD / HTTP/1.1\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        client
    });
    let mut sentinel = [0; 19];
    gate.read_exact(&mut sentinel).await.unwrap();
    assert_eq!(&sentinel, b"HEAD * HTTP/1.1\r\n\r\n");
    assert_eq!(refusal_of(&control, &sentinel), Some(Refusal::HeadTimeout));
    assert_eq!(start.elapsed().as_secs(), 10);
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_without_a_byte_ends() {
    let (mut client, mut gate, _control) = gate();
    client.write_all(b"\r\n").await.unwrap();
    let start = Instant::now();
    assert_eq!(gate.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_but_a_busy_one_does_not() {
    let (mut client, mut gate, control) = gate();
    client.write_all(GET).await.unwrap();
    let mut head = vec![0; GET.len()];
    gate.read_exact(&mut head).await.unwrap();
    let serving = control.begin();
    let start = Instant::now();
    let server = tokio::spawn(async move {
        let mut byte = [0; 1];
        gate.read(&mut byte).await.unwrap()
    });
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(!server.is_finished());
    drop(serving);
    assert_eq!(server.await.unwrap(), 0);
    let took = start.elapsed().as_secs();
    assert!((300..=360).contains(&took), "{took} s");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_waited_here_is_not_slow() {
    let (mut client, mut gate, control) = gate();
    let (first, second) = GET.split_at(20);
    client.write_all(&[GET, first].concat()).await.unwrap();
    assert_eq!(read_now(&mut gate, 1000).await.unwrap(), GET);
    client.write_all(second).await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(read_all(&mut gate, 1000).await, GET);
    drop(control);
}

#[tokio::test(start_paused = true)]
async fn shutdown_discards_what_still_comes() {
    let (mut client, mut gate, _control) = gate();
    client.write_all(b"GET /#").await.unwrap();
    client.write_all(b" HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, SENTINEL);
    gate.write_all(b"no").await.unwrap();
    let start = Instant::now();
    let shutdown = tokio::spawn(async move { gate.shutdown().await });
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "no");
    client.write_all(b"more").await.unwrap();
    shutdown.await.unwrap().unwrap();
    let took = start.elapsed().as_millis();
    assert!((900..2100).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn shutdown_of_a_clean_connection_waits_for_nothing() {
    let (mut client, mut gate, _control) = gate();
    client.write_all(GET).await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, GET);
    let start = Instant::now();
    gate.shutdown().await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 0);
}

#[tokio::test]
async fn shutdown_discards_no_more_than_its_limit() {
    let (mut client, mut gate, _control) = gate();
    client.write_all(b"GET /# HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(read_all(&mut gate, 1000).await, SENTINEL);
    client.write_all(&vec![0; DISCARD_BYTES * 2]).await.unwrap();
    gate.shutdown().await.unwrap();
    assert_eq!(gate.shutdown, Shutdown::Done);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
