//! F13: clients that do not read, and backends that write as fast as they can.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future::join_all};
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    client, eventually, hawser, manifest, origin,
    wire::{Ends, Site, expect_close_within, fill, frame},
};

const TUNNELS: usize = 200;

/// What a stalled tunnel may keep: one read, what a write left of it, and its share of what the allocator rounds up.
const PER_TUNNEL: u64 = 80 << 10;

/// What all buffers on the way may take: 512 KiB of Hawser's two sockets, and what the kernel makes of ours.
const KERNEL: usize = 640 << 10;

/// The test's own share of what the kernel keeps.
const OWN: u32 = 32 << 10;

fn small(socket: &TcpSocket, bytes: u32) {
    socket.set_recv_buffer_size(bytes).expect("a small buffer");
    socket.set_send_buffer_size(bytes).expect("a small buffer");
}

fn listener(bytes: u32) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    small(&socket, bytes);
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    socket.listen(1024).expect("it listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_cost_80_kib_each_and_end() {
    let site = Site::behind(listener(OWN), &[("stalled", "limits: {writeStall: 20s}")]).await;
    let echo = origin::echo().await;
    site.hawser.write(
        "calm.yaml",
        &manifest::websocket("calm", "/ws", &[echo.addr]),
    );
    let mut calm = eventually("the other route is live", async || {
        client::ws(site.hawser.http, "calm.test", "/ws").await.ok()
    })
    .await;
    let mut tunnels = Vec::new();
    for number in 0..TUNNELS {
        let near = TcpSocket::new_v4().expect("a socket");
        small(&near, OWN);
        tunnels.push(site.open_from(near, &format!("/stalled/{number}")).await);
    }
    let before = site.hawser.rss_anon();

    // Half of them small messages, half such that would be spliced.
    let writers = join_all(tunnels.iter_mut().enumerate().map(async |(number, ends)| {
        let length = if number % 2 == 0 { 1000 } else { 100_000 };
        fill(&mut ends.backend, &frame(0x82, false, &vec![7; length])).await
    }));
    let start = Instant::now();
    let written: usize = writers.await.into_iter().sum();
    let growth = site.hawser.rss_anon().saturating_sub(before);
    println!(
        "{} KiB written for each of {TUNNELS} in {:?}, {} KiB of the process for each",
        written / TUNNELS / 1024,
        start.elapsed(),
        growth / TUNNELS as u64 / 1024,
    );
    assert!(growth < PER_TUNNEL * TUNNELS as u64, "{growth} bytes");
    assert!(written / TUNNELS < KERNEL, "{written} bytes");

    eventually("they count as stalled", async || {
        let stalled = site
            .hawser
            .sum("hawser_websocket_stalled", &["stalled"])
            .await;
        (stalled as usize == TUNNELS).then_some(())
    })
    .await;
    round_trip(&mut calm).await;
    let ends = join_all(tunnels.iter_mut().map(async |ends| {
        let (code, _) = expect_close_within(Duration::from_mins(1), &mut ends.backend).await;
        code
    }));
    assert_eq!(ends.await, [1001; TUNNELS]);
    for (number, Ends { client, backend }) in tunnels.into_iter().enumerate() {
        drop((client, backend));
        let cause = site.cause(&format!("/stalled/{number}")).await;
        assert_eq!(cause, ("client_lost".to_owned(), Some(1001)));
    }
    round_trip(&mut calm).await;
    let stalled = site.hawser.sum("hawser_websocket_stalled", &[]).await;
    assert_eq!(stalled as usize, 0);
}

/// Reads and drops as much as comes, up to so many bytes.
async fn take(stream: &mut TcpStream, bytes: usize) {
    let mut left = bytes;
    let mut room = vec![0; 64 << 10];
    while left > 0 {
        let most = left.min(room.len());
        let read = stream.read(&mut room[..most]).await.expect("open");
        assert!(read > 0, "it is over");
        left -= read;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_to_a_backend_that_stops_is_bounded_too() {
    let site = Site::behind(listener(OWN), &[("upload", "")]).await;
    let near = TcpSocket::new_v4().expect("a socket");
    near.set_send_buffer_size(32 << 10).expect("a small buffer");
    let Ends {
        mut client,
        mut backend,
    } = site.open_from(near, "/upload").await;
    let message = frame(0x82, true, &vec![7; 60_000]);
    // Windows grow as long as it is fast.
    let whole = message.len() * 1000;
    let sends = async {
        for _ in 0..1000 {
            client.write_all(&message).await.expect("open");
        }
    };
    tokio::join!(sends, take(&mut backend, whole));
    let written = fill(&mut client, &message).await;
    println!("{} KiB of an upload that nobody takes", written / 1024);
    assert!(written < KERNEL, "{written} bytes");
    // And nothing of it is lost.
    take(&mut backend, written).await;
}

/// What a slow reader takes, twice a second. Its kernel asks for more when half of its buffer is empty: every two seconds.
const SIP: usize = 2 << 10;
const SLOW: u32 = 8 << 10;

#[rstest]
#[case::client("client", "client_lost")]
#[case::backend("backend", "backend_lost")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_is_not_stalled_until_it_stops(#[case] side: &str, #[case] cause: &str) {
    // Of what waits for it, Hawser can write more only when 64 KiB of it are gone: every sixteen seconds.
    let site = Site::behind(listener(SLOW), &[("slow", "limits: {writeStall: 8s}")]).await;
    let near = TcpSocket::new_v4().expect("a socket");
    small(&near, SLOW);
    let Ends { client, backend } = site.open_from(near, "/slow").await;
    let (mut reader, mut writer) = match side {
        "client" => (client, backend),
        _ => (backend, client),
    };
    let message = frame(0x82, side == "backend", &vec![7; 60_000]);
    let fills = async {
        loop {
            fill(&mut writer, &message).await;
        }
    };
    let sips = async {
        for _ in 0..50 {
            take(&mut reader, SIP).await;
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = sips => {}
        () = fills => {}
    }
    let open = site.seen("/slow", "bytes_from_client").await;
    assert!(open.is_some(), "it goes on as long as something is taken");
    let outcome = site.outcome("/slow").await;
    let word = |name| hawser::field(&outcome, name);
    assert_eq!(
        (word("cause"), word("loss")),
        (Some(cause), Some("write_stall"))
    );
}

async fn round_trip(socket: &mut client::Socket) {
    socket.send(Message::text("hello")).await.expect("sent");
    let answer = socket.next().await.expect("open").expect("a message");
    assert_eq!(answer, Message::text("hello"));
}
