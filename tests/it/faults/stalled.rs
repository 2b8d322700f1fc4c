//! F13: clients that do not read, and backends that write as fast as they can.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future::join_all};
use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{
    client, eventually, manifest, origin,
    wire::{Ends, Site, expect_close_within, fill, frame},
};

const TUNNELS: usize = 200;

/// What a stalled tunnel may keep: one read, what a write left of it, and its share of what the allocator rounds up.
const PER_TUNNEL: u64 = 80 << 10;

/// What all buffers on the way may take: 512 KiB of Hawser's two sockets, and what the kernel makes of ours.
const KERNEL: usize = 640 << 10;

fn small(socket: &TcpSocket) {
    // The test's own share of what the kernel keeps.
    socket
        .set_recv_buffer_size(32 << 10)
        .expect("a small buffer");
    socket
        .set_send_buffer_size(32 << 10)
        .expect("a small buffer");
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    small(&socket);
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    socket.listen(1024).expect("it listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_cost_64_kib_each_and_end() {
    let site = Site::behind(listener(), &[("stalled", "limits: {writeStall: 20s}")]).await;
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
        small(&near);
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

async fn round_trip(socket: &mut client::Socket) {
    socket.send(Message::text("hello")).await.expect("sent");
    let answer = socket.next().await.expect("open").expect("a message");
    assert_eq!(answer, Message::text("hello"));
}
